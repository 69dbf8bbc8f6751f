"""How far apart two sets of vectors are: the 1-Wasserstein distance, exactly or from samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from modicum.errors import AlignmentError, InputError, OptionError
from modicum.selection.rows import (
    Array,
    FloatArray,
    IntArray,
    as_values,
    as_vectors,
    as_wide_as,
    finite_rows,
    unit_rows,
)

EXACT_UP_TO = 500  # points a side; an exact distance takes 0.07 s at 500, 1.2 s at 2,000
DRAWS = 10
_POINTS = 500  # drawn at least in all: few draws of few points are mostly chance
_ITERATIONS = 1_000_000  # of the network simplex; it ends long before


@dataclass(frozen=True)
class Distances:
    """1-Wasserstein distances between the sets of a list, and how they were had."""

    value_JJ: FloatArray  # symmetric; 0 from a set to itself, NaN where it was not asked for
    error_JJ: FloatArray  # standard errors of the values; 0 where they are exact
    support: int  # points on each side of every problem that was solved
    draws: int  # 1: all points, exactly; else each value is the mean over so many samples
    unseen_J: IntArray  # rows of each set that are not finite, and were left out

    def to_json(self) -> dict[str, Any]:
        """How they were had, and the numbers row by row; null where none was asked for."""
        made = "exact" if self.draws == 1 else "mean over samples of equal size"
        about = {"how": made, "support": self.support, "draws": self.draws}
        return {**about, "matrix": json_rows(self.value_JJ), "errors": json_rows(self.error_JJ)}


def wasserstein(
    one_ND: Array, other_MD: Array, one_N: Array | None = None, other_M: Array | None = None
) -> float:
    """The exact 1-Wasserstein distance between two weighted sets of vectors, cosine as cost.

    W = min over couplings π of Σ π_ab (1 − cos(one_a, other_b)), from 0 to 2 (InsCL, arXiv
    2403.11435; POT's `emd2`). Masses are scaled to add up to 1; None: all equal.
    """
    from ot import emd2

    one_ND, other_MD = as_vectors(one_ND, "one_ND"), as_vectors(other_MD, "other_MD")
    as_wide_as(one_ND, other_MD, "other_MD")
    as_wide_as(other_MD, one_ND, "one_ND")
    if not (len(one_ND) and len(other_MD)):
        raise InputError("a set without vectors is no distance away from anything")
    cost_NM = np.maximum(1.0 - unit_rows(one_ND) @ unit_rows(other_MD).T, 0.0)
    masses = _masses(one_N, len(one_ND), "one_N"), _masses(other_M, len(other_MD), "other_M")
    solved, log = emd2(*masses, cost_NM, numItermax=_ITERATIONS, log=True)
    if log["warning"]:
        raise InputError(f"the distance of these vectors cannot be worked out: {log['warning']}")
    return float(solved)


def pairwise(
    sets_JND: Sequence[Array],
    masses_JN: Sequence[Array] | None = None,
    *,
    seeds: Sequence[int] | None = None,
    to_last: bool = False,
    limit: int = EXACT_UP_TO,
    draws: int = DRAWS,
) -> Distances:
    """The distances between several sets, made so that they can be compared with each other.

    A distance between small sets is larger than between large ones of the same make, so all are
    worked out at one support: that of the smallest set, and at most `limit`. Where every set has
    just so many points they are exact. Otherwise each is the mean, with its standard error, over
    samples of so many points, drawn by mass: at least `draws` of them, and so many
    that `_POINTS` points are drawn in all. `to_last`: only those to the last set, which grow with
    the number of sets and not with its square. `seeds` of the sets decide the draws, wherever in
    the list they stand. A row that is not finite is in no sample.
    """
    if limit < 1 or draws < 2:
        raise OptionError(f"limit={limit}, draws={draws}; at least 1 point and 2 draws are needed")
    sets = [
        _usable(vectors, None if masses_JN is None else masses_JN[j], f"set {j}")
        for j, vectors in enumerate(sets_JND)
    ]
    support = min([limit, *(len(vectors) for vectors, _ in sets)])
    exact = all(len(vectors) == support for vectors, _ in sets)
    times = 1 if exact else max(draws, -(-_POINTS // support))
    value_JJ, error_JJ = np.full((2, len(sets), len(sets)), np.nan)
    np.fill_diagonal(value_JJ, 0.0)
    np.fill_diagonal(error_JJ, 0.0)
    told = list(range(len(sets))) if seeds is None else list(seeds)
    for i, j in combinations(range(len(sets)), 2):
        if to_last and j < len(sets) - 1:
            continue
        chance = np.random.default_rng([told[i], told[j]])
        solved = [
            _solved(sets[i], sets[j], None if exact else support, chance) for _ in range(times)
        ]
        value_JJ[i, j] = value_JJ[j, i] = np.mean(solved)
        error = 0.0 if exact else float(np.std(solved, ddof=1) / np.sqrt(times))
        error_JJ[i, j] = error_JJ[j, i] = error
    unseen = [len(given) - len(kept) for given, (kept, _) in zip(sets_JND, sets, strict=True)]
    return Distances(value_JJ, error_JJ, support, times, np.array(unseen, dtype=np.int64))


_Set = tuple[FloatArray, FloatArray]


def _solved(one: _Set, other: _Set, support: int | None, chance: np.random.Generator) -> float:
    """The distance of two sets, or of a sample of each."""
    if support is None:
        return wasserstein(one[0], other[0], one[1], other[1])
    return wasserstein(_sample(one, support, chance), _sample(other, support, chance))


def _sample(each: _Set, size: int, chance: np.random.Generator) -> FloatArray:
    """So many points, each as often as its mass has it to within one; they weigh alike.

    Systematic sampling in a random order: of equal masses no point is drawn twice.
    """
    vectors_ND, mass_N = each
    order_N = chance.permutation(len(mass_N))
    at_S = (chance.random() + np.arange(size)) / size
    place_S = np.searchsorted(np.cumsum(mass_N[order_N]), at_S)
    return np.asarray(vectors_ND[order_N[np.minimum(place_S, len(order_N) - 1)]])


def json_rows(number_JJ: FloatArray) -> list[list[float | None]]:
    """A matrix row by row, null where it has no number."""
    return [[float(x) if np.isfinite(x) else None for x in row] for row in number_JJ]


def _usable(vectors: Array, mass: Array | None, name: str) -> _Set:
    vectors_ND = as_vectors(vectors, name)
    mass_N = _masses(mass, len(vectors_ND), f"the masses of {name}")
    finite_N = finite_rows(vectors_ND)
    if not finite_N.any():
        raise InputError(f"{name} has no vector that is finite")
    return vectors_ND[finite_N], mass_N[finite_N]


def _masses(mass: Array | None, rows: int, name: str) -> FloatArray:
    if mass is None:
        return np.full(rows, 1.0 / max(1, rows))
    mass_N = as_values(mass, name).astype(np.float64)
    if len(mass_N) != rows:
        raise AlignmentError(f"{name} has {len(mass_N)} masses for {rows} vectors")
    if not (np.isfinite(mass_N).all() and (mass_N > 0).all()):
        raise InputError(f"{name} holds a mass that is not a number above 0")
    return np.asarray(mass_N / mass_N.sum())
