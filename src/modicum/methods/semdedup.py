"""SemDeDup: Abbas et al. 2023, arXiv 2303.09540."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np

from modicum.context import Context
from modicum.filters.semdedup import SemDedup as Sweep
from modicum.scores import Score
from modicum.scores.loss import Loss
from modicum.selection import Step, band, uniform
from modicum.selection.memory import Need
from modicum.views import View
from modicum.views.hidden import Hidden


@dataclass(frozen=True)
class SemDedup:
    """Drop what says nearly the same as another row, and draw from the rest.

    The rows that stay are those of the filter `semdedup`, whose options these are. They are offered
    by chance, or with `keep` the hardest or the easiest first.
    """

    view: View = field(default_factory=lambda: Hidden(whiten=True))
    clusters: int = 50
    max_similarity: float = 0.8
    keep: Literal["random", "hardest", "easiest"] = "random"
    score: Score = field(default_factory=Loss)

    name: ClassVar[str] = "semdedup"
    aims: ClassVar[bool] = False
    nested: ClassVar[bool] = True
    paper: ClassVar[str] = "SemDeDup, Abbas et al. 2023, arXiv 2303.09540"
    needs: ClassVar[str] = "a view; a score, unless any of alike rows may stay"
    cost: ClassVar[str] = "1 forward pass a row; O(rows²/clusters) products"
    fails: ClassVar[str] = "as a selector: what is left is drawn by chance, or by the score alone"

    def __post_init__(self) -> None:
        self._sweep()

    @property
    def wants(self) -> tuple[Any, ...]:
        """Those of the filter."""
        return self._sweep().wants

    def selectors(self, context: Context) -> list[Need]:
        """What the filter will take beside the vectors."""
        return self._sweep().selectors(context)

    def __call__(self, context: Context) -> Iterator[Step]:
        stays_N = self._sweep()(context)
        if self.keep == "random":
            return (step for step in uniform(len(stays_N), context.seed) if stays_N[step.pick])
        values_N = context.scored[self.score.name]
        where: Literal["top", "bottom"] = "top" if self.keep == "hardest" else "bottom"
        return band(np.where(stays_N, values_N, np.nan), where, self.score.name)

    def _sweep(self) -> Sweep:
        return Sweep(self.view, self.clusters, self.max_similarity, self.keep, self.score)
