"""What selective replay has to beat: nothing, and chance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from modicum.replay.stage import Plan, Sharing, Stage, check_floor, taken
from modicum.selection import uniform


@dataclass(frozen=True)
class Nothing:
    """Replay no row: what forgetting looks like when nothing is done about it."""

    name: ClassVar[str] = "none"
    paper: ClassVar[str] = "the baseline: sequential tuning"
    needs: ClassVar[str] = "nothing"
    cost: ClassVar[str] = "nothing, not even the replayed rows"
    fails: ClassVar[str] = "InsCL reports a Relative Gain 27.96 below its own at the end"

    def __call__(self, stage: Stage) -> Plan:
        none_J = np.zeros(len(stage.old), dtype=np.int64)
        return Plan(none_J, none_J.astype(np.float64), tuple(() for _ in stage.old))


@dataclass(frozen=True)
class RandomReplay:
    """Draw rows of each old task at random, tasks sharing by their size."""

    how_much: Sharing = "size"
    floor: int = 0

    name: ClassVar[str] = "random"
    paper: ClassVar[str] = "the baseline; as a share of each task: TRACE, arXiv 2310.06762"
    needs: ClassVar[str] = "nothing"
    cost: ClassVar[str] = "no forward pass"
    fails: ClassVar[str] = "small tasks are all but lost among large ones: then use balanced"

    def __post_init__(self) -> None:
        check_floor(self.floor)

    def __call__(self, stage: Stage) -> Plan:
        weight_J = stage.weights(self.how_much)
        quota_J = stage.share(weight_J, floor=self.floor)
        orders = (uniform(len(t.pool), stage.seed_of(j)) for j, t in enumerate(stage.old))
        return Plan(quota_J, weight_J, taken(quota_J, orders))


@dataclass(frozen=True)
class BalancedReplay(RandomReplay):
    """Draw as many rows of each old task as of any other, at random."""

    how_much: Sharing = "uniform"

    name: ClassVar[str] = "balanced"
    paper: ClassVar[str] = "the baseline; balanced: RDS+, Ivison et al. 2025, arXiv 2503.01807"
    fails: ClassVar[str] = "a task that needs no rehearsal costs as much as one that does"
