"""By value, but never two alike."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from modicum.errors import AlignmentError, OptionError
from modicum.selection.budget import Step
from modicum.selection.rows import (
    Array,
    FloatArray,
    IntArray,
    as_values,
    as_vectors,
    as_wide_as,
    best_first,
    finite_rows,
    unit_rows,
)


def apart(
    vectors_ND: Array,
    values_N: Array,
    max_similarity: float,
    *,
    start_MD: Array | None = None,
) -> Iterator[Step]:
    """Rows by value, highest first, leaving out any too like one that is kept or given.

    A row is kept if its cosine to every row kept before it, and to every row of `start_MD`, is at
    most `max_similarity` (DEITA, arXiv 2312.15685: 0.9). A zero vector has cosine 0 to
    everything. The gain is the value. Ends early: what is left out is not offered later.
    """
    vectors_ND, values_N = as_vectors(vectors_ND, "vectors_ND"), as_values(values_N, "values_N")
    if len(vectors_ND) != len(values_N):
        raise AlignmentError(f"{len(values_N)} values for {len(vectors_ND)} vectors")
    if not -1 <= max_similarity <= 1:
        raise OptionError(f"max_similarity={max_similarity} is not a cosine; use -1 to 1")
    start_MD = as_wide_as(vectors_ND, start_MD, "start_MD")
    order_K = best_first(values_N, np.isfinite(values_N) & finite_rows(vectors_ND))
    return _walk(vectors_ND, values_N, order_K, max_similarity, start_MD)


def _walk(
    vectors_ND: FloatArray,
    values_N: FloatArray,
    order_K: IntArray,
    max_similarity: float,
    start_MD: FloatArray,
) -> Iterator[Step]:
    kept_KD = unit_rows(start_MD)
    count = len(kept_KD)
    for pick in order_K.tolist():
        unit_D = unit_rows(vectors_ND[pick : pick + 1])[0]
        # Clipped, because rounding can lift the cosine of a row with itself above 1.
        nearest = float(np.minimum(kept_KD[:count] @ unit_D, 1.0).max(initial=-np.inf))
        if nearest > max_similarity:
            continue
        if count == len(kept_KD):
            kept_KD = np.resize(kept_KD, (max(1024, 2 * count), len(unit_D)))
        kept_KD[count] = unit_D
        count += 1
        value = float(values_N[pick])
        likeness = f"at most {nearest:.4g} like any taken before" if count > 1 else "the first"
        yield Step(pick, f"{value:.4g}, {likeness}", value)
