"""Rows → batches of about equal cost."""

from __future__ import annotations

import numpy as np

from modicum.errors import OptionError


def plan_batches(lengths_N: np.ndarray, budget: int) -> list[np.ndarray]:
    """Positions in batches whose padded size, rows × longest row, stays within `budget` tokens.

    Rows of like length share a batch, the longest come first (what would run out of memory does
    so at once), and equal lengths keep their order. A row longer than the budget goes alone.
    The plan depends on the lengths only, so a measurement that goes on later makes the same one.
    """
    if budget < 1:
        raise OptionError(f"a batch of {budget} tokens holds nothing; give at least 1")
    order_N = np.argsort(-lengths_N, kind="stable")
    batches: list[np.ndarray] = []
    start = 0
    while start < len(order_N):
        longest = max(1, int(lengths_N[order_N[start]]))
        size = max(1, budget // longest)
        batches.append(order_N[start : start + size])
        start += size
    return batches
