"""Which rows of a pool may be picked at all, and which other rows a method is given."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import shorten
from typing import Any

import numpy as np

from modicum.errors import BudgetError, InputError
from modicum.meter import Meter
from modicum.overlap import Overlap
from modicum.pool import Pool
from modicum.runs import inputs
from modicum.selection.budget import Budget
from modicum.usable import TooLong, kinds, unusable

_SHARED_SHOWN = 100  # characters


def in_rows(budget: Budget, pool: Pool, left_out: dict[int, str]) -> Budget:
    """A share becomes rows of the whole pool; more rows than can be picked are refused."""
    rows, candidates = budget.rows(len(pool)), len(pool) - len(left_out)
    why = ", ".join(f"{number:,} {kind}" for kind, number in kinds(left_out.values()).items())
    if not candidates:
        first = f"; the first, {pool.where(0)}: {left_out[0]}" if left_out else ""
        raise BudgetError(
            f"none of the {len(pool):,} rows can be picked: {why or 'it is empty'}{first}; "
            "`modicum check` says what is in the pool"
        )
    if rows is not None and rows > candidates:
        raise BudgetError(
            f"cannot pick {rows:,} rows: the pool has {len(pool):,}"
            f"{f', and of them {why}' if why else ''}; use -k {candidates} or fewer"
        )
    return budget if rows is None else Budget(float(rows), "rows")


def readable(
    name: str, other: Pool | None, meter: Meter, too_long: TooLong, notes: list[str]
) -> Pool | None:
    """The rows of `target` or `chosen` that the model can read; a note tells of the others."""
    if other is None:
        return None
    if not (left_out := unusable(other, meter, too_long)):
        return other
    first = min(left_out)
    some = f"{len(left_out):,} of {len(other):,} rows of {name} cannot be measured"
    said = f"{some}; the first, {other.where(first)}: {left_out[first]}"
    if len(left_out) == len(other):
        raise InputError(said)
    notes.append(said)
    return meter.narrow(other, np.setdiff1d(np.arange(len(other)), list(left_out)))


def about(other: Pool | None) -> dict[str, Any] | None:
    if other is None:
        return None
    rows = {"kept": len(other), "rejected": len(other.rejected)}
    return {"inputs": inputs(other), "pool": other.fingerprint, **rows}


def overlapping(overlaps: Sequence[Overlap], evaluation: Pool | None) -> dict[int, str]:
    """Rows that an evaluation row also holds: of which kind, where, and the words they share."""
    return {
        found.position: f"in the evaluation rows: {found.kind} match with "
        f"{evaluation.where(found.evaluation)}: {shorten(found.text, _SHARED_SHOWN)}"
        for found in overlaps
        if evaluation is not None
    }


def taken(pool: Pool, chosen: Pool | None) -> dict[int, str]:
    """Rows of the pool that were taken before: those whose turns equal a chosen row's."""
    if chosen is None:
        return {}
    before = {content: i for i, content in reversed(list(enumerate(chosen.digests)))}
    return {
        i: f"already chosen: {chosen.where(before[content])}"
        for i, content in enumerate(pool.digests)
        if content in before
    }
