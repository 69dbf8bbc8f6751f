"""What views do to finished vectors, block by block: whitening, unit length, and where they lie."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from modicum.errors import InputError
from modicum.spool import Spool, give_back

BLOCK = 4096  # rows
_SMALLEST = 1e-6  # share of the largest variance below which a direction is noise, and dropped


def blocks_of(vectors_ND: np.ndarray) -> Iterator[np.ndarray]:
    """The rows in order, some at once; one empty block of no rows."""
    for begin in range(0, max(1, len(vectors_ND)), BLOCK):
        yield vectors_ND[begin : begin + BLOCK]
        give_back()


def finished(
    blocks: Iterable[np.ndarray],
    *,
    whiten: Callable[[np.ndarray], np.ndarray] | None = None,
    normalise: bool = False,
) -> np.ndarray:
    """Vectors as a view gives them, of at least one block: (N, D) float32.

    Unit rows are rounded to float16, which is less than a model in bfloat16 is off by. Where
    there are many, the rows are read-only and mapped from a file, and unit rows are float16 there.
    """
    spool: Spool | None = None
    for rows_BD in blocks:
        made_BD = rows_BD if whiten is None else whiten(rows_BD)
        if normalise:
            made_BD = unit_rows(made_BD)
        if spool is None:
            spool = Spool(np.float16 if normalise else np.float32, made_BD.shape[1])
        spool.add(made_BD)
    if spool is None:
        raise ValueError("no block of rows, not even an empty one")
    return spool.whole() if spool.on_disk else spool.whole().astype(np.float32, copy=False)


def unit_rows(vectors_ND: np.ndarray) -> np.ndarray:
    """Each row divided by its Euclidean length. A row of zeros stays; NaN stays NaN."""
    length_N1 = np.linalg.norm(vectors_ND, axis=1, keepdims=True)
    return (vectors_ND / np.where(length_N1 == 0, 1, length_N1)).astype(np.float32)


def largest_cosine(vectors_ND: np.ndarray, others_MD: np.ndarray) -> np.ndarray:
    """(N,) float64: each row's cosine to the one of the others that is most like it; 0 for none."""
    if not len(others_MD):
        return np.zeros(len(vectors_ND))
    others_MD = unit_rows(others_MD)
    blocks = (unit_rows(rows_BD) @ others_MD.T for rows_BD in blocks_of(vectors_ND))
    return np.concatenate([cosine_BM.max(axis=1) for cosine_BM in blocks]).astype(np.float64)


def whitener(learned_ND: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """PCA whitening: a map that gives `learned_ND` mean 0 and unit variance in every direction.

    Rows with NaN teach nothing. Directions with almost no variance are dropped, so D may shrink.
    Raises `InputError` if no two rows differ.
    """
    mean_D, covariance_DD = _moments(learned_ND)
    variance_E, axes_DE = np.linalg.eigh(covariance_DD)
    kept_E = variance_E > _SMALLEST * variance_E[-1]
    map_DE = axes_DE[:, kept_E] / np.sqrt(variance_E[kept_E])
    return lambda vectors_ND: ((vectors_ND - mean_D) @ map_DE).astype(np.float32)


def _moments(learned_ND: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of the finite rows, in float64."""
    rows, width = 0, learned_ND.shape[1]
    first_D, differ = np.zeros(width), False
    sum_D, products_DD = np.zeros(width), np.zeros((width, width))
    for block_BD in blocks_of(learned_ND):
        rows_MD = block_BD[np.isfinite(block_BD).all(axis=1)].astype(np.float64)
        if not rows and len(rows_MD):
            first_D = rows_MD[0].copy()
        differ |= bool((rows_MD != first_D).any())  # their variance may not be 0, but rounding
        rows_MD -= first_D  # products of numbers far from 0 would cancel
        rows, sum_D = rows + len(rows_MD), sum_D + rows_MD.sum(axis=0)
        products_DD += rows_MD.T @ rows_MD
    if rows < 2:
        raise InputError(f"whitening needs at least 2 measured rows, the pool has {rows}")
    if not differ:
        raise InputError(f"whitening needs rows that differ; all {rows} are equal")
    mean_D = sum_D / rows
    return first_D + mean_D, products_DD / rows - np.outer(mean_D, mean_D)
