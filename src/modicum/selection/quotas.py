"""How a budget is shared over rounds, and which of the rows on offer a round takes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np

from modicum.errors import BudgetError, OptionError
from modicum.selection.budget import Step
from modicum.selection.rows import IntArray


class Quota(NamedTuple):
    """Where a round ends: after so many rows, or before all picks exceed so many tokens.

    The first row of a round may pass `tokens`, but never `budget`: or a round whose first row is
    long would take nothing, and the next would look through the same model again.
    """

    rows: int | None
    tokens: float = math.inf
    budget: float = math.inf


def quotas(
    rows: int | None,
    tokens: float,
    *,
    initial: int,
    per_round: int | None,
    rounds: int,
    mean_tokens: float,
    drawn: Callable[[], float] | None = None,
) -> Iterator[Quota]:
    """A quota for the first draw of `initial` rows, and one for every round after it.

    A budget of rows, or (with `rows` None) of tokens: what the draw leaves is shared equally over
    the rounds, or with `per_round` taken in rounds of that many rows until it is spent. How many
    rounds spend tokens is not known before: then these quotas do not end, and a round that takes
    fewer rows is the last. `drawn` is asked, once the draw is made, for the tokens it took;
    without it they are taken to be `initial` times the mean.
    """
    for option, value in {"initial": initial, "per_round": per_round, "rounds": rounds}.items():
        if value is not None and value < 1:
            raise OptionError(f"{option}={value}; at least 1 is needed")
    if rows is not None and rows <= initial:
        raise BudgetError(
            f"initial={initial} rows leave nothing of a budget of {rows} to the rounds; "
            + _way_out(rows // 2, "2")
        )
    if rows is None and tokens <= initial * mean_tokens:
        raise BudgetError(
            f"initial={initial} rows of {mean_tokens:.0f} tokens on average leave nothing of a "
            f"budget of {tokens:.0f} tokens to the rounds; "
            + _way_out(int(tokens / mean_tokens / 2), f"{math.ceil(2 * mean_tokens)}tok")
        )
    yield Quota(initial, tokens, tokens)
    if per_round is not None:
        left = math.inf if rows is None else rows - initial
        while left > 0:
            yield Quota(int(min(per_round, left)), tokens, tokens)
            left -= per_round
    elif rows is not None:
        parts = np.array_split(np.arange(rows - initial), rounds)
        yield from (Quota(len(part)) for part in parts if len(part))
    else:
        spent = initial * mean_tokens if drawn is None else drawn()
        ends = np.linspace(spent, tokens, rounds + 1)[1:]
        yield from (Quota(None, float(end), tokens) for end in ends)


def within(
    steps: Iterable[Step], quota: Quota, tokens_N: IntArray, spent: float
) -> tuple[list[Step], Step | None]:
    """The steps that a quota lets in, and the first that it does not, if there is one.

    `tokens_N` are those of the rows that picks stand for, `spent` what earlier rounds took.
    """
    taken: list[Step] = []
    for step in steps:
        spent += float(tokens_N[step.pick])
        end = quota.tokens if taken else quota.budget
        if len(taken) == quota.rows or spent > end:
            return taken, step
        taken.append(step)
    return taken, None


def _way_out(half: int, smallest: str) -> str:
    """What to type instead, when the first draw would take the whole budget."""
    if not half:
        return f"use -k {smallest} or more, with --set initial=1"
    return f"use --set initial={half}, or a larger -k"
