"""By value, but never two alike."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from modicum.errors import AlignmentError, OptionError
from modicum.selection.budget import Step
from modicum.selection.memory import spare
from modicum.selection.rows import (
    LATTICE,
    Array,
    FloatArray,
    IntArray,
    as_values,
    as_vectors,
    as_wide_as,
    best_first,
    finite_rows,
    lattice_rows,
    products,
    rounding,
)

_BLOCK = 1024  # candidates that meet the kept rows together
_CHUNKED = 2  # times as many kept rows are met at once
_SMALLEST = 16  # candidates, where memory is short
_RIVALS = 4  # pairs a candidate that are measured exactly, or else all are
_TOLD_APART = 2.0**-24  # cosines; the lattice they are measured on is finer
_ORDER = 64  # bytes a row: sorting by value, and which rows are kept


def apart(
    vectors_ND: Array,
    values_N: Array,
    max_similarity: float,
    *,
    start_MD: Array | None = None,
    memory: int | None = None,
) -> Iterator[Step]:
    """Rows by value, highest first, leaving out any too like one that is kept or given.

    A row is kept if its cosine to every row kept before it, and to every row of `start_MD`, is at
    most `max_similarity` (DEITA, arXiv 2312.15685: 0.9), to within 1e-7. A zero vector has cosine
    0 to everything. The gain is the value. Ends early: what is left out is not offered later.
    Beside the vectors it takes what `needs` says, at most `memory` bytes.

    Candidates meet the kept rows block by block, in matrix products; a row that is out meets no
    more of them.
    """
    vectors_ND, values_N = as_vectors(vectors_ND, "vectors_ND"), as_values(values_N, "values_N")
    if len(vectors_ND) != len(values_N):
        raise AlignmentError(f"{len(values_N)} values for {len(vectors_ND)} vectors")
    if not -1 <= max_similarity <= 1:
        raise OptionError(f"max_similarity={max_similarity} is not a cosine; use -1 to 1")
    start_MD = as_wide_as(vectors_ND, start_MD, "start_MD")
    sizes = _sizes(len(vectors_ND), vectors_ND.shape[1], len(start_MD), memory)
    order_K = best_first(values_N, np.isfinite(values_N) & finite_rows(vectors_ND))
    return _walk(vectors_ND, values_N, order_K, max_similarity, _Kept(vectors_ND, start_MD, sizes))


def needs(rows: int, width: int, *, given: int = 0, memory: int | None = None) -> int:
    """Bytes that `apart` takes at most beside so many vectors and given rows."""
    return _sizes(rows, width, given, memory).bytes


class _Sizes(NamedTuple):
    block: int
    chunk: int
    cached: int  # kept rows that stay at hand; others are made anew from the vectors
    bytes: int


def _sizes(rows: int, width: int, given: int, memory: int | None) -> _Sizes:
    least = _working(min(_SMALLEST, max(1, rows)), width)
    free = spare("apart", _ORDER * rows, least, memory, "select from fewer rows")
    size = min(_BLOCK, max(1, rows))
    while _working(size, width) > max(free / 2, least):
        size //= 2
    free -= _working(size, width)
    chunk = _CHUNKED * size
    # The rows on hand are whole numbers below 2²⁷, so four bytes hold each.
    chunks = int(min(-(-(rows + given) // chunk), free // max(1, 4 * width * chunk)))
    used = _ORDER * rows + _working(size, width) + 4 * width * chunk * chunks
    return _Sizes(size, chunk, chunk * chunks, used)


def _working(block: int, width: int) -> int:
    """Bytes of a block of candidates, a chunk of kept rows, and their products."""
    chunk = _CHUNKED * block
    return 8 * (4 * width * (block + chunk) + block * chunk + block * block)


class _Kept:
    """The rows kept so far, those given first, and their lattice rows chunk by chunk."""

    def __init__(self, vectors_ND: FloatArray, start_MD: FloatArray, sizes: _Sizes) -> None:
        self.sizes, self.count = sizes, len(start_MD)
        self._vectors_ND, self._start_MD = vectors_ND, start_MD
        self._rows_K = np.empty(len(vectors_ND), dtype=np.int64)
        self._cached: list[npt.NDArray[np.int32]] = []

    def add(self, row: int) -> None:
        self._rows_K[self.count - len(self._start_MD)] = row
        self.count += 1

    def chunks(self) -> Iterator[FloatArray]:
        """All of them, as many as are made at once."""
        size = self.sizes.chunk
        for at, first in enumerate(range(0, self.count, size)):
            if at < len(self._cached):
                yield self._cached[at].astype(np.float64)
                continue
            made_CD = self._made(first, min(first + size, self.count))
            # Only a full chunk will not change.
            if len(made_CD) == size and first + size <= self.sizes.cached:
                self._cached.append(made_CD.astype(np.int32))
            yield made_CD

    def _made(self, first: int, last: int) -> FloatArray:
        given = len(self._start_MD)
        rows_K = self._rows_K[max(0, first - given) : max(0, last - given)]
        if first >= given:
            return lattice_rows(self._vectors_ND[rows_K])
        both = (self._start_MD[first:last], self._vectors_ND[rows_K])
        return np.concatenate([lattice_rows(part) for part in both])


def _walk(
    vectors_ND: FloatArray,
    values_N: FloatArray,
    order_K: IntArray,
    max_similarity: float,
    kept: _Kept,
) -> Iterator[Step]:
    limit = (max_similarity + _TOLD_APART) * LATTICE**2
    for first in range(0, len(order_K), kept.sizes.block):
        rows_B = order_K[first : first + kept.sizes.block]
        block_BD = lattice_rows(vectors_ND[rows_B])
        open_B, nearest_B = _met(block_BD, kept, limit)
        rows_B, block_BD = rows_B[open_B], block_BD[open_B]
        own_BB = block_BD @ block_BD.T
        for b, pick in enumerate(rows_B.tolist()):
            if nearest_B[b] > limit:
                continue  # too like one of this block
            value = float(values_N[pick])
            # Rounding can lift the cosine of a row with itself above 1.
            nearest = min(float(nearest_B[b]) / LATTICE**2, 1.0)
            np.maximum(nearest_B, own_BB[b], out=nearest_B)
            kept.add(pick)
            likeness = f"at most {nearest:.4g} like any taken before"
            yield Step(pick, f"{value:.4g}, {likeness if kept.count > 1 else 'the first'}", value)


def _met(block_BD: FloatArray, kept: _Kept, limit: float) -> tuple[IntArray, FloatArray]:
    """Which candidates are not too like any kept row, and their largest product with one."""
    open_B, nearest_B = np.arange(len(block_BD)), np.full(len(block_BD), -np.inf)
    for chunk_CD in kept.chunks():
        nearest_B = np.maximum(nearest_B, _largest(block_BD, chunk_CD))
        if (out_B := nearest_B > limit).any():
            open_B, nearest_B, block_BD = open_B[~out_B], nearest_B[~out_B], block_BD[~out_B]
        if not len(open_B):
            break
    return open_B, nearest_B


def _largest(block_BD: FloatArray, chunk_CD: FloatArray) -> FloatArray:
    """The largest product of each candidate with a row of the chunk, exactly."""
    single_BD, single_CD = block_BD.astype(np.float32), chunk_CD.astype(np.float32)
    rough_BC = single_BD @ single_CD.T
    # The largest and its rivals may both be off.
    reach_B = rough_BC.max(axis=1) - np.float32(2 * rounding(block_BD.shape[1]))
    rivals_BC = rough_BC >= reach_B[:, None]
    del rough_BC
    if np.count_nonzero(rivals_BC) > _RIVALS * len(block_BD):  # as in a pool of many equal rows
        del rivals_BC
        return np.asarray((block_BD @ chunk_CD.T).max(axis=1))
    b_P, c_P = np.nonzero(rivals_BC)
    largest_B = np.full(len(block_BD), -np.inf)
    np.maximum.at(largest_B, b_P, products(block_BD, chunk_CD, b_P, c_P))
    return largest_B
