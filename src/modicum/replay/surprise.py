"""Surprise replay: the rows that the model as it is now finds hardest."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import chain
from typing import ClassVar

import numpy as np

from modicum.context import aligned
from modicum.errors import OptionError
from modicum.replay.stage import Plan, Sharing, Stage, Task, check_floor, taken
from modicum.scores import Score
from modicum.scores.loss import Loss
from modicum.selection import Step, band


@dataclass(frozen=True)
class Surprise:
    """Take the rows of highest answer loss per token under the model before the new task.

    Among the very hardest are broken rows, which nobody should rehearse: the `guard` share of
    each task that is hardest is taken last, when all others are spent.
    """

    score: Score = field(default_factory=Loss)
    guard: float = 0.05
    how_much: Sharing = "uniform"
    floor: int = 0

    name: ClassVar[str] = "surprise"
    paper: ClassVar[str] = "SuRe, 2025, arXiv 2511.22367; when to score and the guard are ours"
    needs: ClassVar[str] = "the model that learned the old tasks"
    cost: ClassVar[str] = "1 forward pass a row of the old tasks, at every stage"
    fails: ClassVar[str] = "on noisy tasks: what cannot be learned stays surprising"

    def __post_init__(self) -> None:
        check_floor(self.floor)
        if not 0 <= self.guard < 1:
            raise OptionError(f"guard={self.guard}; a share from 0 to below 1 is needed")

    def __call__(self, stage: Stage) -> Plan:
        weight_J = stage.weights(self.how_much)
        values = [self._values(task, stage) for task in stage.old]
        known = [int(np.isfinite(values_N).sum()) for values_N in values]
        quota_J = stage.share(weight_J, known, self.floor)
        return Plan(quota_J, weight_J, taken(quota_J, map(self._order, values)))

    def _values(self, task: Task, stage: Stage) -> np.ndarray:
        pool = task.pool
        return aligned(self.score, self.score(pool, stage.current), pool, dimensions=1)

    def _order(self, values_N: np.ndarray) -> chain[Step]:
        ranked = list(band(values_N, "top", self.score.name))
        kept = math.ceil(self.guard * len(ranked)) if len(ranked) > 1 else 0
        guarded = (step._replace(reason=f"{step.reason}, guarded") for step in ranked[:kept][::-1])
        return chain(ranked[kept:], guarded)
