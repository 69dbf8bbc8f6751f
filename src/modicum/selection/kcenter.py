"""k-center: spread the picks out, each as far as can be from all taken before it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from modicum.errors import AlignmentError, OptionError
from modicum.selection.budget import Step
from modicum.selection.rows import (
    Array,
    BoolArray,
    FloatArray,
    IntArray,
    as_vectors,
    as_wide_as,
    finite_rows,
    squared_distances,
)

_FRONT = 2048  # rows kept up to date at every pick, at least
_FRONT_SHARE = 32  # and at least the pool divided by this
_MEETING_ROWS = 16_384  # rows behind the front that meet centres at once: 4 MiB of bounds


def kcenter(
    vectors_ND: Array,
    *,
    start_MD: Array | None = None,
    first: int | None = None,
    seed: int = 0,
    positions_N: Array | None = None,
    start_positions_M: Array | None = None,
) -> Iterator[Step]:
    """Farthest first: each pick is the row whose nearest earlier pick is farthest away.

    Gonzalez 1985, whose radius is at most twice the best; as core sets, Sener & Savarese 2018.
    The gain is that (Euclidean, exact) distance, never larger than the one before. At most
    O(N·D) time a pick; O(N) memory beside one float32 copy at most, never a matrix of all
    distances. Rows of `start_MD` count as taken before the first pick and need not be in the
    pool; without them the first pick is `first`, or drawn with `seed`, and its gain is NaN.
    Where the vectors are only part of a pool, `positions_N` holds the row of the pool that each
    stands for: picks, `first` and reasons are given in those; and `start_positions_M` likewise
    for given rows that are of the pool.
    """
    vectors_ND = as_vectors(vectors_ND, "vectors_ND")
    start_MD = as_wide_as(vectors_ND, start_MD, "start_MD")
    positions_N = _positions(positions_N, len(vectors_ND))
    offered_N = finite_rows(vectors_ND)
    if not len(start_MD):
        begin = _first(first, seed, offered_N, positions_N)
    elif first is None:
        begin = None
    else:
        raise OptionError(f"first={first} with {len(start_MD)} given rows; leave one of them out")
    names_M = None if start_positions_M is None else _positions(start_positions_M, len(start_MD))
    return _farthest_first(
        _measured(vectors_ND), start_MD, begin, offered_N, _Names(positions_N, names_M)
    )


class _Names(NamedTuple):
    """Which row of the pool each vector stands for, and each given row if it is of the pool."""

    rows_N: IntArray
    given_M: IntArray | None

    def why(self, gain: float, centre: int) -> str:
        if centre >= 0:
            return f"{gain:.4g} from row {self.rows_N[centre]}, the nearest earlier pick"
        if self.given_M is not None:
            return f"{gain:.4g} from row {self.given_M[-1 - centre]}, the nearest earlier pick"
        return f"{gain:.4g} from given row {-1 - centre}"


class _Measured(NamedTuple):
    """The vectors, and what makes a cheap lower bound of their distances to any centre."""

    vectors_ND: FloatArray
    single_ND: npt.NDArray[np.float32]
    shrunk_N: npt.NDArray[np.float32]  # squared norms, less the rounding error they may lead to
    keep: float  # what is left of a squared norm after that


class _Front(NamedTuple):
    """The rows that may be next: those with the largest distances, side by side in memory."""

    rows_A: IntArray  # ascending
    single_AD: npt.NDArray[np.float32]
    shrunk_A: npt.NDArray[np.float32]
    behind_B: IntArray  # the other rows
    bound: float  # the largest squared distance of those


class _Nearest(NamedTuple):
    """For each row its squared distance to the nearest centre so far, and which that is."""

    squared_N: npt.NDArray[np.float64]  # -inf: not to be offered
    centre_N: IntArray  # a row of the vectors; -1-m: given row m


def _measured(vectors_ND: FloatArray) -> _Measured:
    # |x|² + |c|² - 2x·c in float32 is off by at most (D + a few) roundings of |x|² + |c|²;
    # epsilon is two roundings, so the bound holds twice over.
    keep = 1 - (vectors_ND.shape[1] + 8) * float(np.finfo(np.float32).eps)
    with np.errstate(over="ignore", invalid="ignore"):
        squared_N = squared_distances(vectors_ND, np.zeros(vectors_ND.shape[1]))
        shrunk_N = (keep * squared_N).astype(np.float32)
        return _Measured(vectors_ND, vectors_ND.astype(np.float32, copy=False), shrunk_N, keep)


def _farthest_first(
    rows: _Measured,
    start_MD: FloatArray,
    begin: int | None,
    offered_N: BoolArray,
    names: _Names,
) -> Iterator[Step]:
    nearest = _Nearest(
        np.where(offered_N, np.inf, -np.inf), np.zeros(len(offered_N), dtype=np.int64)
    )
    everywhere = np.arange(len(offered_N))
    _meet_behind(rows, nearest, everywhere, start_MD, -1 - np.arange(len(start_MD)))
    if begin is not None:
        nearest.squared_N[begin] = -np.inf
        _meet_behind(rows, nearest, everywhere, rows.vectors_ND[[begin]], np.array([begin]))
        yield Step(int(names.rows_N[begin]), "the first, where the spread begins")
    front, waiting = _front(rows, nearest), list[int]()
    for _ in range(np.count_nonzero(offered_N) - (begin is not None)):
        pick = int(front.rows_A[np.argmax(nearest.squared_N[front.rows_A])])
        # Distances only shrink, so rows behind the front need not meet a pick before they could
        # be next; then they meet all that wait at once, in one matrix product.
        if waiting and not nearest.squared_N[pick] > front.bound:
            _meet_behind(rows, nearest, front.behind_B, rows.vectors_ND[waiting], np.array(waiting))
            front, waiting = _front(rows, nearest), []
        if not waiting:
            pick = int(np.argmax(nearest.squared_N))
        gain, centre = float(np.sqrt(nearest.squared_N[pick])), int(nearest.centre_N[pick])
        yield Step(int(names.rows_N[pick]), names.why(gain, centre), gain)
        nearest.squared_N[pick] = -np.inf
        centre_1D = rows.vectors_ND[[pick]]
        bound_A1 = _lower_bounds(front.single_AD, front.shrunk_A, centre_1D, rows.keep)
        _come_closer(rows, nearest, front.rows_A, bound_A1[:, 0], centre_1D[0], pick)
        waiting.append(pick)


def _front(rows: _Measured, nearest: _Nearest) -> _Front:
    n = len(nearest.squared_N)
    size = min(n, max(_FRONT, n // _FRONT_SHARE))
    order_N = np.argpartition(nearest.squared_N, n - size) if size < n else np.arange(n)
    rows_A, behind_B = np.sort(order_N[n - size :]), np.sort(order_N[: n - size])
    bound = float(nearest.squared_N[behind_B].max(initial=-np.inf))
    single_AD = rows.single_ND if size == n else rows.single_ND[rows_A]
    return _Front(rows_A, single_AD, rows.shrunk_N[rows_A], behind_B, bound)


def _meet_behind(
    rows: _Measured,
    nearest: _Nearest,
    behind_B: IntArray,
    centres_PD: FloatArray,
    names_P: IntArray,
) -> None:
    """Lower the distances of many rows where one of many centres is nearer."""
    behind_B = behind_B[nearest.squared_N[behind_B] >= 0]
    for part in np.array_split(behind_B, len(behind_B) // _MEETING_ROWS + 1):
        single_BD, shrunk_B = rows.single_ND[part], rows.shrunk_N[part]
        for chunk in np.array_split(np.arange(len(names_P)), len(names_P) // 64 + 1):
            bound_BP = _lower_bounds(single_BD, shrunk_B, centres_PD[chunk], rows.keep)
            for p, bound_B in zip(chunk, bound_BP.T, strict=True):
                _come_closer(rows, nearest, part, bound_B, centres_PD[p], int(names_P[p]))


def _lower_bounds(
    single_BD: npt.NDArray[np.float32],
    shrunk_B: npt.NDArray[np.float32],
    centres_PD: FloatArray,
    keep: float,
) -> npt.NDArray[np.float32]:
    """No squared distance of a row to a centre is below these, unless float32 overflowed."""
    with np.errstate(over="ignore", invalid="ignore"):
        norm_P = squared_distances(centres_PD, np.zeros(centres_PD.shape[1]))
        single_PD = centres_PD.astype(np.float32)
        if len(single_PD) == 1:
            # Too little work for several threads: a BLAS loses more by waking them than it wins.
            bound_PB = np.asarray(np.einsum("bd,d->b", single_BD, single_PD[0]), np.float32)[None]
        else:
            bound_PB = single_PD @ single_BD.T
        bound_PB *= -2
        bound_PB += shrunk_B
        bound_PB += (keep * norm_P).astype(np.float32)[:, None]
    return bound_PB.T


def _come_closer(
    rows: _Measured,
    nearest: _Nearest,
    part: IntArray,
    bound_B: npt.NDArray[np.float32],
    centre_D: FloatArray,
    name: int,
) -> None:
    """Lower the distances of `part` where this centre is nearer than every one before it.

    The bounds rule out the rows that cannot have come closer. The few others are measured from
    the differences: the product alone cancels (two equal rows end up apart, or NaN under a
    root), and a BLAS may round equal rows differently, which breaks ties.
    """
    squared_B = nearest.squared_N[part]
    # A bound that overflowed, to infinity or to NaN, rules nothing out.
    farther_B = (bound_B > squared_B) & (bound_B < np.inf)
    maybe = part[~farther_B & (squared_B >= 0)]
    for few in np.array_split(maybe, len(maybe) // 4096 + 1):
        squared = squared_distances(rows.vectors_ND[few], centre_D)
        closer = squared < nearest.squared_N[few]
        nearest.squared_N[few[closer]] = squared[closer]
        nearest.centre_N[few[closer]] = name


def _first(first: int | None, seed: int, offered_N: BoolArray, positions_N: IntArray) -> int | None:
    candidates = np.flatnonzero(offered_N)
    if first is not None:
        found = candidates[positions_N[candidates] == first]
        if not len(found):
            raise OptionError(f"first={first} is not a row with finite values that can be picked")
        return int(found[0])
    if not len(candidates):
        return None
    return int(candidates[np.random.default_rng(seed).integers(len(candidates))])


def _positions(positions_N: Array | None, n: int) -> IntArray:
    if positions_N is None:
        return np.arange(n)
    found = np.asarray(positions_N, dtype=np.int64)
    if found.shape != (n,):
        raise AlignmentError(f"positions of shape {found.shape} for {n} vectors")
    return found
