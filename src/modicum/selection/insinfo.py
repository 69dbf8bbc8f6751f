"""How much an instruction says that others do not, and how many rows each may send (InsCL)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from modicum.errors import AlignmentError, BudgetError, InputError
from modicum.selection.apportion import apportion
from modicum.selection.rows import Array, FloatArray, IntArray, as_values, best_first


def insinfo(tags: Sequence[Sequence[str]]) -> FloatArray:
    """Σ ln(N / f_t) over the tags of each of N instructions: (N,), 0 or more (arXiv 2403.11435).

    f_t is the number of instructions that have the tag; a tag counts once in an instruction.
    Rare tags, and many, make it large. An instruction without tags gets 0, as one does whose tags
    every instruction has: nothing is known of it that others do not have.
    """
    kinds = [set(found) for found in tags]
    uses = Counter(tag for found in kinds for tag in found)
    # fsum rounds once, so that the same tags in another order are a tie.
    sums = (math.fsum(math.log(len(kinds) / uses[tag]) for tag in found) for found in kinds)
    return np.fromiter(sums, dtype=np.float64, count=len(kinds))


def share_over(quota: int, info_K: Array, available_K: Array) -> IntArray:
    """How many rows each of K instructions gives to a quota: (K,), in proportion to InsInfo.

    As published: with fewer places than instructions, one row of each of the `quota` most
    informative (of equals, the lower position); otherwise at least one of each, and by largest
    remainder to the quota. What an instruction does not have goes to the others (the public code
    fails there); instructions without rows have no place. If all InsInfo is 0 they share equally.
    The counts add up to the quota, or to all there is. Deterministic: chance is only in which
    rows an instruction gives.
    """
    info_K, rows_K = as_values(info_K, "info_K"), np.asarray(available_K)
    if info_K.shape != rows_K.shape:
        raise AlignmentError(f"InsInfo of shape {info_K.shape}, {rows_K.shape} available")
    if quota < 0:
        raise BudgetError(f"a quota of {quota}; give 0 or more")
    bad = np.flatnonzero(~np.isfinite(info_K) | (info_K < 0))
    if len(bad):
        raise InputError(f"InsInfo of instruction {bad[0]} is {info_K[bad[0]]}; it is 0 or more")
    if quota >= np.count_nonzero(rows_K):
        return apportion(quota, info_K if info_K.any() else np.ones(len(info_K)), rows_K, floor=1)
    counts_K = np.zeros(len(info_K), dtype=np.int64)
    counts_K[best_first(info_K, rows_K > 0)[:quota]] = 1
    return counts_K
