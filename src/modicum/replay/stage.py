"""What a replay method is given, and what it gives back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Literal, NamedTuple

import numpy as np

from modicum.errors import OptionError
from modicum.meter import Meter
from modicum.pool import Pool
from modicum.selection import Step, apportion
from modicum.tags import Tagger

Sharing = Literal["size", "uniform"]


class Task(NamedTuple):
    """A task by name, and its training rows."""

    name: str
    pool: Pool


class Plan(NamedTuple):
    """What a method decided: rows per old task, why so many, and which, in the order taken."""

    quota_J: np.ndarray
    weight_J: np.ndarray  # what the quotas are in proportion to
    steps: tuple[tuple[Step, ...], ...]  # per old task; picks are positions in its pool


@dataclass(frozen=True)
class Stage:
    """One question put to a replay method: which rows of the old tasks to mix into the new one?

    Pools hold only rows that can be trained on. `meter` measures with the same model at every
    stage; `current` with the model as it is now, which has learned the old tasks.
    """

    old: tuple[Task, ...]
    new: Task
    rows: int  # to be replayed at most, of all old tasks together
    meter: Meter
    current: Meter
    tagger: Tagger | None = None  # None: keyphrases
    seed: int = 0
    number: int = 0  # of the stage in a stream; 0 outside of one
    tokens: int | None = None  # a budget in tokens; then `rows` are all that there are
    facts: dict[str, Any] = field(default_factory=dict)  # what was measured of tasks: JSON
    notes: list[str] = field(default_factory=list)  # what a reader of the result should be told

    @property
    def sizes_J(self) -> np.ndarray:
        """Rows of each old task."""
        return np.array([len(task.pool) for task in self.old], dtype=np.int64)

    def weights(self, how_much: Sharing) -> np.ndarray:
        """(J,) the weights of sharing by size, or evenly."""
        return self.sizes_J.astype(np.float64) if how_much == "size" else np.ones(len(self.old))

    def share(
        self, weight_J: np.ndarray, available: Sequence[int] | None = None, floor: int = 0
    ) -> np.ndarray:
        """(J,) rows of each old task, in proportion to weights, within what there is.

        A budget in tokens is shared in tokens, and a task's share becomes rows of its mean length.
        """
        available_J = self.sizes_J if available is None else np.array(available, dtype=np.int64)
        if self.tokens is None:
            if (least := int(np.minimum(floor, available_J).sum())) > self.rows:
                self.notes.append(
                    f"floor={floor} asks for {least:,} rows, the budget is {self.rows:,}: shared "
                    "evenly, whatever the weights"
                )
            return apportion(self.rows, weight_J, available_J, floor)
        mean_J = np.array([self.lengths(j).mean() for j in range(len(self.old))])
        token_J = apportion(self.tokens, weight_J, np.ceil(available_J * mean_J).astype(np.int64))
        quota_J = np.minimum(np.round(token_J / mean_J).astype(np.int64), available_J)
        return np.asarray(np.maximum(quota_J, np.minimum(floor, available_J)))

    def lengths(self, task: int) -> np.ndarray:
        """Tokens of each row of an old task."""
        return self.meter.rendered(self.old[task].pool).lengths_N

    def seed_of(self, task: int) -> int:
        """A seed for an old task's draw at this stage; the other tasks do not decide it."""
        return _hashed(self.seed, self.number, self.old[task].name)

    def seeds(self) -> list[int]:
        """A seed for each task, the new one last, that is the same at every stage."""
        return [_hashed(self.seed, 0, task.name) for task in (*self.old, self.new)]


def taken(quota_J: np.ndarray, orders: Iterable[Iterable[Step]]) -> tuple[tuple[Step, ...], ...]:
    """The first rows of each task's order, as many as its quota."""
    return tuple(
        tuple(islice(order, int(quota))) for quota, order in zip(quota_J, orders, strict=True)
    )


def _hashed(seed: int, number: int, name: str) -> int:
    words = [seed, number, *name.encode()]
    return int(np.random.SeedSequence(words).generate_state(1)[0])


def check_floor(floor: int) -> None:
    """Refuse a floor below 0."""
    if floor < 0:
        raise OptionError(f"floor={floor}; at least 0 is needed")
