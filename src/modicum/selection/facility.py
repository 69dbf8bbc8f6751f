"""Facility location: picks such that every row has one that is like it."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import NamedTuple, Protocol

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
    finite_rows,
    lattice_rows,
)

DENSE = 10_000  # rows; of more, each is compared with its nearest only
NEIGHBOURS = 64
_STEPS = 1 << 23  # of a likeness: sums of such are exact, in whatever order
_BLOCK, _SMALLEST = 256, 8
Single = npt.NDArray[np.float32]


def facility(
    vectors_ND: Array,
    *,
    start_MD: Array | None = None,
    values_N: Array | None = None,
    quality: float = 0.0,
    memory: int | None = None,
) -> Iterator[Step]:
    """Greedily make Σ over rows of the likeness to the pick most like it as large as can be.

    Likeness is the cosine, and 0 where that is below. A pick adds at least (1 − 1/e) of what the
    best picks of that number would in all (Nemhauser, Wolsey & Fisher 1978); gains are looked at
    again only where they may be the largest (Minoux 1978). The gain is what the pick adds, in rows.
    With `values_N`, a pick counts (1 − quality) × gain ÷ rows + quality × its value between the
    lowest, 0, and the highest, 1 (QDIT, arXiv 2311.14736).

    Above `DENSE` rows a row is served by its `NEIGHBOURS` nearest only, as if the others were not
    like it at all. Rows of `start_MD` serve from the start. Beside the vectors it takes what
    `needs` says, at most `memory` bytes; the picks do not depend on it.
    """
    vectors_ND = as_vectors(vectors_ND, "vectors_ND")
    start_MD = as_wide_as(vectors_ND, start_MD, "start_MD")
    if not 0 <= quality <= 1:
        raise OptionError(f"quality={quality}: give a share, 0.3 for 30 %")
    worth_N = _worth(values_N, len(vectors_ND)) if quality else np.zeros(len(vectors_ND))
    sizes = _Sizes.within(len(vectors_ND), vectors_ND.shape[1], memory)
    offered = np.flatnonzero(finite_rows(vectors_ND) & np.isfinite(worth_N))
    served_N = _served(vectors_ND, start_MD, offered, sizes.block)
    likeness: _Likeness
    if len(vectors_ND) > DENSE:
        likeness = _Near.of(vectors_ND, offered, sizes.block)
    else:
        likeness = _All.of(vectors_ND, offered, sizes)
    return _lazily(likeness, offered, served_N, worth_N, quality)


def needs(rows: int, width: int, *, memory: int | None = None) -> int:
    """Bytes that `facility` takes at most beside so many vectors."""
    return _Sizes.within(rows, width, memory).bytes


class _Sizes(NamedTuple):
    block: int  # rows that meet all others at once
    held: bool  # whether every likeness is kept, of `DENSE` rows or fewer
    bytes: int

    @classmethod
    def within(cls, rows: int, width: int, memory: int | None) -> _Sizes:
        smallest = min(_SMALLEST, max(1, rows))
        fixed = 200 * rows + 8 * rows * width
        if rows > DENSE:
            fixed += (8 + 8 + 24) * rows * NEIGHBOURS
        least = cls._meeting(smallest, rows, width)
        free = spare("facility", fixed, least, memory, "use a view with fewer numbers")
        held = rows <= DENSE and free >= least + 4 * rows * rows
        if held:
            fixed, free = fixed + 4 * rows * rows, free - 4 * rows * rows
        block = min(_BLOCK, max(1, rows))
        while block > smallest and cls._meeting(block, rows, width) > free:
            block //= 2
        return cls(block, held, fixed + cls._meeting(block, rows, width))

    @staticmethod
    def _meeting(block: int, rows: int, width: int) -> int:
        return block * (32 * rows + 16 * width) + 4096


class _Likeness(Protocol):
    """How like each other rows are, in steps of 2⁻²³."""

    def to(self, row: int) -> tuple[Array | slice, Single]:
        """The rows that a row can serve, and how like they are to it."""
        ...

    def gains(self, served_N: Single) -> npt.NDArray[np.float64]:
        """What each row would add to what is served already."""
        ...


class _All:
    """Every row and every other: held, or computed anew where memory is short."""

    def __init__(self, lattice_ND: FloatArray, offered: IntArray, block: int) -> None:
        self._lattice_ND, self._offered, self._block = lattice_ND, offered, block
        self._held_NN: Single | None = None

    @classmethod
    def of(cls, vectors_ND: FloatArray, offered: IntArray, sizes: _Sizes) -> _All:
        lattice_ND = np.zeros(vectors_ND.shape)
        lattice_ND[offered] = lattice_rows(vectors_ND[offered])
        found = cls(lattice_ND, offered, sizes.block)
        if sizes.held:
            held_NN = np.zeros((len(vectors_ND), len(vectors_ND)), dtype=np.float32)
            for rows_B in found._blocks():
                held_NN[rows_B] = found._met(rows_B)
            found._held_NN = held_NN
        return found

    def to(self, row: int) -> tuple[Array | slice, Single]:
        if self._held_NN is not None:
            return slice(None), self._held_NN[row]
        return slice(None), self._met(np.array([row]))[0]

    def gains(self, served_N: Single) -> npt.NDArray[np.float64]:
        gain_N = np.zeros(len(served_N))
        for rows_B in self._blocks():
            like_BN = self._met(rows_B) if self._held_NN is None else self._held_NN[rows_B]
            gain_N[rows_B] = np.maximum(like_BN - served_N, 0).sum(axis=1, dtype=np.float64)
        return gain_N

    def _met(self, rows_B: IntArray) -> Single:
        return _steps(self._lattice_ND[rows_B] @ self._lattice_ND.T)

    def _blocks(self) -> Iterator[IntArray]:
        for first in range(0, len(self._offered), self._block):
            yield self._offered[first : first + self._block]


class _Near(NamedTuple):
    """For each row the rows that have it among their nearest: `row_E` from `starts` on."""

    row_E: npt.NDArray[np.int32]
    like_E: Single
    starts: IntArray

    @classmethod
    def of(cls, vectors_ND: FloatArray, offered: IntArray, block: int) -> _Near:
        lattice_MD = lattice_rows(vectors_ND[offered])
        count = min(NEIGHBOURS, len(offered))
        near_MC = np.empty((len(offered), count), dtype=np.int32)
        like_MC = np.empty((len(offered), count), dtype=np.float32)
        for first in range(0, len(offered), block):
            part = slice(first, first + block)
            like_BM = _steps(lattice_MD[part] @ lattice_MD.T)
            # A key sorts by likeness, then by the lower row.
            key_BM = np.rint(like_BM * _STEPS).astype(np.int64) << 32
            key_BM += 0x7FFF_FFFF - np.arange(len(offered))
            key_BM.partition(len(offered) - count, axis=1)
            near_MC[part] = 0x7FFF_FFFF - (key_BM[:, -count:] & 0x7FFF_FFFF)
            like_MC[part] = np.take_along_axis(like_BM, near_MC[part], axis=1)
        order_E = np.argsort(near_MC, axis=None, kind="stable")
        row_E = offered[order_E // max(1, count)].astype(np.int32)
        served = np.bincount(near_MC.ravel(), minlength=len(offered))
        counts_N = np.zeros(len(vectors_ND), dtype=np.int64)
        counts_N[offered] = served
        starts = np.concatenate([[0], np.cumsum(counts_N)])
        return cls(row_E, like_MC.ravel()[order_E], starts)

    def to(self, row: int) -> tuple[Array | slice, Single]:
        here = slice(self.starts[row], self.starts[row + 1])
        return self.row_E[here], self.like_E[here]

    def gains(self, served_N: Single) -> npt.NDArray[np.float64]:
        added_E = np.maximum(self.like_E - served_N[self.row_E], 0)
        whose_E = np.repeat(np.arange(len(self.starts) - 1), np.diff(self.starts))
        return np.bincount(whose_E, added_E, len(self.starts) - 1).astype(np.float64, copy=False)


def _lazily(
    likeness: _Likeness,
    offered: IntArray,
    served_N: Single,
    worth_N: npt.NDArray[np.float64],
    quality: float,
) -> Iterator[Step]:
    """The largest first; of equals the lowest row. An old gain is never below the true one."""
    scale = (1 - quality) / max(1, len(offered)) if quality else 1.0
    gain_N = likeness.gains(served_N)
    waiting = [(-(scale * gain_N[i] + quality * worth_N[i]), i) for i in offered.tolist()]
    heapq.heapify(waiting)
    while waiting:
        _, row = waiting[0]
        rows, like = likeness.to(row)
        gain = float(np.maximum(like - served_N[rows], 0).sum(dtype=np.float64))
        entry = (-(scale * gain + quality * worth_N[row]), row)
        if len(waiting) > 1 and entry > min(waiting[1:3]):
            heapq.heapreplace(waiting, entry)
            continue
        heapq.heappop(waiting)
        served_N[rows] = np.maximum(served_N[rows], like)
        told = f", and worth {worth_N[row]:.4g}" if quality else ""
        yield Step(row, f"adds {gain:.4g} rows' worth of likeness{told}", -entry[0])


def _served(vectors_ND: FloatArray, start_MD: FloatArray, offered: IntArray, block: int) -> Single:
    """(N,) how like each row is to the given row most like it; 0 where none are given."""
    served_N = np.zeros(len(vectors_ND), dtype=np.float32)
    if len(start_MD):
        given_MD = lattice_rows(start_MD)
        for first in range(0, len(offered), block):
            rows_B = offered[first : first + block]
            like_BM = _steps(lattice_rows(vectors_ND[rows_B]) @ given_MD.T)
            served_N[rows_B] = like_BM.max(axis=1)
    return served_N


def _steps(product: FloatArray) -> Single:
    """Cosines of lattice products, from 0 on, in whole steps."""
    like = np.rint(np.maximum(product, 0) * (_STEPS / LATTICE**2))
    return np.asarray(np.minimum(like, _STEPS) / _STEPS, dtype=np.float32)


def _worth(values_N: Array | None, rows: int) -> npt.NDArray[np.float64]:
    """(N,) values between the lowest, 0, and the highest, 1; NaN where they are not finite."""
    if values_N is None or len(values_N) != rows:
        given = "none" if values_N is None else len(values_N)
        raise AlignmentError(f"{given} values for {rows} vectors; quality needs one a row")
    found_N = as_values(values_N, "values_N").astype(np.float64)
    finite_N = np.isfinite(found_N)
    if not finite_N.any():
        return np.full(rows, np.nan)
    low, high = found_N[finite_N].min(), found_N[finite_N].max()
    return np.where(finite_N, (found_N - low) / (high - low if high > low else 1.0), np.nan)
