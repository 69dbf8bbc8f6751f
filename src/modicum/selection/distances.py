"""Each row's squared distance to the nearest of many centres, looked at only when it is asked for.

Products in float32 give bounds, many rows and many centres at once; a bound is replaced by the
exact distance, from the differences in float64, where something depends on it: the product alone
cancels (two equal rows end up apart, or NaN under a root), and a BLAS may round equal rows
differently, which breaks ties.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import repeat
from threading import Lock
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt
from threadpoolctl import ThreadpoolController

from modicum.selection.devices import Device, Numpy, Torch
from modicum.selection.rows import Array, BoolArray, FloatArray, IntArray

SingleArray = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]

CENTRES_AT_ONCE = 128
NUMBERS_AT_ONCE = 1 << 15  # of a few rows as float64
_DECIDED_AT_ONCE = 512
_WORTH_A_THREAD = 1 << 27  # multiplications
_WORTH_A_COPY = 0.75  # of the rows are left
_EPSILON = float(np.finfo(np.float32).eps)
_TINY = float(np.finfo(np.float32).tiny)  # what a product loses at most where it underflows


@dataclass
class Work:
    """What a selection has computed so far; hand one in and read it at any time."""

    products: int = 0  # pairs of a row and a centre bounded by a product in float32
    differences: int = 0  # pairs measured from the differences, in float64
    bytes_read: int = 0  # of vectors, from memory or cache

    @property
    def distances(self) -> int:
        """Distance evaluations of either kind."""
        return self.products + self.differences


class Scaled(NamedTuple):
    """Vectors as they are, and as float32 can multiply them.

    Distances are of the rows times 2^-exponent. A power of two changes no digit and keeps squares
    inside float32; without the mean, products cancel less.
    """

    vectors_ND: FloatArray
    exponent: int
    mean_D: FloatArray  # of the scaled rows, or near it

    def wide(self, rows_B: IntArray) -> Float64Array:
        wide_BD = self.vectors_ND.take(rows_B, axis=0).astype(np.float64)
        return np.ldexp(wide_BD, -self.exponent) if self.exponent else wide_BD

    def single(self, rows_B: IntArray) -> SingleArray:
        single_BD = np.empty((len(rows_B), self.vectors_ND.shape[1]), dtype=np.float32)
        if self.vectors_ND.dtype == np.float32 and not self.exponent:
            self.vectors_ND.take(rows_B, axis=0, out=single_BD, mode="clip")  # raise would copy
            single_BD -= self.mean_D
            return single_BD
        for part in few_rows(*single_BD.shape):
            found = self.vectors_ND.take(rows_B[part], axis=0)
            if self.exponent:
                found = np.ldexp(found, -self.exponent)
            np.subtract(found, self.mean_D, out=single_BD[part], casting="same_kind")
        return single_BD


@dataclass
class Distances:
    """For each row, what is known of its squared distance to the nearest centre.

    It is at most `upper_N`, and exactly that where `exact_N`; `centre_N` is that centre, the
    earliest of equals, if only the first `seen_N` centres are looked at. -inf: not to be offered.
    """

    rows: Scaled
    given: Scaled  # rows that are centres but not to be picked
    work: Work
    width: int
    part_rows: int  # rows that meet centres at once
    low_N: SingleArray  # squared norms, less the rounding error they may lead to
    upper_N: Float64Array
    exact_N: BoolArray
    centre_N: npt.NDArray[np.int32]
    seen_N: npt.NDArray[np.int32]
    row_C: IntArray  # the row each centre is, in the order taken; -1-m: given row m
    low_C: SingleArray  # as low_N
    device: Device
    centres: int = 0
    lock: Lock = field(default_factory=Lock)  # of the work

    @classmethod
    def of(
        cls,
        vectors_ND: FloatArray,
        given_MD: FloatArray,
        part_rows: int,
        work: Work,
        device: str | None = None,
    ) -> Self:
        finite_N, exponent = _extent(vectors_ND, given_MD)
        mean_D = _mean(vectors_ND, finite_N, exponent)
        (n, width), m = vectors_ND.shape, len(given_MD)
        rows = Scaled(vectors_ND, exponent, mean_D)
        found = cls(
            rows=rows,
            given=Scaled(given_MD, exponent, mean_D),
            work=work,
            width=width,
            part_rows=part_rows,
            low_N=np.zeros(n, dtype=np.float32),
            upper_N=np.where(finite_N, np.inf, -np.inf),
            exact_N=np.zeros(n, dtype=bool),
            centre_N=np.full(n, -1, dtype=np.int32),
            seen_N=np.zeros(n, dtype=np.int32),
            row_C=np.empty(n + m, dtype=np.int64),
            low_C=np.zeros(n + m, dtype=np.float32),
            device=Torch.holding(device, rows.single, n, width) if device else Numpy(rows.single),
        )
        rows_M = np.flatnonzero(finite_N)
        for part in few_rows(len(rows_M), found.width):
            found.low_N[rows_M[part]] = found._low(found.rows.single(rows_M[part]))
        found.row_C[:m], found.centres = -1 - np.arange(m), m
        for part in few_rows(m, found.width):
            found.low_C[:m][part] = found._low(found.given.single(np.arange(m)[part]))
        return found

    @property
    def slack(self) -> float:
        """The share of the squared norms that a float32 product may be off by.

        |x|² + |c|² - 2x·c is off by at most (D + a few) roundings of |x|² + |c|². Epsilon is two
        roundings, so the bounds hold twice over.
        """
        return (self.width + 8) * _EPSILON

    def add(self, row: int, low: float) -> None:
        """One more centre, which no row has met."""
        self.row_C[self.centres], self.low_C[self.centres] = row, low
        self.centres += 1

    def meet(self, rows_A: IntArray, floor: float = -np.inf) -> None:
        """Let these rows meet every centre that they have not, or until they are below the floor.

        The floor is a squared distance.
        """
        behind_A = (self.seen_N[rows_A] < self.centres) & (self.upper_N[rows_A] > 0)
        rows_A = rows_A[behind_A]
        rows_A = rows_A[np.argsort(self.seen_N[rows_A], kind="stable")]
        if not len(rows_A):
            return
        parts = [rows_A[i : i + self.part_rows] for i in range(0, len(rows_A), self.part_rows)]
        numbers = len(rows_A) * self.width * (self.centres - int(self.seen_N[rows_A[0]]))
        workers = min(threads(), len(parts), 1 + numbers // _WORTH_A_THREAD)
        # Parts side by side, each in one thread: they wait for one another once, not in each of
        # many products, where a thread that another program holds up holds up all.
        with blas_alone(), self.device.multiplying():
            if workers < 2:
                for part_B in parts:
                    self._meet_part(part_B, floor)
            else:
                with ThreadPoolExecutor(workers) as pool:
                    list(pool.map(self._meet_part, parts, repeat(floor)))

    def _meet_part(self, part_B: IntArray, floor: float) -> None:
        held_BD = self.device.take(part_B)
        self._count(bytes_read=4 * len(part_B) * self.width)
        for begin in range(int(self.seen_N[part_B[0]]), self.centres, CENTRES_AT_ONCE):
            end = min(begin + CENTRES_AT_ONCE, self.centres)
            late = int(np.searchsorted(self.seen_N[part_B], end))  # the others have met these
            self._meet(part_B[:late], self.device.some(held_BD, slice(late)), begin, end)
            self.seen_N[part_B[:late]] = end
            open_B = self.upper_N[part_B] >= floor
            if not open_B.any():
                return
            if np.count_nonzero(open_B) < _WORTH_A_COPY * len(open_B):
                part_B, held_BD = part_B[open_B], self.device.some(held_BD, open_B)

    def settle(self, rows_P: IntArray) -> None:
        """Replace the bounds of these rows by exact distances."""
        rows_P = rows_P[~self.exact_N[rows_P] & (self.centre_N[rows_P] >= 0)]
        self.upper_N[rows_P] = self.squared(rows_P, self.centre_N[rows_P])
        self.exact_N[rows_P] = True

    def squared(self, rows_P: IntArray, centres_P: Array) -> Float64Array:
        """The squared distance of each of these rows to a centre each, from the differences."""
        squared_P = np.empty(len(rows_P))
        other_P = self.row_C[centres_P]
        for part in few_rows(len(rows_P), self.width):
            difference_BD = self.rows.wide(rows_P[part])
            difference_BD -= self._wide_centres(other_P[part])
            squared_P[part] = np.einsum("bd,bd->b", difference_BD, difference_BD)
        wide_row = self.width * self.rows.vectors_ND.itemsize
        self._count(differences=len(rows_P), bytes_read=2 * len(rows_P) * wide_row)
        return squared_P

    def _count(self, products: int = 0, differences: int = 0, bytes_read: int = 0) -> None:
        with self.lock:
            self.work.products += products
            self.work.differences += differences
            self.work.bytes_read += bytes_read

    def squared_to_last(self, rows_P: IntArray) -> Float64Array:
        """The squared distance of each of these rows to the last centre, a row itself."""
        if len(rows_P) * self.width > NUMBERS_AT_ONCE:
            return self.squared(rows_P, np.full(len(rows_P), self.centres - 1))
        at = self.centres - 1
        difference_PD = self.rows.wide(rows_P)
        difference_PD -= self.rows.wide(self.row_C[at : at + 1])
        wide_row = self.width * self.rows.vectors_ND.itemsize
        self._count(differences=len(rows_P), bytes_read=(len(rows_P) + 1) * wide_row)
        return np.asarray(np.einsum("pd,pd->p", difference_PD, difference_PD))

    def _low(self, single_BD: SingleArray) -> SingleArray:
        wide_BD = single_BD.astype(np.float64)
        squared_B = np.einsum("bd,bd->b", wide_BD, wide_BD)
        low_B = (1 - self.slack) * squared_B - (self.width + 8) * _TINY
        return np.asarray(low_B, dtype=np.float32)

    def _widths(self, low: Array, low_c: Array) -> Array:
        """How far above a lower bound the distance may be; low = |x|² less a slack of it."""
        return 2.02 * self.slack / (1 - self.slack) * (low + low_c) + 8 * (self.width + 8) * _TINY

    def _wide_centres(self, other_P: IntArray) -> Float64Array:
        if (other_P >= 0).all():
            return self.rows.wide(other_P)
        wide_PD = np.empty((len(other_P), self.width))
        wide_PD[other_P >= 0] = self.rows.wide(other_P[other_P >= 0])
        wide_PD[other_P < 0] = self.given.wide(-1 - other_P[other_P < 0])
        return wide_PD

    def _single_centres(self, begin: int, end: int) -> SingleArray:
        other_C = self.row_C[begin:end]
        of_rows, of_given = other_C[other_C >= 0], -1 - other_C[other_C < 0]
        # Given rows are the first centres.
        return np.concatenate([self.given.single(of_given), self.rows.single(of_rows)])

    def _meet(self, part_B: IntArray, held_BD: Any, begin: int, end: int) -> None:
        centres_CD, low_C = self._single_centres(begin, end), self.low_C[begin:end]
        centres_CD *= -2
        bound_BC, least_B = self.device.products(held_BD, centres_CD, low_C)
        pairs, numbers = len(part_B) * len(low_C), (len(part_B) + len(low_C)) * self.width
        self._count(products=pairs, bytes_read=4 * numbers)
        maybe = np.flatnonzero(least_B + self.low_N[part_B] <= self.upper_N[part_B])
        for start in range(0, len(maybe), _DECIDED_AT_ONCE):
            few = maybe[start : start + _DECIDED_AT_ONCE]
            bound_PC = self.device.fetch(bound_BC, few) + self.low_N[part_B[few], None]
            self._come_closer(part_B[few], bound_PC, begin, low_C)

    def _come_closer(
        self, rows_P: IntArray, bound_PC: SingleArray, begin: int, low_C: SingleArray
    ) -> None:
        """Lower the bounds of these rows where a centre is nearer than every one before it."""
        low_P, everyone = self.low_N[rows_P], np.arange(len(rows_P))
        nearest_P = bound_PC.argmin(axis=1)
        width_P = self._widths(low_P, low_C[nearest_P])
        high_P = bound_PC[everyone, nearest_P] + width_P
        old_width_P = self._widths(low_P, self.low_C[self.centre_N[rows_P]])
        old_low_P = self.upper_N[rows_P] - np.where(self.exact_N[rows_P], 0, old_width_P)
        alone_P = np.count_nonzero(bound_PC <= high_P[:, None], axis=1) == 1
        clear_P = alone_P & (high_P < old_low_P)
        rows_Q = rows_P[clear_P]
        self.upper_N[rows_Q], self.exact_N[rows_Q] = high_P[clear_P], False
        self.centre_N[rows_Q] = begin + nearest_P[clear_P]
        if len(rows_Q) < len(rows_P):
            self._decide(rows_P[~clear_P], bound_PC[~clear_P], high_P[~clear_P], begin)

    def _decide(
        self, rows_P: IntArray, bound_PC: SingleArray, high_P: SingleArray, begin: int
    ) -> None:
        """Which centre is nearest, where bounds do not say."""
        self.settle(rows_P)
        limit_P = np.minimum(self.upper_N[rows_P], high_P)
        row_R, centre_R = np.nonzero(bound_PC <= limit_P[:, None])
        squared_R = self.squared(rows_P[row_R], begin + centre_R)
        order_R = np.lexsort((squared_R, row_R))  # stable: of equals the earliest centre
        nearest_R = order_R[np.unique(row_R[order_R], return_index=True)[1]]
        closer_R = nearest_R[squared_R[nearest_R] < self.upper_N[rows_P[row_R[nearest_R]]]]
        rows_Q = rows_P[row_R[closer_R]]
        self.upper_N[rows_Q], self.exact_N[rows_Q] = squared_R[closer_R], True
        self.centre_N[rows_Q] = begin + centre_R[closer_R]


def few_rows(rows: int, width: int) -> Iterator[slice]:
    """Slices that cover the rows in order, small enough to be copied as float64."""
    size = max(1, NUMBERS_AT_ONCE // max(1, width))
    return (slice(start, start + size) for start in range(0, rows, size))


@functools.cache
def threads() -> int:
    """As many as a matrix product would use; no more than memory can feed."""
    return min(8, max((int(each["num_threads"]) for each in _blas().info()), default=1))


def blas_alone() -> AbstractContextManager[Any]:
    """Meanwhile a product takes one thread: several are computed side by side."""
    found: AbstractContextManager[Any] = _blas().limit(limits=1)
    return found


@functools.cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController().select(user_api="blas")


def _extent(vectors_ND: FloatArray, given_MD: FloatArray) -> tuple[BoolArray, int]:
    """Which rows are finite, and the power of two that brings large or tiny ones near 1."""
    finite_N, largest = np.ones(len(vectors_ND), dtype=bool), np.abs(given_MD).max(initial=0)
    for part in few_rows(*vectors_ND.shape):
        some_BD = vectors_ND[part]
        most = np.maximum(some_BD.max(initial=0), -some_BD.min(initial=0))
        if not np.isfinite(most):  # NaN is not either
            finite_N[part] = np.isfinite(some_BD).all(axis=1)
            most = np.abs(some_BD[finite_N[part]]).max(initial=0)
        largest = max(largest, most)
    exponent = int(np.frexp(largest)[1])
    return finite_N, 0 if -16 <= exponent <= 40 else exponent


def _mean(vectors_ND: FloatArray, finite_N: BoolArray, exponent: int) -> FloatArray:
    """Near the mean of the finite rows: any point would do."""
    some_M = np.flatnonzero(finite_N)
    some_M = some_M[:: len(some_M) // 64 + 1]
    wide_MD = Scaled(vectors_ND, exponent, vectors_ND[:0]).wide(some_M)
    mean_D = wide_MD.mean(axis=0) if len(some_M) else np.zeros(vectors_ND.shape[1])
    return mean_D.astype(np.result_type(vectors_ND.dtype, np.float32))
