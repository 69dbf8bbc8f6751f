"""Density sampling: Sachdeva et al. 2024, arXiv 2402.09668."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

from modicum.context import Context
from modicum.errors import OptionError
from modicum.plan import width_of
from modicum.selection import Step, densities, inverse_propensity
from modicum.selection.density import needs as density_needs
from modicum.selection.memory import Need
from modicum.views import View
from modicum.views.hidden import Hidden


@dataclass(frozen=True)
class Density:
    """Draw rows the more likely, the fewer others lie around them in the view.

    The paper sums kernels by a sketch of hashes over a whole crawl; here a row meets all others,
    or 2,000 of them drawn by the seed. What is far nearer than `bandwidth` counts as the same;
    hidden states are whitened, for as they are all rows are that near.
    """

    view: View = field(default_factory=lambda: Hidden(whiten=True))
    bandwidth: float = 0.5

    name: ClassVar[str] = "density"
    aims: ClassVar[bool] = False
    nested: ClassVar[bool] = True
    paper: ClassVar[str] = "How to Train Data-Efficient LLMs, 2024, arXiv 2402.09668"
    needs: ClassVar[str] = "a view"
    cost: ClassVar[str] = "1 forward pass a row (none with view=lexical), then 2,000 kernels a row"
    fails: ClassVar[str] = "on dirty pools: junk lies alone, and is drawn first"

    def __post_init__(self) -> None:
        if not self.bandwidth > 0:
            raise OptionError(f"bandwidth={self.bandwidth}; a distance above 0 is needed")

    def selectors(self, context: Context) -> list[Need]:
        """What the kernels will take beside the vectors."""
        if (width := width_of(self.view, context.meter)) is None:
            return []
        beside = density_needs(len(context.pool), width, memory=context.memory)
        return [context.need("density", beside, width)]

    def __call__(self, context: Context) -> Iterator[Step]:
        vectors_ND = context.vectors(self.view)
        density_N = densities(vectors_ND, self.bandwidth, context.seed, memory=context.memory)
        return inverse_propensity(density_N, context.seed)
