"""Rows made of a pool's rows, by which a model is asked something about each of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from modicum.meter import Meter
from modicum.pool import Pool, RawRow, Turn
from modicum.wants import Want

Further = Sequence[tuple[Pool, tuple[Want, ...]]]  # rows that are made of rows, and what of them


def answered(pool: Pool, meter: Meter) -> np.ndarray:
    """(N,) bool: which rows have an answer to learn, as the meter's model reads them."""
    answered_N: np.ndarray = meter.rendered(pool).lengths_N > 0
    return answered_N


def derived(pool: Pool, turns: Iterable[tuple[Turn, ...]]) -> Pool:
    """For each row of the pool one of the same id, with these turns."""
    both = zip(pool.ids, turns, strict=True)
    return Pool.build(RawRow(id, "", "", said, 0, n, 0, 0) for n, (id, said) in enumerate(both))


def question(user: str, answer: str) -> tuple[Turn, ...]:
    """What a user says, and the answer to it, which is learned."""
    return (Turn("user", user, False), Turn("assistant", answer, True))


def measured(made: Pool, wants: Sequence[Want], meter: Meter, asked_N: np.ndarray) -> np.ndarray:
    """(W, N) float32: what is wanted of the rows that were `made` of a pool's rows.

    NaN where `asked_N` says that a row is not asked about, and where the window does not hold the
    row made: it is not cut, whatever is done with long rows of the pool.
    """
    meter = meter.uncut()
    lengths_N = meter.rendered(made).lengths_N
    asked_N = asked_N & (lengths_N > 0)
    rows_M = np.flatnonzero(asked_N & (lengths_N <= meter.max_tokens))
    meter.ledger.not_asked(int(asked_N.sum()) - len(rows_M), meter.max_tokens)
    kept = meter.narrow(made, rows_M)
    meter.prepare(kept, wants)
    values_WN = np.full((len(wants), len(made)), np.nan, dtype=np.float32)
    for values_N, want in zip(values_WN, wants, strict=True):
        values_N[rows_M] = meter.measured(kept, want)
    return values_WN
