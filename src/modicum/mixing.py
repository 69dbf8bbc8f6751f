"""The next task's training file: its own rows, and old ones to replay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from modicum.errors import InputError, OptionError
from modicum.models import Model, Precision
from modicum.parts import build, describe, find
from modicum.pool import Pool
from modicum.readers.mix import unfit
from modicum.replay import Plan, Replay, Stage, Task
from modicum.replay.deciding import decide, stage_of
from modicum.selection.budget import Budget, Step
from modicum.store import Store
from modicum.tags import Tagger
from modicum.tags.column import Column
from modicum.usable import TooLong, check_seed, meter_of, unusable


@dataclass(frozen=True)
class Mix:
    """A new task's rows and those of old tasks that are replayed with them, shuffled."""

    old: Pool
    new: Pool
    places: tuple[np.ndarray, ...]  # positions in `old` of each task's rows that can be replayed
    new_places: np.ndarray  # positions in `new` of the rows that are in the mix
    left_out_old: dict[int, str]
    left_out_new: dict[int, str]
    stage: Stage
    plan: Plan
    order: np.ndarray  # place i holds entry order[i]: the new rows come first, then the picks
    method: dict[str, Any]
    budget: Budget
    per_task: bool

    @property
    def picks(self) -> np.ndarray:
        """(K,) positions in `old` of the replayed rows: task by task, in the order taken."""
        found = [self.places[j][step.pick] for j, step in self.steps]
        return np.array(found, dtype=np.int64)

    @property
    def steps(self) -> list[tuple[int, Step]]:
        """Task and step of each replayed row, as `picks` has them."""
        return [(j, step) for j, steps in enumerate(self.plan.steps) for step in steps]

    def write(self, path: str | Path, command: Mapping[str, Any] | None = None) -> Path:
        """Write the mixed file in the new file's format, and `<file>.manifest.json`."""
        from modicum.mixed import write_mixed

        return write_mixed(self, Path(path), command)


def mix(
    old: Pool,
    new: Pool,
    method: str | Replay,
    budget: str | int | Budget,
    model: str | Path | Model | None = None,
    seed: int = 0,
    *,
    tasks: Sequence[str] | None = None,
    new_task: str = "new",
    per_task: bool = False,
    ending: str | None = None,
    tagger: Tagger | None = None,
    too_long: TooLong = "drop",
    max_tokens: int | None = None,
    precision: Precision = "auto",
    store: Store | None = None,
    **options: Any,
) -> Mix:
    """Choose which rows of old tasks to train on together with a new task.

    `tasks` names the task of every old row (by default its source). The budget is of all old tasks
    together, with `per_task` of each on average; if there are not so many rows, all that there are
    are taken, and the mix says what is missing. An old row that the new task holds as well, or
    that came before, is not replayed; neither is one that the new file's format cannot hold.
    `options` are the method's own.
    """
    check_seed(seed)
    limit = budget if isinstance(budget, Budget) else Budget.parse(budget)
    kind = find("modicum.replay", method) if isinstance(method, str) else method
    part: Replay = build(kind, options)
    labels = _labels(old, tasks)
    meter = meter_of(
        model, too_long=too_long, max_tokens=max_tokens, precision=precision, store=store
    )
    left_out_new = unusable(new, meter, too_long)
    new_places = _kept(new, left_out_new)
    used = meter.narrow(new, new_places)
    left_out_old = _left_out(old, used, ending) | unusable(old, meter, too_long)
    groups = grouped(labels, left_out_old)
    asked = [Task(name, meter.narrow(old, at_M)) for name, at_M in groups.items() if len(at_M)]
    stage = stage_of(
        asked,
        Task(new_task, used),
        limit,
        per_task,
        meter=meter,
        current=meter,
        tagger=tagger or own_tags(*(task.pool for task in asked), used),
        seed=seed,
    )
    stage.notes.extend(
        f"no row of {n} can be replayed" for n, at_M in groups.items() if not len(at_M)
    )
    plan = decide(part, stage)
    entries = len(new_places) + sum(map(len, plan.steps))
    return Mix(
        old,
        new,
        tuple(at_M for at_M in groups.values() if len(at_M)),
        new_places,
        left_out_old,
        left_out_new,
        stage,
        plan,
        np.random.default_rng(seed).permutation(entries),
        describe(part),
        limit,
        per_task,
    )


def own_tags(*pools: Pool) -> Column | None:
    """The tags that the rows bring with them, if any does."""
    pairs = [pair for pool in pools for pair in zip(_instructions(pool), pool.tags, strict=True)]
    return Column.of(pairs) if any(tags for _, tags in pairs) else None


def grouped(labels: Sequence[str], left_out: Mapping[int, str]) -> dict[str, np.ndarray]:
    """The tasks in the order met, and the positions of each that are not left out."""
    found: dict[str, list[int]] = {name: [] for name in labels}
    for position, name in enumerate(labels):
        if position not in left_out:
            found[name].append(position)
    return {name: np.array(rows, dtype=np.int64) for name, rows in found.items()}


def _labels(old: Pool, tasks: Sequence[str] | None) -> list[str]:
    """The task of every old row."""
    labels = list(old.sources if tasks is None else tasks)
    if len(labels) != len(old):
        raise OptionError(f"{len(labels)} tasks are named for {len(old)} old rows; name one each")
    return labels


def _kept(new: Pool, left_out: Mapping[int, str]) -> np.ndarray:
    """Positions of the new rows that can be used."""
    kept = np.setdiff1d(np.arange(len(new)), list(left_out))
    if not len(kept):
        why = left_out[0] if left_out else "it is empty"
        raise InputError(f"none of the {len(new):,} new rows can be used: {why}")
    return kept


def _left_out(old: Pool, new: Pool, ending: str | None) -> dict[int, str]:
    """Old rows that the new ones repeat, or that a file like theirs cannot hold.

    New rows that a file of this ending cannot hold are refused before anything is measured.
    """
    if ending is None:
        return repeated(old, new)
    if misfits := unfit(new, new, ending):
        first = min(misfits)
        raise InputError(
            f"{new.where(first)}: {misfits[first]}, and so for {len(misfits):,} new rows; "
            "give the mixed file the ending of the new one"
        )
    return repeated(old, new) | unfit(old, new, ending)


def repeated(old: Pool, new: Pool) -> dict[int, str]:
    """Old rows whose turns equal those of a new row, or of an old row before them."""
    first = {content: new.where(n) for n, content in reversed(list(enumerate(new.digests)))}
    found = {}
    for position, content in enumerate(old.digests):
        if content in first:
            found[position] = f"the same row: {first[content]}"
        else:
            first[content] = old.where(position)
    return found


def _instructions(pool: Pool) -> list[str]:
    return list(pool.table["instruction"].to_pylist())
