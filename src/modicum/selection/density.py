"""Rows drawn the more likely, the fewer others lie around them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from modicum.errors import OptionError
from modicum.selection.budget import Step
from modicum.selection.memory import spare
from modicum.selection.rows import (
    Array,
    FloatArray,
    as_values,
    as_vectors,
    finite_rows,
    shown,
)

SAMPLE = 2000  # rows that stand for the pool, at most
_BLOCK, _SMALLEST = 1024, 16


def densities(
    vectors_ND: Array, bandwidth: float, seed: int, *, memory: int | None = None
) -> FloatArray:
    """(N,) float64: the mean of exp(−d² / 2h²) over the distances d from a row to the pool's rows.

    A Gaussian kernel density but for its constant, h the `bandwidth`. Of more than `SAMPLE` rows
    as many stand for all, drawn by the seed, and the row itself always counts with its share of
    the pool: so no density is 0. NaN of a row that is not finite.
    """
    vectors_ND = as_vectors(vectors_ND, "vectors_ND")
    if not 0 < bandwidth < np.inf:
        raise OptionError(f"bandwidth={bandwidth}; a distance above 0 is needed")
    rows_F = np.flatnonzero(finite_rows(vectors_ND))
    block = _block(len(vectors_ND), vectors_ND.shape[1], memory)
    sample_M = rows_F
    if len(rows_F) > SAMPLE:
        sample_M = np.sort(np.random.default_rng(seed).choice(rows_F, SAMPLE, replace=False))
    sample_MD = vectors_ND[sample_M].astype(np.float64)
    square_M = np.einsum("md,md->m", sample_MD, sample_MD)
    found_N = np.full(len(vectors_ND), np.nan)
    for first in range(0, len(rows_F), block):
        rows_B = rows_F[first : first + block]
        block_BD = vectors_ND[rows_B].astype(np.float64)
        squared_BM = -2 * (block_BD @ sample_MD.T) + square_M
        squared_BM += np.einsum("bd,bd->b", block_BD, block_BD)[:, None]
        squared_BM[rows_B[:, None] == sample_M] = np.inf  # counted apart, below
        kernel_BM = np.exp(np.minimum(0.0, squared_BM / (-2 * bandwidth**2)))
        others = len(sample_M) - np.isin(rows_B, sample_M)
        share = 1 / len(rows_F)
        mean_B = kernel_BM.sum(axis=1) / np.maximum(others, 1)
        found_N[rows_B] = share + (1 - share) * mean_B
    return found_N


def needs(rows: int, width: int, *, memory: int | None = None) -> int:
    """Bytes that `densities` takes at most beside so many vectors."""
    return _fixed(rows, width) + _working(_block(rows, width, memory), width, rows)


def inverse_propensity(density_N: Array, seed: int) -> Iterator[Step]:
    """Rows drawn one after another, each as likely as 1 ÷ its density says among those left.

    Density sampling of Sachdeva et al. 2024 (arXiv 2402.09668): it covers where the rows are
    evenly. Drawn by exponential races (Efraimidis & Spirakis 2006), so the order is nested. The
    gain is the density; rows whose density is not finite, or 0, are not offered.
    """
    density_N = as_values(density_N, "density_N")
    races_N = np.random.default_rng(seed).exponential(size=len(density_N))
    offered = np.flatnonzero(np.isfinite(density_N) & (density_N > 0))
    order_K = offered[np.argsort(races_N[offered] * density_N[offered], kind="stable")]
    for pick in order_K.tolist():
        density = float(density_N[pick])
        yield Step(pick, f"drawn where the density is {shown(density)}", density)


def _fixed(rows: int, width: int) -> int:
    return 32 * rows + 8 * (width + 2) * min(rows, SAMPLE) + 4 * width * min(rows, SAMPLE)


def _working(block: int, width: int, rows: int) -> int:
    return block * (12 * width + 34 * min(rows, SAMPLE) + 64)


def _block(rows: int, width: int, memory: int | None) -> int:
    smallest = min(_SMALLEST, max(1, rows))
    least = _working(smallest, width, rows)
    free = spare("density", _fixed(rows, width), least, memory, "use a view with fewer numbers")
    block = min(_BLOCK, max(1, rows))
    while block > smallest and _working(block, width, rows) > free:
        block //= 2
    return block
