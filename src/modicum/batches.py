"""Rows → batches of about equal cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from modicum.errors import OptionError

if TYPE_CHECKING:
    import torch


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


def padded(
    prompts: Sequence[np.ndarray], device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and mask (B, T), padded on the left: all prompts end at the same place."""
    import torch

    width = max(map(len, prompts))
    ids_BT = torch.zeros(len(prompts), width, dtype=torch.int64)
    mask_BT = torch.zeros_like(ids_BT)
    for b, prompt_T in enumerate(prompts):
        ids_BT[b, width - len(prompt_T) :] = torch.as_tensor(prompt_T.astype(np.int64))
        mask_BT[b, width - len(prompt_T) :] = 1
    return ids_BT.to(device), mask_BT.to(device)
