"""Key-part information gain as a rule of replay: Don't Half-listen, arXiv 2403.10056."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np

from modicum.context import aligned
from modicum.replay.stage import Plan, Stage, Task, check_floor, taken
from modicum.scores import Score
from modicum.scores.key_gain import KeyGain
from modicum.selection import band


@dataclass(frozen=True)
class Kpig:
    """Take the rows that the model now answers as well without the key words, the lowest first.

    With `how_much=gain` tasks share by exp(−their mean gain): how much of an answer's likelihood a
    token keeps when the key words are masked. The paper replays the tasks and rows of lowest gain
    too; how it counts, and its loss and temperatures, are not known to us.
    """

    score: Score = field(default_factory=KeyGain)
    how_much: Literal["gain", "size", "uniform"] = "gain"
    floor: int = 0

    name: ClassVar[str] = "kpig"
    paper: ClassVar[str] = "Don't Half-listen, He et al. 2024, arXiv 2403.10056"
    needs: ClassVar[str] = "the model that learned the old tasks, keyphrases"
    cost: ClassVar[str] = "2 forward passes a row of the old tasks, at every stage"
    fails: ClassVar[str] = "where answers stand in the prompt apart from its key words"

    def __post_init__(self) -> None:
        check_floor(self.floor)

    def __call__(self, stage: Stage) -> Plan:
        values = [self._values(task, stage) for task in stage.old]
        if self.how_much == "gain":
            means = [float(np.nanmean(gain_N)) if _known(gain_N) else None for gain_N in values]
            weight_J = np.array([0.0 if mean is None else np.exp(-mean) for mean in means])
            names = [task.name for task in stage.old]
            stage.facts[self.score.name] = dict(zip(names, means, strict=True))
        else:
            weight_J = stage.weights(self.how_much)
        quota_J = stage.share(weight_J, [_known(gain_N) for gain_N in values], self.floor)
        orders = (band(gain_N, "bottom", self.score.name) for gain_N in values)
        return Plan(quota_J, weight_J, taken(quota_J, orders))

    def _values(self, task: Task, stage: Stage) -> np.ndarray:
        pool = task.pool
        return aligned(self.score, self.score(pool, stage.current), pool, dimensions=1)


def _known(values_N: np.ndarray) -> int:
    """How many of the values are numbers."""
    return int(np.isfinite(values_N).sum())
