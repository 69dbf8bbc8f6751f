"""What views do to finished vectors: unit length and whitening."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from modicum.errors import InputError

_BLOCK = 8192  # rows
_SMALLEST = 1e-6  # share of the largest variance below which a direction is noise, and dropped


def unit_rows(vectors_ND: np.ndarray) -> np.ndarray:
    """Each row divided by its Euclidean length. A row of zeros stays; NaN stays NaN."""
    unit_ND = np.empty(vectors_ND.shape, np.float32)
    for begin in range(0, len(vectors_ND), _BLOCK):  # of a million rows, no second copy
        rows_BD = vectors_ND[begin : begin + _BLOCK]
        length_B1 = np.linalg.norm(rows_BD, axis=1, keepdims=True)
        unit_ND[begin : begin + _BLOCK] = rows_BD / np.where(length_B1 == 0, 1, length_B1)
    return unit_ND


def whitener(learned_ND: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """PCA whitening: a map that gives `learned_ND` mean 0 and unit variance in every direction.

    Rows with NaN teach nothing. Directions with almost no variance are dropped, so D may shrink.
    Raises `InputError` if no two rows differ.
    """
    rows_MD = learned_ND[np.isfinite(learned_ND).all(axis=1)].astype(np.float64)
    if len(rows_MD) < 2:
        raise InputError(f"whitening needs at least 2 measured rows, the pool has {len(rows_MD)}")
    if (rows_MD == rows_MD[0]).all():  # their variance may not be 0, but rounding
        raise InputError(f"whitening needs rows that differ; all {len(rows_MD)} are equal")
    mean_D = rows_MD.mean(axis=0)
    centred_MD = rows_MD - mean_D
    variance_E, axes_DE = np.linalg.eigh(centred_MD.T @ centred_MD / len(rows_MD))
    kept_E = variance_E > _SMALLEST * variance_E[-1]
    map_DE = axes_DE[:, kept_E] / np.sqrt(variance_E[kept_E])
    return lambda vectors_ND: ((vectors_ND - mean_D) @ map_DE).astype(np.float32)
