"""What selectors take, checked: blocks of vectors, columns of values; and exact arithmetic on them.

Everything here goes through the rows in blocks, so that nothing as large as the pool is copied.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from modicum.errors import AlignmentError, InputError

Array = npt.NDArray[Any]  # as a caller hands it in, not yet checked
FloatArray = npt.NDArray[np.floating[Any]]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

_BLOCK_NUMBERS = 1 << 18  # 2 MiB of float64: stays in the cache
_PAIRS = 256  # of rows, whose copies stay in the cache
_EPSILON = float(np.finfo(np.float32).eps)
LATTICE = 1 << 26  # lattice units in a length of 1


def as_vectors(vectors: Array, name: str) -> FloatArray:
    """The same numbers as a float array of two dimensions; not copied if they are one already."""
    found = _as_floats(vectors, name)
    if found.ndim != 2:
        raise AlignmentError(f"{name} has shape {found.shape}; one vector per row is needed")
    return found


def as_values(values: Array, name: str) -> FloatArray:
    """The same numbers as a float array of one dimension; not copied if they are one already."""
    found = _as_floats(values, name)
    if found.ndim != 1:
        raise AlignmentError(f"{name} has shape {found.shape}; one number per row is needed")
    return found


def as_wide_as(vectors_ND: FloatArray, others: Array | None, name: str) -> FloatArray:
    """Rows to measure against: as wide as the vectors and all finite; no rows for None."""
    if others is None:
        return vectors_ND[:0]
    others_MD = as_vectors(others, name)
    if others_MD.shape[1] != vectors_ND.shape[1]:
        raise AlignmentError(
            f"{name} has shape {others_MD.shape} and the vectors {vectors_ND.shape}; "
            "both must come from the same view"
        )
    bad = np.flatnonzero(~finite_rows(others_MD))
    if len(bad):
        raise InputError(f"row {bad[0]} of {name} holds a value that is not finite; leave it out")
    return others_MD


def blocks(vectors_ND: FloatArray) -> Iterator[slice]:
    """Slices that cover the rows in order."""
    size = max(1, _BLOCK_NUMBERS // max(1, vectors_ND.shape[1]))
    for start in range(0, len(vectors_ND), size):
        yield slice(start, start + size)


def finite_rows(vectors_ND: FloatArray) -> BoolArray:
    """Which rows hold finite values only."""
    finite_N = np.empty(len(vectors_ND), dtype=bool)
    for rows in blocks(vectors_ND):
        finite_N[rows] = np.isfinite(vectors_ND[rows]).all(axis=1)
    return finite_N


def squared_distances(vectors_ND: FloatArray, point_D: FloatArray) -> npt.NDArray[np.float64]:
    """Squared Euclidean distance of each row to a point, from the differences, in float64.

    Equal rows get equal distances wherever they stand, a row is exactly 0 from itself, and
    integers are exact.
    """
    distance_N = np.empty(len(vectors_ND))
    point_D = point_D.astype(np.float64)
    for rows in blocks(vectors_ND):
        difference = vectors_ND[rows] - point_D
        distance_N[rows] = np.einsum("nd,nd->n", difference, difference)
    return distance_N


def unit_rows(vectors_ND: FloatArray) -> npt.NDArray[np.float64]:
    """Each row at length 1, in float64; a zero row stays zero."""
    unit_ND = vectors_ND.astype(np.float64)
    if unit_ND.size == 0:
        return unit_ND
    largest_N = np.maximum(unit_ND.max(axis=1), -unit_ND.min(axis=1))
    # Squares of 1e-200 or 1e200 leave float64; a power of two changes no digit.
    far_N = (largest_N > 0) & (np.abs(np.log2(np.where(largest_N > 0, largest_N, 1.0))) > 400)
    if far_N.any():
        unit_ND[far_N] = np.ldexp(unit_ND[far_N], -np.frexp(largest_N[far_N])[1][:, None])
    length_N = np.sqrt(np.einsum("nd,nd->n", unit_ND, unit_ND))
    unit_ND /= np.where(length_N > 0, length_N, 1.0)[:, None]
    return unit_ND


def lattice_rows(vectors_ND: FloatArray) -> npt.NDArray[np.float64]:
    """Each row at length `LATTICE`, its numbers rounded to whole ones; a zero row stays zero.

    Sums of products of two such rows stay below 2⁵³, so float64 holds each of them exactly, in
    whatever order a BLAS adds them: their dot product, `LATTICE`² times the cosine, is the same
    in blocks of any size, by any BLAS, in any number of threads. Rounding puts the cosine off by
    about 1e-8, no more than float32 vectors are off themselves.
    """
    unit_ND = unit_rows(vectors_ND)
    unit_ND *= LATTICE
    return np.rint(unit_ND, out=unit_ND)


def products(
    one_AD: FloatArray, other_BD: FloatArray, a_P: IntArray, b_P: IntArray
) -> npt.NDArray[np.float64]:
    """The dot product of each pair of rows."""
    product_P = np.empty(len(a_P))
    for start in range(0, len(a_P), _PAIRS):
        part = slice(start, start + _PAIRS)
        product_P[part] = np.einsum("pd,pd->p", one_AD[a_P[part]], other_BD[b_P[part]])
    return product_P


def rounding(width: int) -> float:
    """What a product of two lattice rows in float32 may be off by: half an epsilon for each number
    of the sum and a few for the rows, and as much again.
    """
    return (width + 8) * _EPSILON * LATTICE**2


def best_first(values_N: FloatArray, offered_N: BoolArray) -> IntArray:
    """Positions of the offered rows, highest value first; equal values keep pool order."""
    positions = np.flatnonzero(offered_N)
    return positions[np.argsort(-values_N[positions], kind="stable")]


def shown(value: float) -> str:
    """A value as reasons write it: a whole number in full, another to four digits."""
    return f"{value:.15g}" if value.is_integer() else f"{value:.4g}"


def _as_floats(numbers: Array, name: str) -> FloatArray:
    found = np.asarray(numbers)
    if np.issubdtype(found.dtype, np.floating):
        return found
    if np.issubdtype(found.dtype, np.integer):
        return found.astype(np.float64)
    raise InputError(f"{name} holds {found.dtype}; numbers are needed")
