"""Lloyd's passes over rows that may be too many for memory: block by block, sums in their order.

A pass is a map over blocks of rows and a sum of what they give. The blocks and the order of the
sums do not depend on who computes them, so the clusters do not either.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from modicum.selection.distances import threads
from modicum.selection.over import Over, Threads
from modicum.selection.rows import FloatArray, IntArray

PASSES = 20
_MOVED = 1e-3  # of the rows: fewer than these change their cluster in the last pass
_NUMBERS, _MOST, _LEAST = 1 << 22, 8192, 64  # of a block: numbers held, rows


class Share(NamedTuple):
    """What one block gives to a pass."""

    labels_B: npt.NDArray[np.int32]  # -1 for a row that is not finite
    sums_CD: npt.NDArray[np.float64]
    rows_C: IntArray


def lloyd(
    vectors_ND: FloatArray, centers_CD: FloatArray, over: Over | None = None
) -> tuple[npt.NDArray[np.int32], FloatArray]:
    """Labels and centres after passes from these centres, until few rows change their cluster.

    Each row goes to the nearest centre, the lower of equals; a centre without rows stays.
    """
    over = Threads() if over is None else over
    labels_N = np.full(len(vectors_ND), -1, dtype=np.int32)
    places = list(_places(len(vectors_ND), *centers_CD.shape))
    blocks = over.kept(vectors_ND[rows] for rows in places)
    for _ in range(PASSES):
        sums_CD, rows_C = np.zeros(centers_CD.shape), np.zeros(len(centers_CD), dtype=np.int64)
        moved, share = 0, partial(shared, centers_CD=centers_CD)
        for rows, found in zip(places, over.mapped(share, blocks), strict=True):
            moved += int(np.count_nonzero(labels_N[rows] != found.labels_B))
            labels_N[rows] = found.labels_B
            sums_CD += found.sums_CD
            rows_C += found.rows_C
        mean_CD = (sums_CD / np.maximum(rows_C, 1)[:, None]).astype(centers_CD.dtype)
        centers_CD = np.where(rows_C[:, None] > 0, mean_CD, centers_CD)
        if moved < _MOVED * rows_C.sum():
            break
    return labels_N, centers_CD


def shared(vectors_BD: FloatArray, centers_CD: FloatArray) -> Share:
    """The nearest centre of each of these rows, and the sums of the rows of each centre."""
    from scipy.sparse import csr_matrix

    finite_B = np.isfinite(vectors_BD).all(axis=1)
    rows_MD = vectors_BD[finite_B].astype(np.float32)
    bound_MC = rows_MD @ (-2 * centers_CD.T.astype(np.float32))
    bound_MC += np.einsum("cd,cd->c", centers_CD, centers_CD).astype(np.float32)
    nearest_M = bound_MC.argmin(axis=1)
    labels_B = np.full(len(vectors_BD), -1, dtype=np.int32)
    labels_B[finite_B] = nearest_M
    ones_M, places = np.ones(len(nearest_M)), (nearest_M, np.arange(len(nearest_M)))
    member_CM = csr_matrix((ones_M, places), shape=(len(centers_CD), len(nearest_M)))
    sums_CD = member_CM @ rows_MD.astype(np.float64)
    return Share(labels_B, sums_CD, np.bincount(nearest_M, minlength=len(centers_CD)))


def needs(rows: int, width: int, clusters: int) -> int:
    """Bytes that passes take beside the vectors: some blocks at once, labels, sums."""
    block = _rows(rows, width, clusters)
    each = block * (20 * width + 8 * clusters + 40) + 16 * clusters * width
    return 2 * threads() * each + 8 * rows + 24 * clusters * width


def _rows(rows: int, width: int, clusters: int) -> int:
    return min(max(1, rows), max(_LEAST, min(_MOST, _NUMBERS // max(1, width, clusters))))


def _places(rows: int, clusters: int, width: int) -> Iterator[slice]:
    size = _rows(rows, width, clusters)
    return (slice(start, start + size) for start in range(0, rows, size))
