"""A whole stream: every method under every order and seed, and what that shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from modicum.errors import OptionError
from modicum.ledger import Ledger
from modicum.parts import describe
from modicum.replay import Replay
from modicum.stream.arms import Arm, Course
from modicum.stream.orders import Order, arrange
from modicum.stream.summary import Done, Scores, by_method, matrix, numbers, pairs


@dataclass(frozen=True)
class Streamed:
    """A finished stream, as `stream.json` has it, and what all of it cost."""

    record: dict[str, Any]
    ledger: Ledger


def stream(
    course: Course,
    methods: Mapping[str, Replay],
    orders: Sequence[Order],
    seeds: Sequence[int],
) -> Streamed:
    """Run every arm that is not finished yet; the same call, killed, goes on where it stopped."""
    base = {name: course.untrained(i) for i, name in enumerate(course.tasks.names)}
    hardness_T = np.array([scores["loss"] for scores in base.values()])
    arms = [
        Arm(label, method, order, seed, tuple(arrange(order, hardness_T, seed)))
        for order in orders
        for seed in seeds
        for label, method in methods.items()
    ]
    _check_names(arms)
    for arm in {arm.label: arm for arm in reversed(arms)}.values():
        course.rehearse(arm)
    experts = {name: course.expert(i, seeds[0]) for i, name in enumerate(course.tasks.names)}
    course.base.model.release()
    done, told, total = list[Done](), list[dict[str, Any]](), Ledger()
    for arm in arms:
        facts, ledger = course.run(arm)
        done.append(Done(arm, facts, _last(course, arm, facts)))
        told.append(_arm(arm, facts, base, experts, ledger))
        total.add(ledger.to_json())
    shared = course.base.ledger.to_json()
    total.add(shared)
    record = {
        "tasks": course.tasks.to_json(),
        "measures": _measures(base),
        "base": base,
        "experts": experts,
        "arms": told,
        "summary": [row for measure in _measures(base) for row in by_method(told, measure)],
        "pairs": [row for measure in _measures(base) for row in pairs(done, measure, experts)],
        "shared_ledger": shared,
    }
    course.tidy()
    return Streamed(record, total)


def _arm(
    arm: Arm, facts: list[dict[str, Any]], base: Scores, experts: Scores, ledger: Ledger
) -> dict[str, Any]:
    measures = _measures(base)
    return {
        "name": arm.name,
        "method": arm.label,
        "options": describe(arm.method),
        "order": arm.order,
        "seed": arm.seed,
        "tasks": [stage["task"] for stage in facts],
        "matrix": {measure: _rows(matrix(facts, measure)) for measure in measures},
        "metrics": {measure: numbers(facts, measure, base, experts) for measure in measures},
        "stages": facts,
        "ledger": ledger.to_json(),
    }


def _last(course: Course, arm: Arm, facts: list[dict[str, Any]]) -> list[Mapping[str, np.ndarray]]:
    """Values of the arm's last model on every task, in the order the tasks were given."""
    spent = Ledger()  # all of them were measured before

    def missing() -> Any:
        raise OptionError(f"{arm.name}: an evaluation is missing; run the same line again")

    key = facts[-1]["model"]
    return [course.bench.score(key, i, missing, spent).values for i in range(len(course.tasks))]


def _measures(base: Scores) -> list[str]:
    return list(next(iter(base.values())))


def _rows(scores_TT: np.ndarray) -> list[list[float | None]]:
    return [[float(x) if np.isfinite(x) else None for x in row] for row in scores_TT]


def _check_names(arms: Sequence[Arm]) -> None:
    names = [arm.name for arm in arms]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise OptionError(f"two arms would be called {twice[0]}; give every method once")
