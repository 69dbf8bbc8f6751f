"""Low Training Data instruction tuning: Chen et al. 2023, arXiv 2305.09246.

Known of the paper: sentences are encoded, mean-pooled and normalised; k-means finds the task's
region; a k-center core set spreads over it; less than 0.5 % of the pool served its task. Not
known: the encoder, the number of clusters, and how exactly the region is drawn. Here each target
row votes for its nearest centre, and the clusters with most votes are the region, as many as it
takes to hold `region` of the votes. If the budget outlasts the region, the next clusters follow.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from modicum.context import Context
from modicum.errors import OptionError
from modicum.methods.k_center import kcenter_need
from modicum.methods.kmeans import kmeans_need
from modicum.selection import Near, Step, kcenter, kmeans, near
from modicum.selection.memory import Need
from modicum.views import View
from modicum.views.hidden import Hidden

_OUTSIDE = "outside the region"


@dataclass(frozen=True)
class Ltd:
    """Encode; cluster; keep the clusters near the target; spread k-center picks inside them."""

    view: View = field(default_factory=lambda: Hidden(pooling="mean"))
    clusters: int = 50
    region: float = 0.5

    name: ClassVar[str] = "ltd"
    aims: ClassVar[bool] = True
    nested: ClassVar[bool] = True
    paper: ClassVar[str] = "Maybe Only 0.5% Data is Needed, Chen et al. 2023, arXiv 2305.09246"
    needs: ClassVar[str] = "a view, and rows of the task in view (--target)"
    cost: ClassVar[str] = "1 forward pass a row, of the pool and of the target"
    fails: ClassVar[str] = (
        "as a recipe for general chat: it makes a specialist of the target's task"
    )

    def __post_init__(self) -> None:
        if self.clusters < 1:
            raise OptionError(f"clusters={self.clusters}; at least 1 is needed")
        if not 0 < self.region <= 1:
            raise OptionError(f"region={self.region}: give a share of the votes, 0.9 for 90 %")

    def selectors(self, context: Context) -> list[Need]:
        """What k-means and then k-center, in a region of any size, will take beside the vectors."""
        # A region and all before it, and both once more while they are joined.
        copied = 2 * (len(context.pool) + len(context.chosen or ()))
        return [
            *kmeans_need(context, self.view, self.clusters),
            *kcenter_need(context, self.view, copied=copied),
        ]

    def __call__(self, context: Context) -> Iterator[Step]:
        vectors_ND = context.vectors(self.view)
        spread: dict[str, Any] = {"memory": context.memory, "over": context.over}
        groups = kmeans(vectors_ND, self.clusters, context.seed, **spread)
        context.notes.extend(filter(None, [groups.note]))
        nearest = near(groups.centers_CD, context.target_vectors(self.view))
        taken_MD = context.chosen_vectors(self.view)
        for n, clusters in enumerate(_regions(nearest.order_C, nearest.votes_C, self.region)):
            inside_M = np.flatnonzero(np.isin(groups.labels_N, clusters))
            if n == 1:  # not all who come here take a row of it
                context.remarks[_OUTSIDE] = self._used_up(groups.labels_N, nearest)
            inside_MD = vectors_ND[inside_M]
            steps = kcenter(
                inside_MD,
                start_MD=taken_MD,
                seed=context.seed,
                positions_N=context.positions_N[inside_M],
                memory=context.memory_beside(inside_MD, taken_MD),
                device=context.device,
            )
            for step in context.own_rows(steps):
                outside = f"{step.gain:.4g} from the nearest earlier pick, {_OUTSIDE}"
                yield step._replace(reason=outside) if n else step
            taken_MD = inside_MD if taken_MD is None else np.concatenate([taken_MD, inside_MD])

    def _used_up(self, labels_N: np.ndarray, nearest: Near) -> str:
        first = _regions(nearest.order_C, nearest.votes_C, self.region)[0]
        rows = int(np.isin(labels_N, first).sum())
        return (
            f"the budget is larger than the region of the target, {rows} rows in {len(first)} of "
            f"{len(nearest.order_C)} clusters: the other picks are from outside it, nearest "
            f"cluster first; a region above {self.region} makes it wider, fewer clusters than "
            f"{self.clusters} coarser (--set)"
        )


def _regions(order_C: np.ndarray, votes_C: np.ndarray, share: float) -> list[np.ndarray]:
    """The clusters that hold this share of the votes together, then the others one by one."""
    held_C = np.cumsum(votes_C[order_C]) / votes_C.sum()
    size = int(np.searchsorted(held_C, share)) + 1
    return [order_C[:size], *order_C[size:].reshape(-1, 1)]
