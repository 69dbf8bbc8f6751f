"""Filters applied one after the other: the question that a method is asked after them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from modicum.context import Context
from modicum.errors import AlignmentError, BudgetError
from modicum.usable import spread, unmeasured

if TYPE_CHECKING:
    from modicum.filters import Filter


class Filtered(NamedTuple):
    """The rows that stay, and what became known of all on the way."""

    context: Context
    left_out: dict[int, str]  # rows of the user's pool, and why
    scores: dict[str, np.ndarray]  # (N,) of the user's pool; NaN where a row was not asked about


def filtered(context: Context, filters: Sequence[Filter], rows: int) -> Filtered:
    """Each filter is offered what those before it left. `rows` are those of the user's pool.

    Raises `BudgetError` if fewer stay than are to be picked.
    """
    left_out, scores = dict[int, str](), dict[str, np.ndarray]()
    for part in filters:
        asked = replace(context, scored={}, unseen={}, looked=[])
        stays_N = np.array(part(asked), dtype=bool)
        if stays_N.shape != (len(asked.pool),):
            raise AlignmentError(
                f"filter {part.name} gave an array of shape {stays_N.shape} for a pool of "
                f"{len(asked.pool)} rows; row i of it must be of example i"
            )
        unknown = unmeasured(asked.scored, asked.unseen, asked.positions_N)
        stays_N &= ~np.isin(asked.positions_N, list(unknown))
        dropped = asked.positions_N[~stays_N]
        left_out |= {int(i): f"filter {part.name}: {part.reason}" for i in dropped} | unknown
        for name, values_M in asked.scored.items():
            scores[name] = spread(values_M, asked.positions_N, rows)
        stays_M = np.flatnonzero(stays_N)
        context = replace(
            context,
            pool=context.meter.narrow(asked.pool, stays_M),
            positions=asked.positions_N[stays_M],
        )
        context.notes.append(
            f"filter {part.name}: {len(stays_M):,} of {len(asked.pool):,} rows stay"
        )
        wanted = context.budget.amount if context.budget.unit == "rows" else 1
        if len(stays_M) < wanted:
            raise BudgetError(
                f"filter {part.name} leaves {len(stays_M):,} of {len(asked.pool):,} rows, "
                f"{wanted:,.0f} are to be picked; let it pass more, or pick fewer (-k)"
            )
    return Filtered(context, left_out, scores)
