"""The tasks of a stream: which rows each is learned from, and which it is tested on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from modicum.errors import InputError
from modicum.meter import Meter
from modicum.pool import Pool
from modicum.replay import Task
from modicum.selection.budget import Budget
from modicum.usable import TooLong, unusable

LEAST = 2  # tasks, and held-out rows of each


@dataclass(frozen=True)
class Tasks:
    """Tasks by name, in the order given."""

    rows: Pool  # what all tasks are learned from
    train: tuple[Task, ...]  # the rows of each
    places: tuple[np.ndarray, ...]  # where they stand in `rows`
    test: tuple[Pool, ...]  # held out
    left_out: tuple[tuple[Pool, int, str], ...]  # rows that are in neither: of, at, and why

    def __len__(self) -> int:
        return len(self.train)

    @property
    def names(self) -> list[str]:
        return [task.name for task in self.train]

    def to_json(self) -> list[dict[str, Any]]:
        """Name, rows and ids of held-out rows of each task."""
        both = zip(self.train, self.test, strict=True)
        return [
            {"task": t.name, "train": len(t.pool), "test": len(test), "held_out": test.ids}
            for t, test in both
        ]


def split(
    pool: Pool,
    labels: Sequence[str],
    other: tuple[Pool, Sequence[str]] | None,
    share: Budget,
    seed: int,
    meter: Meter,
    too_long: TooLong,
) -> Tasks:
    """Tasks of a pool whose rows are labelled, and what each is tested on.

    That is the rows of the `other` pool with the same label; without one it is `share` of each
    task's rows, drawn at random, equal rows together. A row that is tested on, in whichever task,
    is not learned from. Raises `InputError` for fewer than two tasks, and for a task without rows
    to learn or with fewer than two held out.
    """
    names = list(dict.fromkeys(labels))
    left_out = unusable(pool, meter, too_long)
    dropped = [(pool, i, why) for i, why in sorted(left_out.items())]
    usable = np.setdiff1d(np.arange(len(pool)), list(left_out))
    if other is None:
        test = tuple(
            meter.narrow(pool, _drawn(pool, places_M, share, seed))
            for places_M in _places(labels, names, usable)
        )
    else:
        test, more = _given(*other, names, meter, too_long)
        dropped += more
    tested = {content for rows in test for content in rows.digests}
    kept = [i for i in usable.tolist() if pool.digests[i] not in tested]
    own = set() if other is not None else {id for rows in test for id in rows.ids}
    twice = (i for i in usable.tolist() if pool.digests[i] in tested and pool.ids[i] not in own)
    dropped += [(pool, i, "held out as well") for i in twice]
    rows = meter.narrow(pool, np.array(kept, dtype=np.int64))
    places = _places([labels[i] for i in kept], names, np.arange(len(kept)))
    _check(names, places, test)
    train = tuple(Task(n, meter.narrow(rows, m)) for n, m in zip(names, places, strict=True))
    return Tasks(rows, train, places, test, tuple(dropped))


def _places(
    labels: Sequence[str], names: Sequence[str], usable: np.ndarray
) -> tuple[np.ndarray, ...]:
    """Which of the usable rows have each name."""
    label_N = np.array(labels, dtype=object)
    return tuple(usable[label_N[usable] == name] for name in names)


def _given(
    test: Pool, labels: Sequence[str], names: Sequence[str], meter: Meter, too_long: TooLong
) -> tuple[tuple[Pool, ...], list[tuple[Pool, int, str]]]:
    """The held-out rows of each task, and those that cannot be used."""
    missing = [name for name in names if name not in set(labels)]
    if missing:
        raise InputError(
            f"--eval has no rows of {', '.join(missing)}; its tasks are "
            f"{', '.join(dict.fromkeys(labels))}"
        )
    left_out = unusable(test, meter, too_long)
    usable = np.setdiff1d(np.arange(len(test)), list(left_out))
    places = _places(labels, names, usable)
    used = set(np.concatenate(places).tolist())
    others = {int(i): "of another task" for i in usable if int(i) not in used}
    dropped = [(test, i, f"--eval, {why}") for i, why in sorted((left_out | others).items())]
    return tuple(meter.narrow(test, places_M) for places_M in places), dropped


def _check(names: Sequence[str], places: Sequence[np.ndarray], test: Sequence[Pool]) -> None:
    if len(names) < LEAST:
        raise InputError(
            f"{names[0]} is the only task, a stream has at least {LEAST}; give a file for each, or "
            "one file with --fields task=COLUMN"
        )
    for name, places_M, rows in zip(names, places, test, strict=True):
        if not len(places_M) or len(rows) < LEAST:
            raise InputError(
                f"task {name} has {len(places_M)} rows to learn and {len(rows)} held out; "
                f"at least 1 and {LEAST} are needed: give it more rows, or hold out others "
                "(--holdout; rows that are held out are not learned)"
            )


def _drawn(pool: Pool, places_M: np.ndarray, share: Budget, seed: int) -> np.ndarray:
    """At least the share of these rows at random, and with each all that are equal to it."""
    wanted = min(share.rows(len(places_M)) or 0, len(places_M))
    groups: dict[bytes, list[int]] = {}
    for place in places_M.tolist():
        groups.setdefault(pool.digests[place], []).append(place)
    alike, drawn = list(groups.values()), list[int]()
    for g in np.random.default_rng(seed).permutation(len(alike)):
        if len(drawn) >= wanted:
            break
        drawn += alike[g]
    return np.array(sorted(drawn), dtype=np.int64)
