"""The rows most like any of a group of target rows, the groups served in turn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from modicum.errors import AlignmentError, InputError
from modicum.selection.budget import Step
from modicum.selection.memory import spare
from modicum.selection.rows import (
    LATTICE,
    Array,
    FloatArray,
    IntArray,
    as_vectors,
    as_wide_as,
    best_first,
    finite_rows,
    lattice_rows,
)

_BLOCK, _SMALLEST = 1024, 16  # rows that meet the target together
_STEPS = 2.0**23  # of a cosine: below that, rows tie
_GROUP_BYTES = 4 + 8 + 24  # a row: its likeness to a group, its place in the order, and sorting


def near_groups(
    vectors_ND: Array,
    target_MD: Array,
    groups_M: Sequence[str],
    *,
    memory: int | None = None,
) -> Iterator[Step]:
    """Each group of target rows in turn takes the unused row most like any of its rows.

    RDS+ over several tasks (arXiv 2503.01807). Groups take turns in the order of their names; the
    gain is the cosine, equal ones (to 1e-7) go to the lower row. Beside the vectors it takes what
    `needs` says, at most `memory` bytes.
    """
    vectors_ND = as_vectors(vectors_ND, "vectors_ND")
    target_MD = as_wide_as(vectors_ND, target_MD, "target_MD")
    if not len(target_MD):
        raise InputError("the target has no rows; nothing can be like nothing")
    if len(groups_M) != len(target_MD):
        raise AlignmentError(f"{len(groups_M)} groups for {len(target_MD)} target rows")
    names = sorted(set(groups_M))
    block, _ = _sizes(len(vectors_ND), vectors_ND.shape[1], len(target_MD), len(names), memory)
    group_M = np.array([names.index(name) for name in groups_M])
    like_GN = _likeness(vectors_ND, lattice_rows(target_MD), group_M, len(names), block)
    return _in_turn(like_GN, names)


def needs(rows: int, width: int, targets: int, *, groups: int, memory: int | None = None) -> int:
    """Bytes that `near_groups` takes at most beside so many vectors and target rows."""
    return _sizes(rows, width, targets, groups, memory)[1]


def _sizes(rows: int, width: int, targets: int, groups: int, memory: int | None) -> tuple[int, int]:
    """Rows that meet the target at once, and the bytes of everything."""
    fixed = _GROUP_BYTES * groups * rows + 10 * rows + 32 * targets * width
    smallest = min(_SMALLEST, max(1, rows))
    free = spare("near_groups", fixed, _working(smallest, width, targets), memory, "aim at less")
    block = min(_BLOCK, max(1, rows))
    while block > smallest and _working(block, width, targets) > free:
        block //= 2
    return block, fixed + _working(block, width, targets)


def _working(block: int, width: int, targets: int) -> int:
    return block * (24 * width + 24 * targets)


def _likeness(
    vectors_ND: FloatArray, target_MD: FloatArray, group_M: IntArray, groups: int, block: int
) -> npt.NDArray[np.float32]:
    """(G, N) the largest cosine of each row with a target row of each group; NaN if not finite."""
    order_M = np.argsort(group_M, kind="stable")
    starts_G = np.searchsorted(group_M[order_M], np.arange(groups))
    by_group_MD = target_MD[order_M]
    like_GN = np.full((groups, len(vectors_ND)), np.nan, dtype=np.float32)
    rows_F = np.flatnonzero(finite_rows(vectors_ND))
    for first in range(0, len(rows_F), block):
        rows_B = rows_F[first : first + block]
        product_MB = by_group_MD @ lattice_rows(vectors_ND[rows_B]).T
        most_GB = np.maximum.reduceat(product_MB, starts_G, axis=0)
        like_GN[:, rows_B] = np.rint(most_GB / LATTICE**2 * _STEPS) / _STEPS
    return like_GN


def _in_turn(like_GN: npt.NDArray[np.float32], names: Sequence[str]) -> Iterator[Step]:
    used_N = np.isnan(like_GN[0])
    orders = [best_first(like_N, ~used_N) for like_N in like_GN]
    place_G = [0] * len(orders)
    for turn in range(int(np.count_nonzero(~used_N))):
        g = turn % len(orders)
        while used_N[orders[g][place_G[g]]]:
            place_G[g] += 1
        pick = int(orders[g][place_G[g]])
        used_N[pick], like = True, float(like_GN[g, pick])
        yield Step(pick, f"{like:.4g} to target rows of {names[g]}, whose turn it was", like)
