"""DEITA: Liu et al. 2023, arXiv 2312.15685."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

from modicum.context import Context
from modicum.errors import OptionError
from modicum.plan import width_of
from modicum.scores import Score
from modicum.scores.opinions import Worth
from modicum.selection import Step, apart
from modicum.selection.memory import Need
from modicum.selection.threshold import needs as apart_needs
from modicum.views import View
from modicum.views.hidden import Hidden


@dataclass(frozen=True)
class Deita:
    """Go down from the hardest and best answered row, leaving out any too like one taken.

    The paper rates with two models of 7 billion parameters tuned for it; here any model rates,
    by the chances of the six ratings. Its code compares a batch of rows at a time, so that its
    picks depend on the batch; here every row is compared with every one taken. Hidden states are
    whitened: as they are, all rows are more alike than the paper's 0.9.
    """

    view: View = field(default_factory=lambda: Hidden(whiten=True))
    score: Score = field(default_factory=Worth)
    max_similarity: float = 0.9

    name: ClassVar[str] = "deita"
    aims: ClassVar[bool] = False
    nested: ClassVar[bool] = True
    paper: ClassVar[str] = "What Makes Good Data for Alignment?, 2023, arXiv 2312.15685"
    needs: ClassVar[str] = "a view, and a model that judges (judge=; else the one given)"
    cost: ClassVar[str] = "1 forward pass a row, and one each for two questions about it"
    fails: ClassVar[str] = "with a small judge, whose ratings follow length and form"

    def __post_init__(self) -> None:
        if not -1 <= self.max_similarity <= 1:
            raise OptionError(f"max_similarity={self.max_similarity} is not a cosine; use -1 to 1")

    def selectors(self, context: Context) -> list[Need]:
        """What comparing with the rows taken will need beside the vectors."""
        if (width := width_of(self.view, context.meter)) is None:
            return []
        given = len(context.chosen or ())
        beside = apart_needs(len(context.pool), width, given=given, memory=context.memory)
        return [context.need("apart", beside, width)]

    def __call__(self, context: Context) -> Iterator[Step]:
        return apart(
            context.vectors(self.view),
            context.values(self.score),
            self.max_similarity,
            start_MD=context.chosen_vectors(self.view),
            memory=context.memory,
        )
