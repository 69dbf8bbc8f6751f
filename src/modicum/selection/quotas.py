"""How a budget is shared over rounds, and which of the rows on offer a round takes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from modicum.errors import BudgetError, OptionError
from modicum.selection.budget import Step
from modicum.selection.rows import IntArray


class Quota(NamedTuple):
    """Where a round ends: after so many rows, or before all picks exceed so many tokens."""

    rows: int | None
    tokens: float = math.inf


def quotas(
    rows: int | None,
    tokens: float,
    *,
    initial: int,
    per_round: int | None,
    rounds: int,
    mean_tokens: float,
) -> Iterator[Quota]:
    """A quota for the first draw of `initial` rows, and one for every round after it.

    A budget of rows, or (with `rows` None) of tokens: what the draw leaves is shared equally over
    the rounds, or with `per_round` taken in rounds of that many rows until it is spent. How many
    rounds spend tokens is not known before: then these quotas do not end, and a round that takes
    fewer rows is the last.
    """
    for option, value in {"initial": initial, "per_round": per_round, "rounds": rounds}.items():
        if value is not None and value < 1:
            raise OptionError(f"{option}={value}; at least 1 is needed")
    if rows is not None and rows <= initial:
        raise BudgetError(
            f"initial={initial} rows leave nothing of a budget of {rows} to the rounds; "
            f"use --set initial={max(1, rows // 2)}, or a larger -k"
        )
    if rows is None and tokens <= initial * mean_tokens:
        raise BudgetError(
            f"initial={initial} rows of {mean_tokens:.0f} tokens on average leave nothing of a "
            f"budget of {tokens:.0f} tokens to the rounds; "
            f"use --set initial={max(1, int(tokens / mean_tokens / 2))}, or a larger -k"
        )
    yield Quota(initial, tokens)
    if per_round is not None:
        left = math.inf if rows is None else rows - initial
        while left > 0:
            yield Quota(int(min(per_round, left)), tokens)
            left -= per_round
    elif rows is not None:
        parts = np.array_split(np.arange(rows - initial), rounds)
        yield from (Quota(len(part)) for part in parts if len(part))
    else:
        ends = np.linspace(initial * mean_tokens, tokens, rounds + 1)[1:]
        yield from (Quota(None, float(end)) for end in ends)


def within(
    steps: Iterable[Step], quota: Quota, tokens_N: IntArray, spent: float
) -> tuple[list[Step], Step | None]:
    """The steps that a quota lets in, and the first that it does not, if there is one.

    `tokens_N` are those of the rows that picks stand for, `spent` what earlier rounds took.
    """
    taken: list[Step] = []
    for step in steps:
        spent += float(tokens_N[step.pick])
        if len(taken) == quota.rows or spent > quota.tokens:
            return taken, step
        taken.append(step)
    return taken, None
