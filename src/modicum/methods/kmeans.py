"""k-means with quotas: Diversify and Conquer (kMQ), Yu et al. 2024, arXiv 2409.11378."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

from modicum.context import Context
from modicum.errors import OptionError
from modicum.plan import width_of
from modicum.scores import Score
from modicum.scores.length import Length
from modicum.selection import Step, by_quota, kmeans
from modicum.selection.clusters import needs as kmeans_needs
from modicum.selection.memory import Need
from modicum.views import View
from modicum.views.hidden import Hidden


@dataclass(frozen=True)
class KMeans:
    """Cluster the pool; give each cluster its share by size; inside, take the best scores first.

    The paper draws inside a cluster by quality; here the order is strict, with answer length as
    the default score, the stable recipe of arXiv 2410.09335.
    """

    view: View = field(default_factory=Hidden)
    clusters: int = 100
    score: Score = field(default_factory=Length)

    name: ClassVar[str] = "kmeans"
    aims: ClassVar[bool] = False
    nested: ClassVar[bool] = True
    paper: ClassVar[str] = "Diversify and Conquer, Yu et al. 2024, arXiv 2409.11378"
    needs: ClassVar[str] = "a view and a score"
    cost: ClassVar[str] = "1 forward pass a row for the view, and those of the score"
    fails: ClassVar[str] = "when large clusters are boilerplate: quotas follow size, not worth"

    def __post_init__(self) -> None:
        if self.clusters < 1:
            raise OptionError(f"clusters={self.clusters}; at least 1 is needed")

    def selectors(self, context: Context) -> list[Need]:
        """What k-means will take beside the vectors."""
        return kmeans_need(context, self.view, self.clusters)

    def __call__(self, context: Context) -> Iterator[Step]:
        vectors_ND = context.vectors(self.view)
        spread: dict[str, Any] = {"memory": context.memory, "over": context.over}
        groups = kmeans(vectors_ND, self.clusters, context.seed, **spread)
        context.notes.extend(filter(None, [groups.note]))
        return by_quota(groups.labels_N, context.values(self.score), self.score.name)


def kmeans_need(context: Context, view: View, clusters: int) -> list[Need]:
    """What clustering the pool through this view will take; nothing if its width is not known."""
    if (width := width_of(view, context.meter)) is None:
        return []
    beside = kmeans_needs(len(context.pool), width, clusters=clusters, memory=context.memory)
    return [context.need("kmeans", beside, width)]
