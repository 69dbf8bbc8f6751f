"""How spread out a set of rows is, as one number: what a selection is compared by, not made by."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from modicum.errors import InputError
from modicum.selection.rows import (
    Array,
    FloatArray,
    IntArray,
    as_vectors,
    blocks,
    finite_rows,
    unit_rows,
)

Float64Array = npt.NDArray[np.float64]

_PAIRS = 1 << 22  # pairs of rows held at once: 32 MiB of float64
_NUMBERS = 1 << 18  # numbers of candidate pairs measured at once


def vendi(vectors_MD: Array) -> float:
    """Vendi score: how many rows that have nothing in common would be as diverse as these.

    exp of the Shannon entropy of the eigenvalues of K/M, K the cosines between all rows
    (Friedman & Dieng 2022, arXiv 2210.02410). From 1, where all point the same way, to M, where
    all are orthogonal; lengths do not count. One more copy of a common row lowers it, of a rare
    one may raise it. Rows of zeros have cosine 1 to each other and 0 to the rest, as if one more
    dimension were theirs. O(M·D·min(M, D)) time; memory for a square of side M or D, whichever
    is smaller. Raises `InputError` for no rows, or for a value that is not finite.
    """
    vectors_MD = _all_finite(vectors_MD)
    if not len(vectors_MD):
        raise InputError("vectors_MD has no rows; the Vendi score of nothing is not defined")
    shares_R = np.maximum(_eigenvalues(vectors_MD), 0.0)  # rounding may leave -1e-17 for 0
    shares_R = shares_R[shares_R > 0] / shares_R.sum()
    return float(np.exp(-(shares_R * np.log(shares_R)).sum()))


def nearest_distance(vectors_MD: Array) -> float:
    """Mean over the rows of the Euclidean distance to the nearest other row.

    Exact: from the differences, so that a row with a duplicate adds 0. NaN for fewer than two
    rows. O(M²·D) time, more where many rows are nearly equal; memory for two float64 copies of
    the rows, never for all pairs. Raises `InputError` for a value that is not finite.
    """
    vectors_MD = _all_finite(vectors_MD)
    m = len(vectors_MD)
    if m < 2:
        return float("nan")
    # A power of two changes no digit, and keeps squares inside float64.
    exponent = int(np.frexp(np.abs(vectors_MD).max(initial=0.0))[1])
    scaled_MD = np.ldexp(vectors_MD.astype(np.float64), -exponent)
    # Centred, the products cancel less; differences are taken from the rows before it.
    centred_MD = scaled_MD - scaled_MD.mean(axis=0)
    norm_M = np.einsum("md,md->m", centred_MD, centred_MD)
    squared_M = np.empty(m)
    for rows_B in np.array_split(np.arange(m), m * m // _PAIRS + 1):
        bound_BM = _lower_bounds(centred_MD, norm_M, rows_B)
        squared_M[rows_B] = _nearest_squared(scaled_MD, rows_B, bound_BM)
    return float(np.ldexp(np.sqrt(squared_M).mean(), exponent))


def _all_finite(vectors: Array) -> FloatArray:
    vectors_MD = as_vectors(vectors, "vectors_MD")
    bad = np.flatnonzero(~finite_rows(vectors_MD))
    if len(bad):
        raise InputError(
            f"row {bad[0]} of vectors_MD holds a value that is not finite; leave it out"
        )
    return vectors_MD


def _eigenvalues(vectors_MD: FloatArray) -> Float64Array:
    """The eigenvalues of the M × M cosines that are not 0, and perhaps some that are."""
    m, d = vectors_MD.shape
    if m <= d:
        unit_ME = _directions(vectors_MD)
        square = unit_ME @ unit_ME.T
    else:
        square = np.zeros((d + 1, d + 1))
        for rows in blocks(vectors_MD):
            unit_BE = _directions(vectors_MD[rows])
            square += unit_BE.T @ unit_BE
    return np.asarray(np.linalg.eigvalsh(square), dtype=np.float64)


def _directions(vectors_BD: FloatArray) -> Float64Array:
    """Rows at length 1, with one more dimension E = D + 1 that only rows of zeros point along."""
    unit_BD = unit_rows(vectors_BD)
    return np.column_stack([unit_BD, ~unit_BD.any(axis=1)])


def _lower_bounds(
    centred_MD: Float64Array,
    norm_M: Float64Array,
    rows_B: IntArray,
) -> Float64Array:
    """No squared distance of these rows to any other is below these; to themselves, infinity."""
    # |a|² + |b|² - 2a·b is off by at most D and a few epsilons of |a|² + |b|²; as much again
    # for the rounding of the centred rows and of the distances that the bounds are held against.
    keep = 1 - 2 * (centred_MD.shape[1] + 8) * float(np.finfo(np.float64).eps)
    bound_BM = centred_MD[rows_B] @ centred_MD.T
    bound_BM *= -2
    bound_BM += keep * norm_M
    bound_BM += keep * norm_M[rows_B, None]
    bound_BM[np.arange(len(rows_B)), rows_B] = np.inf
    return bound_BM


def _nearest_squared(
    scaled_MD: Float64Array,
    rows_B: IntArray,
    bound_BM: Float64Array,
) -> Float64Array:
    """Squared distance of each of these rows to the nearest other, from the differences."""
    squared_B = _squared_between(scaled_MD[rows_B], scaled_MD[bound_BM.argmin(axis=1)])
    # Nothing is nearer than 0, so large groups of equal rows need no second look.
    beatable_B = np.where(squared_B > 0, squared_B, -np.inf)
    maybe_P, other_P = np.nonzero(bound_BM < beatable_B[:, None])
    for part in np.array_split(
        np.arange(len(maybe_P)), maybe_P.size * scaled_MD.shape[1] // _NUMBERS + 1
    ):
        pair_P = maybe_P[part]
        between_P = _squared_between(scaled_MD[rows_B[pair_P]], scaled_MD[other_P[part]])
        np.minimum.at(squared_B, pair_P, between_P)
    return squared_B


def _squared_between(ones_PD: Float64Array, others_PD: Float64Array) -> Float64Array:
    difference_PD = ones_PD - others_PD
    return np.asarray(np.einsum("pd,pd->p", difference_PD, difference_PD), dtype=np.float64)
