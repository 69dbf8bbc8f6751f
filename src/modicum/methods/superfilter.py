"""Superfiltering with diversity: Li et al. 2024, arXiv 2402.00530."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from modicum.context import Context
from modicum.errors import BudgetError, OptionError
from modicum.methods.facility import facility_need, tell_of_neighbours
from modicum.scores import Score
from modicum.scores.ifd import IfdPpl
from modicum.selection import Step, band, facility
from modicum.selection.memory import Need
from modicum.views import View
from modicum.views.hidden import Hidden


@dataclass(frozen=True)
class Superfilter:
    """Of the `share` of rows with the highest IFD below 1, those that stand for all of them best.

    The paper scores with GPT-2 and spreads the picks by facility location over sentence vectors;
    here the model given scores, and its own states are the view. Pass a small `--model`.
    """

    view: View = field(default_factory=Hidden)
    score: Score = field(default_factory=IfdPpl)
    share: float = 0.2
    drop_above_one: bool = True

    name: ClassVar[str] = "superfilter"
    aims: ClassVar[bool] = False
    nested: ClassVar[bool] = True
    paper: ClassVar[str] = "Superfiltering, Li et al. 2024, arXiv 2402.00530"
    needs: ClassVar[str] = "a model, which may be small, and a view"
    cost: ClassVar[str] = "2 forward passes a row, then O((share × rows)²) products"
    fails: ClassVar[str] = "as ifd-ppl, whose top it spreads over; a budget above the share"

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise OptionError(f"share={self.share}: give a share of the rows, 0.2 for 20 %")

    def selectors(self, context: Context) -> list[Need]:
        """What facility location among the share takes, a copy of its vectors included."""
        rows = len(context.pool)
        share = max(1, round(self.share * rows))
        if context.rows is not None and context.rows > share:
            raise BudgetError(
                f"share={self.share:g} of {rows:,} rows is {share:,}, and {context.rows:,} are to "
                "be picked; raise share (--set)"
            )
        return facility_need(context, self.view, share)

    def __call__(self, context: Context) -> Iterator[Step]:
        vectors_ND, score_N = context.vectors(self.view), context.values(self.score)
        if self.drop_above_one:
            score_N = np.where(score_N < 1, score_N, np.nan)
        ranked = [step.pick for step in band(score_N, "top")]
        inside_M = np.sort(np.array(ranked, np.int64)[: max(1, round(self.share * len(score_N)))])
        tell_of_neighbours(context, len(inside_M))
        inside_MD = vectors_ND[inside_M]
        steps = facility(
            inside_MD,
            start_MD=context.chosen_vectors(self.view),
            memory=context.memory_beside(inside_MD),
        )
        return (step._replace(pick=int(inside_M[step.pick])) for step in steps)
