"""Facility location, and with a quality term QDIT: Bukharin & Zhao 2023, arXiv 2311.14736."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

from modicum.context import Context
from modicum.errors import OptionError
from modicum.plan import width_of
from modicum.scores import Score
from modicum.scores.ifd import IfdPpl
from modicum.selection import Step, facility
from modicum.selection.facility import DENSE, NEIGHBOURS
from modicum.selection.facility import needs as facility_needs
from modicum.selection.memory import Need
from modicum.views import View
from modicum.views.hidden import Hidden


@dataclass(frozen=True)
class Facility:
    """Pick so that every row of the pool has a pick that is like it; greedily, each the best next.

    With `quality` above 0 a pick also counts by its score: QDIT, whose scores are a reward model's.
    """

    view: View = field(default_factory=Hidden)
    quality: float = 0.0
    score: Score = field(default_factory=IfdPpl)

    name: ClassVar[str] = "facility"
    aims: ClassVar[bool] = False
    nested: ClassVar[bool] = True
    paper: ClassVar[str] = "Data Diversity Matters (QDIT), 2023, arXiv 2311.14736"
    needs: ClassVar[str] = "a view; a score, if quality counts"
    cost: ClassVar[str] = "1 forward pass a row (none with view=lexical), then O(rows²) products"
    fails: ClassVar[str] = "on pools of millions: every row is compared with every other"

    def __post_init__(self) -> None:
        if not 0 <= self.quality <= 1:
            raise OptionError(f"quality={self.quality}: give a share, 0.3 for 30 %")

    @property
    def wants(self) -> tuple[object, ...]:
        """The score is asked only where it counts."""
        return (*self.view.wants, *(self.score.wants if self.quality else ()))

    def selectors(self, context: Context) -> list[Need]:
        """What facility location will take beside the vectors."""
        return facility_need(context, self.view)

    def __call__(self, context: Context) -> Iterator[Step]:
        tell_of_neighbours(context, len(context.pool))
        return facility(
            context.vectors(self.view),
            start_MD=context.chosen_vectors(self.view),
            values_N=context.values(self.score) if self.quality else None,
            quality=self.quality,
            memory=context.memory,
        )


def facility_need(context: Context, view: View, some: int | None = None) -> list[Need]:
    """What facility location over the pool will take, or over a copy of `some` of its rows.

    Nothing if the view's width is not known.
    """
    if (width := width_of(view, context.meter)) is None:
        return []
    copied = 0 if some is None else 4 * some * width
    memory = None if context.memory is None else max(1, context.memory - copied)
    rows = len(context.pool) if some is None else some
    return [context.need("facility", copied + facility_needs(rows, width, memory=memory), width)]


def tell_of_neighbours(context: Context, rows: int) -> None:
    """Say that likeness is looked at among neighbours only, where it is."""
    if rows > DENSE:
        context.notes.append(
            f"facility location among {rows:,} rows: each is compared with its {NEIGHBOURS} "
            f"nearest only, as above {DENSE:,} rows"
        )
