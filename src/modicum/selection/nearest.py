"""The rows most like a target, every target row served in turn."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from modicum.errors import InputError
from modicum.selection.budget import Step
from modicum.selection.memory import spare
from modicum.selection.over import Over
from modicum.selection.rows import (
    LATTICE,
    Array,
    BoolArray,
    FloatArray,
    IntArray,
    as_vectors,
    as_wide_as,
    finite_rows,
    lattice_rows,
)

_SHORTEST = 256  # rows listed per target row at first; doubled each time a list runs dry
_LISTED = 1 << 18  # keys in all lists together
_BLOCK = 1 << 19  # similarities held at once
_ROWS = 2048  # rows of a block at most
_SMALLEST = 16  # rows of a list and of a block, where memory is short
_PART = 1 << 16  # rows that one of several looks through
_STEPS = 1 << 29  # similarities are told apart to one part in this many


def near_target(
    vectors_ND: Array,
    target_MD: Array,
    *,
    memory: int | None = None,
    over: Over | None = None,
) -> Iterator[Step]:
    """Target rows take turns, each taking the unused row most similar to it by cosine.

    The round-robin of RDS+ (arXiv 2503.01807). The gain is the similarity, to about 1e-8; a zero
    vector's is 0. Similarities are computed block by block: beside the vectors, memory holds a
    list of the best rows for each target row, made anew from the unused rows when one runs dry.
    It takes what `needs` says, at most `memory` bytes. Those `over` whom it is spread list the best
    rows of a part each.
    """
    vectors_ND = as_vectors(vectors_ND, "vectors_ND")
    target_MD = as_wide_as(vectors_ND, target_MD, "target_MD")
    if not len(target_MD):
        raise InputError("the target has no rows; rows cannot be near to nothing")
    sizes = _sizes(len(vectors_ND), vectors_ND.shape[1], len(target_MD), memory)
    parts = _Parts.of(vectors_ND, over)
    return _in_turn(parts, lattice_rows(target_MD), finite_rows(vectors_ND), sizes)


def needs(rows: int, width: int, *, targets: int, memory: int | None = None) -> int:
    """Bytes that `near_target` takes at most beside so many vectors and target rows."""
    return _sizes(rows, width, targets, memory).bytes


class _Sizes(NamedTuple):
    listed: int  # rows in a list at most
    block: int
    bytes: int


def _sizes(rows: int, width: int, targets: int, memory: int | None) -> _Sizes:
    fixed, small = 9 * rows + 24 * targets * width, min(_SMALLEST, max(1, rows))
    least = _working(targets, width, small, small)
    free = spare("near_target", fixed, least, memory, "aim at fewer target rows")
    listed = min(max(_SHORTEST, _LISTED // targets), max(1, rows))
    block = min(max(small, min(_ROWS, _BLOCK // targets)), max(1, rows))
    while _working(targets, width, listed, block) > free:
        if listed >= block:
            listed = max(small, listed // 2)
        else:
            block = max(small, block // 2)
    return _Sizes(listed, block, fixed + _working(targets, width, listed, block))


def _working(targets: int, width: int, listed: int, block: int) -> int:
    """Bytes of a block of rows and all of its similarities, and of the lists as they are made."""
    return 24 * width * block + targets * (72 * block + 24 * (2 * listed + block))


class _Parts(NamedTuple):
    """Where the rows are: all here, or in parts with others."""

    starts: list[int]
    held: list[Any]
    mapped: Callable[..., Iterable[Any]]

    @staticmethod
    def of(vectors_ND: FloatArray, over: Over | None) -> _Parts:
        if over is None:
            return _Parts([0], [vectors_ND], map)
        starts = list(range(0, len(vectors_ND), _PART))
        held = over.kept(vectors_ND[start : start + _PART] for start in starts)
        return _Parts(starts, held, over.mapped)

    def best(self, target_MD: FloatArray, unused_N: BoolArray, length: int, block: int) -> IntArray:
        """For each target row the keys of its most similar unused rows, best first."""
        find = partial(_best, target_MD=target_MD, length=length, block=block)
        unused = np.split(unused_N, self.starts[1:])
        found = zip(self.starts, self.mapped(find, self.held, unused), strict=True)
        keys: list[IntArray] = [keys_ML - start for start, keys_ML in found]  # see `_keys`
        if len(keys) == 1:
            return keys[0]
        joined = np.concatenate(keys, axis=1)
        joined.sort(axis=1)
        return np.flip(joined[:, -length:], axis=1).copy()


def _in_turn(
    parts: _Parts, target_MD: FloatArray, unused_N: BoolArray, sizes: _Sizes
) -> Iterator[Step]:
    length, keys_ML = min(_SHORTEST, sizes.listed), np.empty((0, 0), dtype=np.int64)
    place_M: list[int] = []
    for turn in range(int(np.count_nonzero(unused_N))):
        m = turn % len(target_MD)
        if not turn or not _moved(place_M, keys_ML, m, unused_N):
            length = min(2 * length, sizes.listed) if turn else length
            del keys_ML  # before the next are made
            keys_ML = parts.best(target_MD, unused_N, length, sizes.block)
            place_M = [0] * len(target_MD)
        key = int(keys_ML[m, place_M[m]])
        pick, similarity = _row(key), (key >> 32) / _STEPS - 1
        unused_N[pick] = False
        yield Step(pick, f"{similarity:.4g} to target row {m}", similarity)


def _moved(place_M: list[int], keys_ML: IntArray, m: int, unused_N: BoolArray) -> bool:
    """Go on to the best unused row in the list of a target row; False if there is none."""
    while place_M[m] < keys_ML.shape[1]:
        if unused_N[_row(int(keys_ML[m, place_M[m]]))]:
            return True
        place_M[m] += 1
    return False


def _best(
    vectors_ND: FloatArray, unused_N: BoolArray, target_MD: FloatArray, length: int, block: int
) -> IntArray:
    """For each target row the keys of its most similar unused rows, best first: (M, length)."""
    rows, targets = np.flatnonzero(unused_N), len(target_MD)
    length = min(length, len(rows))
    keys_MW = np.full((targets, min(2 * length + block, len(rows))), -1, dtype=np.int64)
    filled_M, edge_M1 = np.zeros(targets, dtype=np.int64), np.full((targets, 1), -np.inf)
    for first in range(0, len(rows), block):
        part = rows[first : first + block]
        product_MB = target_MD @ lattice_rows(vectors_ND[part]).T
        # Most rows are less like a target row than all that its list holds by then.
        m_P, b_P = np.nonzero(product_MB >= edge_M1)
        start_M = np.searchsorted(m_P, np.arange(targets + 1))
        at_P = filled_M[m_P] + np.arange(len(m_P)) - start_M[m_P]
        keys_MW[m_P, at_P] = _keys(product_MB[m_P, b_P], part[b_P])
        filled_M += np.diff(start_M)
        coming = min(block, len(rows) - first - block)
        if coming > 0 and filled_M.max() + coming > keys_MW.shape[1]:
            keys_MW.partition(keys_MW.shape[1] - length, axis=1)
            keys_MW = np.flip(keys_MW, axis=1)
            keys_MW[:, length:] = -1
            np.minimum(filled_M, length, out=filled_M)
            edge_M1 = _edge(keys_MW[:, :length].min(axis=1))[:, None]
    keys_MW.sort(axis=1)
    return np.flip(keys_MW[:, keys_MW.shape[1] - length :], axis=1).copy()


def _keys(product_P: FloatArray, rows_P: IntArray) -> IntArray:
    """One int that sorts by similarity, then by lower row.

    Rounded to a fixed step, so that rows that point the same way tie, whatever their length.
    """
    similarity_P = np.clip(product_P / LATTICE**2, -1, 1)
    steps_P = np.rint((similarity_P + 1) * _STEPS).astype(np.int64)
    return (steps_P << 32) | (0xFFFF_FFFF - rows_P)


def _edge(key_M: IntArray) -> FloatArray:
    """What a product must reach to come before this key, of a row above it; -inf without a key."""
    reach_M = ((key_M >> 32) + 0.499) / _STEPS - 1
    return np.where(key_M < 0, -np.inf, reach_M * LATTICE**2)


def _row(key: int) -> int:
    return 0xFFFF_FFFF - (key & 0xFFFF_FFFF)
