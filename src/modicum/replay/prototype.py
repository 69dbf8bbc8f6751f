"""Prototype replay: the rows nearest to the middles of what a task holds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from modicum.context import aligned
from modicum.pool import Pool
from modicum.replay.stage import Plan, Sharing, Stage, check_floor, taken
from modicum.selection import Clusters, Step, by_quota, kmeans
from modicum.views import View
from modicum.views.hidden import Hidden


@dataclass(frozen=True)
class Prototype:
    """Cluster each old task, and take the rows nearest to the centres, clusters sharing by size.

    SSR keeps 200 rows of each task by 20 clusters; here tasks share the budget evenly
    (`how_much=uniform`), or by size.
    """

    view: View = field(default_factory=lambda: Hidden(pooling="mean"))
    clusters: int = 20
    how_much: Sharing = "uniform"
    floor: int = 0

    name: ClassVar[str] = "prototype"
    paper: ClassVar[str] = "the selecting half of SSR, Huang et al. 2024, arXiv 2403.01244"
    needs: ClassVar[str] = "a view"
    cost: ClassVar[str] = "1 forward pass a row of the old tasks"
    fails: ClassVar[str] = "typical rows rehearse what is not forgotten; rare ones are left out"

    def __post_init__(self) -> None:
        check_floor(self.floor)

    def __call__(self, stage: Stage) -> Plan:
        weight_J = stage.weights(self.how_much)
        vectors = [self._vectors(task.pool, stage) for task in stage.old]
        seen = [int(np.isfinite(vectors_ND).all(axis=1).sum()) for vectors_ND in vectors]
        quota_J = stage.share(weight_J, seen, self.floor)
        orders = (self._order(each, stage.seed_of(j)) for j, each in enumerate(vectors))
        return Plan(quota_J, weight_J, taken(quota_J, orders))

    def _vectors(self, pool: Pool, stage: Stage) -> np.ndarray:
        return aligned(self.view, self.view(pool, stage.meter), pool, dimensions=2)

    def _order(self, vectors_ND: np.ndarray, seed: int) -> Iterator[Step]:
        if not np.isfinite(vectors_ND).all(axis=1).any():
            return iter(())
        made = kmeans(vectors_ND, self.clusters, seed)
        return by_quota(
            made.labels_N, -_from_centre(vectors_ND, made), "minus its distance from the centre"
        )


def _from_centre(vectors_ND: np.ndarray, made: Clusters) -> np.ndarray:
    """(N,) distance of each row to its cluster's centre; NaN for a row in none."""
    distance_N = np.full(len(vectors_ND), np.nan)
    inside_N = made.labels_N >= 0
    apart_MD = vectors_ND[inside_N] - made.centers_CD[made.labels_N[inside_N]]
    distance_N[inside_N] = np.linalg.norm(apart_MD.astype(np.float64), axis=1)
    return distance_N
