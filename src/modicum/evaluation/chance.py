"""What a mean difference owes to chance: variances of seeds and rows, and draws of both."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_AVERAGED = 3  # seeds: with no more, Satterthwaite's degrees of freedom are too many
_NEVER = 1e-200  # smaller chances are none; quantiles of 1e-300 overflow
_POWER = 0.8
_AT_ONCE = 2_000_000  # numbers that are drawn together
_NOTHING = 1e-9  # of the noise: what rounding leaves between seeds' means that are the same
_COUNTED = 10  # draws beyond a bound: with fewer it is extrapolated


@dataclass(frozen=True)
class Chance:
    """A statistic and the variance of its estimate, by kind of chance."""

    mean: float
    seeds: tuple[float, int]  # (variance, its degrees of freedom); no variance with one seed
    rows: list[tuple[float, int]]  # of each task
    shared: float  # share of the rows' variance that all seeds have in common
    unseen: bool = False  # seeds' means are the same, if by accident: draws of them say nothing

    @property
    def variance(self) -> float:
        """Of the statistic: a standard error, squared."""
        return sum(v for v, _ in [self.seeds, *self.rows])

    @property
    def freedom(self) -> float:
        """Degrees of freedom of all kinds together (Welch 1947, Satterthwaite 1946)."""
        return _freedom([self.seeds, *self.rows])

    def t(self, tail: float) -> float:
        """How many standard errors out leaves this much in one tail."""
        from scipy.special import stdtrit

        if not self._averaged:
            return float(-stdtrit(self.freedom, tail))
        rows = sum(v for v, _ in self.rows)
        kinds = [(self.seeds[0], self.seeds[1]), (rows, _freedom(self.rows))]
        return float(-sum(v * stdtrit(degrees, tail) for v, degrees in kinds) / self.variance)

    def reach(self, level: float) -> float:
        """Half the width of the t interval."""
        return float(self.t((1 - level) / 2) * self.variance**0.5) if self.variance else 0.0

    def smallest(self, level: float) -> float | None:
        """The true difference that would be shown at this level four times in five.

        None where nothing varied: how much chance there is was not seen.
        """
        if not self.variance:
            return None
        return float((self.t((1 - level) / 2) + self.t(1 - _POWER)) * self.variance**0.5)

    def p(self) -> float:
        """Two-sided: 1 − the level at which the t interval meets 0.

        Where nothing varied, no t: each of n rows may lie on either side, by chance all on one in
        2^(1−n) of all cases (sign test).
        """
        from scipy.optimize import brentq
        from scipy.special import stdtr

        if not self.variance:
            rows = 1 + sum(degrees for _, degrees in self.rows)
            return 2.0 ** (1 - rows) if self.mean else 1.0
        out = abs(self.mean) / self.variance**0.5
        if not self._averaged:
            return float(2 * stdtr(self.freedom, -out))
        if self.t(_NEVER) < out:
            return 0.0
        return 2 * float(np.exp(brentq(lambda x: self.t(np.exp(x)) - out, *np.log([_NEVER, 0.5]))))

    @property
    def _averaged(self) -> bool:
        few = self.seeds[1] < _AVERAGED and self.seeds[0] > 0
        return few and any(v > 0 for v, _ in self.rows)


def chance_of(
    differences_SN: np.ndarray, weights_N: np.ndarray, strata: list[np.ndarray]
) -> Chance:
    """Variances of Σ w·d over seeds × rows, with seeds and the rows of each task as crossed
    random effects. Seeds' means hold the noise of single rows; rows' means are relieved of it.
    Where the seeds' means are the same nevertheless, and rows share nothing, that noise is all the
    chance there is: wins on other rows under each seed, as many, are not certain."""
    seeds = len(differences_SN)
    means_S = differences_SN @ weights_N
    rows_C, noise_C = _row_variances(differences_SN, weights_N, strata)
    shared = max(0.0, 1 - noise_C.sum() / rows_C.sum()) if rows_C.any() else 0.0
    between = float(means_S.var(ddof=1)) / seeds if seeds > 1 else 0.0
    noise = float(noise_C.sum())
    if unseen := seeds > 1 and shared == 0 and between < _NOTHING * noise:
        between = noise
    rows = [(shared * float(v), len(rows_M) - 1) for v, rows_M in zip(rows_C, strata, strict=True)]
    return Chance(float(means_S.mean()), (between, max(1, seeds - 1)), rows, shared, unseen)


def drawn_means(
    differences_SN: np.ndarray,
    weights_N: np.ndarray,
    strata: list[np.ndarray],
    shared: float,
    draws: int,
    seed: int,
) -> np.ndarray:
    """(draws,) the statistic with seeds drawn anew, and rows drawn anew, the same for every seed.

    Every row was measured under every seed, so rows are not drawn within seeds (that would divide
    the rows' variance by S), nor cells crossed: these count a seed's noise on single rows three
    times (Owen 2007). Drawn are the seeds' means, which hold that noise once, and of the rows'
    means what all seeds share. Both are spread out by n/(n−1), as draws of n vary too little.
    """
    rng = np.random.default_rng(seed)
    means_S, rows_N = differences_SN @ weights_N, differences_SN.mean(axis=0)
    drawn_B = _means(spread(means_S), draws, rng)
    for rows_M in strata:
        scale = float(weights_N[rows_M].sum()) * shared**0.5
        part_M = spread(rows_N[rows_M])
        drawn_B += scale * (_means(part_M, draws, rng) - part_M.mean())
    return drawn_B


def expanded(
    drawn_B: np.ndarray, mean: float, error: float, freedom: float, level: float
) -> tuple[float, float, float]:
    """Low, high and two-sided p by the expanded percentile interval (Hesterberg 2015).

    The percentiles are those at which a normal distribution is as far out as t is at the level;
    p is 1 − the level at which a bound meets 0. Bounds with fewer than ten draws beyond them lie
    as many standard errors out as a normal distribution's.
    """
    from scipy.stats import norm, t

    def bound(sorted_B: np.ndarray, centre: float) -> float:
        out = float(t.ppf((1 + level) / 2, freedom))
        beyond = int(norm.sf(out) * len(sorted_B))
        if beyond >= _COUNTED:
            return float(sorted_B[beyond])
        return min(float(sorted_B[_COUNTED]), centre - out * error)

    def tail(side_B: np.ndarray, centre: float) -> float:
        beyond = int((side_B <= 0).sum())
        if beyond > _COUNTED:
            return float(t.sf(norm.isf(beyond / len(side_B)), freedom))
        return float(t.sf(max(norm.isf((_COUNTED) / len(side_B)), centre / error), freedom))

    sorted_B = np.sort(drawn_B)
    low, high = bound(sorted_B, mean), -bound(-sorted_B[::-1], -mean)
    return low, high, min(1.0, 2 * min(tail(drawn_B, mean), tail(-drawn_B, -mean)))


def spread(values_M: np.ndarray) -> np.ndarray:
    """Numbers whose variance over M is what theirs is over M − 1, around the same mean."""
    mean = values_M.mean()
    return np.asarray(mean + (values_M - mean) * (len(values_M) / (len(values_M) - 1)) ** 0.5)


def _means(values_M: np.ndarray, draws: int, rng: np.random.Generator) -> np.ndarray:
    """(draws,) means of as many values, drawn with replacement."""
    size = len(values_M)
    step = max(1, _AT_ONCE // size)
    parts = [min(step, draws - start) for start in range(0, draws, step)]
    drawn = (rng.integers(size, size=(n, size), dtype=np.int32) for n in parts)
    return np.concatenate([values_M[drawn_BM].mean(axis=1) for drawn_BM in drawn])


def _freedom(parts: list[tuple[float, int]]) -> float:
    variance = sum(v for v, _ in parts)
    return 1 / sum((v / variance) ** 2 / degrees for v, degrees in parts)


def _row_variances(
    differences_SN: np.ndarray, weights_N: np.ndarray, strata: list[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Of each task, (C,): the variance of Σ w·d that comes with the rows, as rows averaged over
    seeds show it, and the part of it that is the seeds' own noise on single rows (0 for one)."""
    seeds = len(differences_SN)
    rows, noise = [], []
    for rows_M in strata:
        part_SM, total = differences_SN[:, rows_M], float(weights_N[rows_M].sum())
        size, row_M = len(rows_M), part_SM.mean(axis=0)
        rows.append(total**2 * float(row_M.var(ddof=1)) / size)
        left_SM = part_SM - row_M - (part_SM.mean(axis=1, keepdims=True) - row_M.mean())
        freedom = max(1, (seeds - 1) * (size - 1))
        noise.append(total**2 * float((left_SM**2).sum()) / freedom / (seeds * size))
    return np.array(rows), np.array(noise)
