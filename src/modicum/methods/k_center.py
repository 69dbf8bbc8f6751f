"""k-center greedy: Gonzalez 1985; as a core set for learning, Sener & Savarese 2018."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

from modicum.context import Context
from modicum.errors import OptionError
from modicum.plan import width_of
from modicum.selection import Step, coresets, kcenter
from modicum.selection.coresets import needs as coresets_needs
from modicum.selection.kcenter import needs as kcenter_needs
from modicum.selection.memory import Need
from modicum.views import View
from modicum.views.hidden import Hidden


@dataclass(frozen=True)
class KCenter:
    """Spread the picks out: each is the row farthest from all taken so far.

    With `shards`, of what each of so many parts of the pool would pick (Malkomes et al. 2015).
    """

    view: View = field(default_factory=Hidden)
    shards: int = 1

    name: ClassVar[str] = "k-center"
    aims: ClassVar[bool] = False
    paper: ClassVar[str] = "Active Learning for CNNs: A Core-Set Approach, arXiv 1708.00489"
    needs: ClassVar[str] = "a view"
    cost: ClassVar[str] = "1 forward pass a row (none with view=lexical), then O(rows × picks)"
    fails: ClassVar[str] = (
        "on dirty pools: outliers are far from everything, so it takes them first"
    )

    def __post_init__(self) -> None:
        if self.shards < 1:
            raise OptionError(f"shards={self.shards}; at least 1 is needed")

    @property
    def nested(self) -> bool:
        """Not in shards: one that is asked for more rows offers others."""
        return self.shards == 1

    def selectors(self, context: Context) -> list[Need]:
        """What k-center will take beside the vectors."""
        if self.shards == 1:
            return kcenter_need(context, self.view)
        picks = self._picks(context)
        if (width := width_of(self.view, context.meter)) is None:
            return []
        parts = {"picks": picks, "shards": self.shards}
        beside = coresets_needs(len(context.pool), width, memory=context.memory, **parts)
        return [context.need("coresets", beside, width)]

    def __call__(self, context: Context) -> Iterator[Step]:
        given: dict[str, Any] = {
            "start_MD": context.chosen_vectors(self.view),
            "seed": context.seed,
            "positions_N": context.positions_N,
            "memory": context.memory,
            "device": context.device,
        }
        vectors_ND = context.vectors(self.view)
        if self.shards == 1:
            return context.own_rows(kcenter(vectors_ND, **given))
        mapped = context.over.mapped if context.over else map
        picks = self._picks(context)
        return context.own_rows(coresets(vectors_ND, picks, self.shards, **given, mapped=mapped))

    def _picks(self, context: Context) -> int:
        """How many rows each shard offers."""
        if context.rows is None:
            raise OptionError(
                f"k-center in shards={self.shards} must know how many rows each of them offers, "
                f"and a budget of {context.budget} does not say; give -k in rows or percent, or "
                "leave shards out"
            )
        return context.rows


def kcenter_need(context: Context, view: View, *, copied: int = 0) -> list[Need]:
    """What k-center over the pool through this view will take; nothing if its width is not known.

    `copied`: so many vectors are copied for it, a part of the pool and what is taken of it.
    """
    if (width := width_of(view, context.meter)) is None:
        return []
    rows, copies = len(context.pool), 4 * copied * width
    beside = kcenter_needs(rows, width, beside=copies, memory=context.memory)
    return [context.need("kcenter", beside, width)]
