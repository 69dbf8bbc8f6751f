"""Which rows of a pool a model can read at all, within a limit of tokens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from modicum.errors import InputError, OptionError
from modicum.meter import Meter
from modicum.models import Model, Precision, find_model
from modicum.pool import Pool
from modicum.store import Store

if TYPE_CHECKING:
    from modicum.measure import Engine

TooLong = Literal["drop", "truncate-prompt", "error"]
LARGEST_SEED = 2**32 - 1  # the largest that every library used here takes


def check_seed(seed: int) -> None:
    """Refuse a seed that some library would not take."""
    if not 0 <= seed <= LARGEST_SEED:
        raise OptionError(f"seed {seed}: give a whole number from 0 to {LARGEST_SEED}")


def meter_of(
    model: str | Path | Model | None,
    *,
    too_long: TooLong,
    max_tokens: int | None,
    precision: Precision,
    store: Store | None,
    engine: Engine | None = None,
) -> Meter:
    """A meter of this model that treats long rows as asked."""
    found = model if isinstance(model, Model) else find_model(model, precision=precision)
    truncate = too_long == "truncate-prompt"
    return Meter(
        found, store or Store.default(), limit=max_tokens, truncate=truncate, engine=engine
    )


def unusable(pool: Pool, meter: Meter, too_long: TooLong) -> dict[int, str]:
    """Rows that the model's template or window does not take, and why."""
    rendered, limit = meter.rendered(pool), meter.max_tokens
    long_M = np.flatnonzero(rendered.lengths_N > limit).tolist()
    if too_long == "error" and long_M:
        first = long_M[0]
        raise InputError(
            f"{pool.where(first)}: {rendered.lengths_N[first]:,} tokens, the limit is {limit:,}, "
            f"and so for {len(long_M):,} rows; pass --too-long drop or truncate-prompt"
        )
    left_out = {i: f"cannot be rendered: {why}" for i, why in rendered.errors.items()}
    return left_out | {
        i: f"too long: {rendered.lengths_N[i]} tokens, the limit is {limit}" for i in long_M
    }


def unscored(name: str, values_M: np.ndarray, rows_M: np.ndarray) -> dict[int, str]:
    """Rows whose value is not finite; `rows_M` says which row of the pool each value is of."""
    return {
        int(rows_M[m]): f"{name} is {values_M[m]}, not a number to rank by"
        for m in np.flatnonzero(~np.isfinite(values_M))
    }


def unmeasured(
    scored: Mapping[str, np.ndarray], unseen: Mapping[str, np.ndarray], rows_M: np.ndarray
) -> dict[int, str]:
    """Rows for which a score or a vector could not be had; they are not offered."""
    left_out: dict[int, str] = {}
    for name, values_M in scored.items():
        left_out |= unscored(name, values_M, rows_M)
    for reason, unseen_M in unseen.items():
        left_out |= {int(rows_M[m]): reason for m in np.flatnonzero(unseen_M)}
    return left_out


def kinds(reasons: Iterable[str]) -> dict[str, int]:
    """How many rows are left out for each kind of reason: its words before the first colon."""
    return dict(sorted(Counter(reason.partition(":")[0] for reason in reasons).items()))


def spread(values_M: np.ndarray, candidates_M: np.ndarray, rows: int) -> np.ndarray:
    """Values of the candidates at their places in the whole pool, NaN elsewhere."""
    values_N = np.full(rows, np.nan, dtype=np.result_type(values_M, np.float32))
    values_N[candidates_M] = values_M
    return values_N
