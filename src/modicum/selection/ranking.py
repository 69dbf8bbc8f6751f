"""Orders that need at most one number per row: by chance, by chance per source, by value."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from modicum.errors import OptionError
from modicum.selection.budget import Step
from modicum.selection.rows import Array, IntArray, as_values, best_first, shown


def uniform(n: int, seed: int) -> Iterator[Step]:
    """Every row of a pool of `n`, in an order drawn at random."""
    order_N = np.random.default_rng(seed).permutation(n)
    return (Step(int(pick), "drawn at random") for pick in order_N)


def balanced(groups_N: Sequence[str], seed: int) -> Iterator[Step]:
    """As many rows of each group as there are, as equal as that allows, at every length.

    Groups take turns in the order of their names, each drawing at random from its own rows; one
    that has run out leaves its turns to the others. RDS+ (arXiv 2503.01807) calls it balanced.
    """
    shuffled = np.random.default_rng(seed).permutation(len(groups_N))
    waiting: dict[str, list[int]] = {name: [] for name in sorted(set(groups_N))}
    for position in shuffled.tolist():
        waiting[groups_N[position]].append(position)
    return _in_turn(waiting)


def _in_turn(waiting: dict[str, list[int]]) -> Iterator[Step]:
    turn = 0
    while waiting:
        for name, positions in waiting.items():
            yield Step(positions[turn], f"drawn at random from {name}, whose turn it was")
        turn += 1
        waiting = {name: rows for name, rows in waiting.items() if turn < len(rows)}


def band(
    values_N: Array, where: Literal["top", "bottom", "middle"] = "top", name: str = "value"
) -> Iterator[Step]:
    """Rows by their value: from the highest, from the lowest, or outward from the median.

    The gain is the value, and reasons call it `name`. The median is that of the finite values; the
    others are never offered.
    """
    values_N = as_values(values_N, "values_N")
    finite_N = np.isfinite(values_N)
    if where not in ("top", "bottom", "middle"):
        raise OptionError(f"where={where!r} is not known; write top, bottom or middle")
    if where == "top":
        return _by_value(values_N, best_first(values_N, finite_N), name, "from the top")
    if where == "bottom":
        return _by_value(values_N, best_first(-values_N, finite_N), name, "from the bottom")
    median = np.median(values_N[finite_N]) if finite_N.any() else 0.0
    order_K = best_first(-np.abs(values_N - median), finite_N)
    return _by_value(values_N, order_K, name, f"from the median {shown(float(median))}")


def _by_value(
    values_N: npt.NDArray[np.floating], order_K: IntArray, name: str, place: str
) -> Iterator[Step]:
    for rank, pick in enumerate(order_K.tolist(), start=1):
        value = float(values_N[pick])
        yield Step(pick, f"{name} {shown(value)}, number {rank} {place}", value)
