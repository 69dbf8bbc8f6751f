"""The rows most like a target, every target row served in turn."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from modicum.errors import InputError
from modicum.selection.budget import Step
from modicum.selection.rows import (
    Array,
    BoolArray,
    FloatArray,
    IntArray,
    as_vectors,
    as_wide_as,
    finite_rows,
    unit_rows,
)

_SHORTEST = 256  # rows listed per target row at first; doubled each time a list runs dry
_LISTED = 1 << 24  # numbers in all lists together: 128 MiB
_BLOCK = 1 << 22  # similarities held at once: 32 MiB
_STEPS = 1 << 29  # similarities are told apart to one part in this many


def near_target(vectors_ND: Array, target_MD: Array) -> Iterator[Step]:
    """Target rows take turns, each taking the unused row most similar to it by cosine.

    The round-robin of RDS+ (arXiv 2503.01807). The gain is the similarity, to 2e-9; a zero
    vector's is 0. Similarities are computed block by block: beside the vectors, memory holds a
    list of the best rows for each target row, made anew from the unused rows when one runs dry.
    """
    vectors_ND = as_vectors(vectors_ND, "vectors_ND")
    target_MD = as_wide_as(vectors_ND, target_MD, "target_MD")
    if not len(target_MD):
        raise InputError("the target has no rows; rows cannot be near to nothing")
    return _in_turn(vectors_ND, unit_rows(target_MD), finite_rows(vectors_ND))


def _in_turn(vectors_ND: FloatArray, target_MD: FloatArray, unused_N: BoolArray) -> Iterator[Step]:
    left = int(np.count_nonzero(unused_N))
    length = _SHORTEST
    lists = [iter(keys) for keys in _best(vectors_ND, target_MD, unused_N, length).tolist()]
    for turn in range(left):
        m = turn % len(target_MD)
        key = _unused(lists[m], unused_N)
        if key is None:
            length = min(2 * length, max(_SHORTEST, _LISTED // len(target_MD)))
            lists = [iter(keys) for keys in _best(vectors_ND, target_MD, unused_N, length).tolist()]
            key = next(lists[m])
        pick, similarity = _row(key), (key >> 32) / _STEPS - 1
        unused_N[pick] = False
        yield Step(pick, f"{similarity:.4g} to target row {m}", similarity)


def _unused(keys: Iterator[int], unused_N: BoolArray) -> int | None:
    return next((key for key in keys if unused_N[_row(key)]), None)


def _best(
    vectors_ND: FloatArray, target_MD: FloatArray, unused_N: BoolArray, length: int
) -> IntArray:
    """For each target row the keys of its most similar unused rows, best first: (M, length)."""
    rows = np.flatnonzero(unused_N)
    best_ML = np.empty((len(target_MD), 0), dtype=np.int64)
    for part in np.array_split(rows, len(rows) * len(target_MD) // _BLOCK + 1):
        similarity_MB = target_MD @ unit_rows(vectors_ND[part]).T
        both = np.concatenate([best_ML, _keys(similarity_MB, part)], axis=1)
        cut = max(0, both.shape[1] - length)
        best_ML = np.partition(both, cut, axis=1)[:, cut:] if cut else both
    return np.flip(np.sort(best_ML, axis=1), axis=1)


def _keys(similarity_MB: FloatArray, rows: IntArray) -> IntArray:
    """One int that sorts by similarity, then by lower row.

    Rounded to a fixed step, because a matrix product may give equal rows similarities that
    differ in the last bit, depending on where in a block they stand.
    """
    steps_MB = np.rint((np.clip(similarity_MB, -1, 1) + 1) * _STEPS).astype(np.int64)
    return (steps_MB << 32) | (0xFFFF_FFFF - rows)


def _row(key: int) -> int:
    return 0xFFFF_FFFF - (key & 0xFFFF_FFFF)
