"""SemDeDup: Abbas et al. 2023, arXiv 2303.09540."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np

from modicum.context import Context
from modicum.errors import OptionError
from modicum.plan import width_of
from modicum.scores import Score
from modicum.scores.loss import Loss
from modicum.selection import apart, kmeans
from modicum.selection.clusters import needs as kmeans_needs
from modicum.selection.memory import Need
from modicum.selection.threshold import needs as apart_needs
from modicum.views import View
from modicum.views.hidden import Hidden


@dataclass(frozen=True)
class SemDedup:
    """Keep one of rows that say nearly the same.

    The pool is clustered, and inside a cluster a row is dropped if its cosine to one that stays is
    above `max_similarity`; of those alike the `keep` one stays: the hardest or easiest by `score`,
    or any. The paper also drops a row for its likeness to one that is dropped itself. Hidden
    states as they are lie in a narrow cone, all much alike: whitened, only near copies are.
    """

    view: View = field(default_factory=lambda: Hidden(whiten=True))
    clusters: int = 50
    max_similarity: float = 0.8
    keep: Literal["random", "hardest", "easiest"] = "random"
    score: Score = field(default_factory=Loss)

    name: ClassVar[str] = "semdedup"

    def __post_init__(self) -> None:
        if self.clusters < 1:
            raise OptionError(f"clusters={self.clusters}; at least 1 is needed")
        if not -1 <= self.max_similarity <= 1:
            raise OptionError(f"max_similarity={self.max_similarity} is not a cosine; use -1 to 1")

    @property
    def reason(self) -> str:
        """What is said of the rows that do not stay."""
        return f"more than {self.max_similarity:g} like a row that stays"

    @property
    def wants(self) -> tuple[Any, ...]:
        """The score is asked only where it says which row stays."""
        scored = () if self.keep == "random" else self.score.wants
        return (*self.view.wants, *scored)

    def selectors(self, context: Context) -> list[Need]:
        """What clustering, and comparing in a cluster of any size, will take beside the vectors."""
        if (width := width_of(self.view, context.meter)) is None:
            return []
        rows, given = len(context.pool), len(context.chosen or ())
        clustering = kmeans_needs(rows, width, clusters=self.clusters, memory=context.memory)
        beside = apart_needs(rows, width, given=given, memory=context.memory) + 4 * rows * width
        return [context.need("kmeans", clustering, width), context.need("apart", beside, width)]

    def __call__(self, context: Context) -> np.ndarray:
        vectors_ND = context.vectors(self.view)
        order_N = self._order(context)
        spread: dict[str, Any] = {"memory": context.memory, "over": context.over}
        groups = kmeans(vectors_ND, self.clusters, context.seed, **spread)
        start_MD = context.chosen_vectors(self.view)
        stays_N = np.zeros(len(vectors_ND), dtype=bool)
        for cluster in range(len(groups.centers_CD)):
            inside_M = np.flatnonzero(groups.labels_N == cluster)
            inside_MD = vectors_ND[inside_M]
            memory = context.memory_beside(inside_MD)
            kept = apart(
                inside_MD, order_N[inside_M], self.max_similarity, start_MD=start_MD, memory=memory
            )
            stays_N[inside_M[[step.pick for step in kept]]] = True
        seen_N = np.isfinite(order_N) & (groups.labels_N >= 0)  # no cluster: no finite vector
        dropped = int(seen_N.sum() - stays_N.sum())
        context.notes.append(
            f"{dropped:,} of {len(stays_N):,} rows are more than {self.max_similarity:g} like one "
            "that stays or is chosen, and are not offered"
        )
        return stays_N

    def _order(self, context: Context) -> np.ndarray:
        """What stays of alike rows: the highest."""
        if self.keep == "random":
            return np.random.default_rng(context.seed).random(len(context.pool))
        values_N = context.values(self.score)
        return values_N if self.keep == "hardest" else -values_N
