"""A total shared over groups in proportion to weights, in whole numbers that add up."""

from __future__ import annotations

import numpy as np

from modicum.errors import AlignmentError, BudgetError
from modicum.selection.rows import Array, FloatArray, IntArray


def apportion(total: int, weights: Array, available: Array, floor: int = 0) -> IntArray:
    """Shares of `total` in proportion to `weights`, none above what is `available`.

    They add up to `total`, or to all that is available where that is less. What a full group
    cannot take goes to the others in proportion to their weights; a group of weight zero gets
    something only when all others are full, and such groups share by what they have. Every group
    gets at least `floor` as far as it has so many; if the floors alone exceed the total, they are
    what is shared, equally. Whole numbers by largest remainder (Hamilton); equal remainders go to
    the larger weight, then to the lower position.
    """
    weights, available = _checked(total, weights, available, floor)
    total = min(total, int(available.sum()))
    least = np.minimum(floor, available)
    if least.sum() >= total:
        return _rounded(_filled(float(total), np.ones(len(weights)), least), total, weights, least)
    shares = _filled(float(total), weights, available, least)
    return _rounded(shares, total, weights, available)


def _filled(
    total: float, weights: FloatArray, most: IntArray, least: IntArray | None = None
) -> FloatArray:
    """Real shares between `least` and `most` that are proportional to the weights elsewhere.

    Groups beyond a limit are set to it and the rest shared again, until none is beyond.
    """
    low = np.zeros(len(weights)) if least is None else least.astype(np.float64)
    shares, open_ = low.copy(), most > low
    while open_.any() and (left := total - shares[~open_].sum()) > 0:
        heft = weights * open_
        if not heft.any():
            heft = (most - low) * open_  # only zero weights are left: by what they have
        offered = left * (heft / heft.sum())
        over, under = open_ & (offered >= most), open_ & (offered < low)
        # Which side to fix first decides the result: the one whose excess is larger (as the
        # exact solution of the waterfilling problem has it).
        excess = (offered - most)[over].sum() - (low - offered)[under].sum()
        fixed = over if excess >= 0 and over.any() else under
        if not fixed.any():
            shares[open_] = offered[open_]
            break
        shares[fixed] = np.where(over, most, low)[fixed]
        open_ &= ~fixed
    return shares


def _rounded(shares: FloatArray, total: int, weights: FloatArray, most: IntArray) -> IntArray:
    """Whole shares by largest remainder, none above `most`."""
    whole: IntArray = np.minimum(np.floor(shares + 1e-9).astype(np.int64), most)
    while (left := total - int(whole.sum())) > 0:
        order = np.lexsort((-weights, -(shares - whole).round(9)))
        roomy = order[(whole < most)[order]][:left]
        whole[roomy] += 1
    return whole


def _checked(
    total: int, weights: Array, available: Array, floor: int
) -> tuple[FloatArray, IntArray]:
    heft, most = np.asarray(weights, np.float64), np.asarray(available)
    if heft.ndim != 1 or heft.shape != most.shape:
        raise AlignmentError(f"weights of shape {heft.shape}, {most.shape} available")
    if not np.isfinite(heft).all() or (heft < 0).any():
        raise BudgetError(f"weights are {heft.tolist()}; give finite numbers, none below 0")
    if not np.issubdtype(most.dtype, np.integer) or (most < 0).any():
        raise BudgetError(f"available are {most.tolist()}; give whole numbers, none below 0")
    if total < 0 or floor < 0:
        raise BudgetError(f"a total of {total} with a floor of {floor}; neither is below 0")
    scale = heft.max(initial=0.0)
    return heft / scale if scale else heft, most.astype(np.int64)
