"""What a stream shows: per arm the matrix and its numbers, per method means, per pair intervals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

from modicum.errors import InputError
from modicum.evaluation.forgetting import (
    average_performance,
    backward_transfer,
    forgetting,
    forward_transfer,
    learning_accuracy,
    relative_gains,
)
from modicum.evaluation.paired import seeds_and_examples
from modicum.stream.arms import Arm

Scores = Mapping[str, Mapping[str, float]]  # task: measure: mean
LOSSES = ("loss",)  # lower is better: their numbers are of −loss, and they have no Relative Gain
ALL_ORDERS = "all"
_NUMBERS = ("AP", "BWT", "F", "FWT", "LA", "RG", "RG_mean")


class Done(NamedTuple):
    """A finished arm: its stages, and the values of its last model, task by task as given."""

    arm: Arm
    facts: list[dict[str, Any]]
    last: list[Mapping[str, np.ndarray]]


def matrix(facts: Sequence[Mapping[str, Any]], measure: str) -> np.ndarray:
    """(T, T): the score after stage t on the i-th task that arrived; NaN where not measured."""
    names = [stage["task"] for stage in facts]
    none = {measure: np.nan}
    return np.array(
        [[stage["scores"].get(name, none)[measure] for name in names] for stage in facts]
    )


def numbers(
    facts: Sequence[Mapping[str, Any]], measure: str, base: Scores, experts: Scores
) -> dict[str, Any]:
    """AP, BWT, F, FWT, LA, and the Relative Gain at the end, its mean and every stage's.

    Of a loss they are of −loss. A Relative Gain that is not defined is None, and `why` says so.
    """
    names = [stage["task"] for stage in facts]
    sign = -1.0 if measure in LOSSES else 1.0
    scores_TT = sign * matrix(facts, measure)
    base_T = sign * np.array([base[name][measure] for name in names])
    found: dict[str, Any] = {
        "AP": average_performance(scores_TT),
        "BWT": backward_transfer(scores_TT),
        "F": forgetting(scores_TT),
        "FWT": forward_transfer(scores_TT, base_T),
        "LA": learning_accuracy(scores_TT),
    }
    if measure in LOSSES:
        return found
    expert_T = np.array([experts[name][measure] for name in names])
    try:
        gains = relative_gains(scores_TT, expert_T)
    except InputError as error:
        return {**found, "RG": None, "RG_mean": None, "why": str(error)}
    known = [gain for gain in gains if gain is not None]
    return {**found, "RG": gains[-1], "RG_mean": float(np.mean(known)), "RG_by_stage": gains}


def by_method(arms: Sequence[Mapping[str, Any]], measure: str) -> list[dict[str, Any]]:
    """Mean and standard deviation over seeds, for every method and order, and over all orders."""
    orders = list(dict.fromkeys(arm["order"] for arm in arms))
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for order in [*orders, *([ALL_ORDERS] if len(orders) > 1 else [])]:
        for arm in arms:
            if order in (arm["order"], ALL_ORDERS):
                groups.setdefault((arm["method"], order), []).append(arm)
    return [
        {"method": method, "order": order, "arms": len(found), "measure": measure}
        | {name: _spread([arm["metrics"][measure].get(name) for arm in found]) for name in _NUMBERS}
        for (method, order), found in groups.items()
    ]


def pairs(done: Sequence[Done], measure: str, experts: Scores) -> list[dict[str, Any]]:
    """Each two methods under the same orders and seeds: differences with 95 % intervals.

    Of AP, and of the Relative Gain where that is defined; both at the end of the stream. The
    interval counts which seeds were run and which rows were tested.
    """
    labels = list(dict.fromkeys(each.arm.label for each in done))
    orders = list(dict.fromkeys(each.arm.order for each in done))
    at = {(each.arm.label, each.arm.order, each.arm.seed): each for each in done}
    seeds = sorted({each.arm.seed for each in done})
    found = []
    for one, other in combinations(labels, 2):
        for order in [*orders, *([ALL_ORDERS] if len(orders) > 1 else [])]:
            some = [o for o in orders if order in (o, ALL_ORDERS)]
            both = [(at[one, o, s], at[other, o, s]) for o in some for s in seeds]
            for number, weigh in _weighings(both, measure, experts).items():
                told = _difference(both, measure, weigh)
                found.append({"methods": [one, other], "order": order, "number": number, **told})
    return found


def _weighings(
    both: Sequence[tuple[Done, Done]], measure: str, experts: Scores
) -> dict[str, Callable[[Done], list[float]]]:
    """The numbers that are defined for these arms, as weights of the tasks."""
    found: dict[str, Callable[[Done], list[float]]] = {"AP": _equally}
    scores = [scores[measure] for scores in experts.values()]
    old = {i for one, _ in both for i in one.arm.tasks[:-1]}
    if measure not in LOSSES and all(scores[i] > 0 for i in old):
        found["RG"] = lambda each: _by_expert(each, scores)
    return found


def _difference(
    both: Sequence[tuple[Done, Done]], measure: str, weigh: Callable[[Done], list[float]]
) -> dict[str, Any]:
    """The interval of a weighted sum over all tested rows, `both` being its repetitions."""
    sizes = [len(values[measure]) for values in both[0][0].last]
    sign = -1.0 if measure in LOSSES else 1.0
    weight_SN = np.array(
        [
            np.concatenate([np.full(n, w / n) for n, w in zip(sizes, weigh(a), strict=True)])
            for a, _ in both
        ]
    )
    apart_SN = np.array(
        [
            np.concatenate(
                [sign * (x[measure] - y[measure]) for x, y in zip(a.last, b.last, strict=True)]
            )
            for a, b in both
        ]
    )
    # A task weighs differently from repetition to repetition (the last one is no old task), and
    # the interval has one weight a row: what differs goes into the differences.
    mean_N = weight_SN.mean(axis=0)
    ratio_SN = np.divide(weight_SN, mean_N, out=np.zeros_like(weight_SN), where=mean_N > 0)
    tasks_N = np.repeat(np.arange(len(sizes)), sizes)
    made = seeds_and_examples(apart_SN * ratio_SN, weights_N=mean_N, tasks_N=tasks_N)
    return {
        "measure": measure,
        "difference": made.mean,
        "low": made.low,
        "high": made.high,
        "level": made.level,
        "repetitions": len(both),
    }


def _equally(done: Done) -> list[float]:
    """Weights of the tasks in AP."""
    return [1 / len(done.last)] * len(done.last)


def _by_expert(done: Done, experts: Sequence[float]) -> list[float]:
    """Weights of the tasks, as they were given, in the Relative Gain at the end."""
    last = done.arm.tasks[-1]
    each = 100 / (len(done.last) - 1)
    return [0.0 if i == last else each / expert for i, expert in enumerate(experts)]


def _spread(values: Sequence[float | None]) -> dict[str, Any] | None:
    known = [value for value in values if value is not None]
    if len(known) < len(values) or not known:
        return None
    return {
        "mean": float(np.mean(known)),
        "sd": float(np.std(known, ddof=1)) if len(known) > 1 else None,
        "values": known,
    }
