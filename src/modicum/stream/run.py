"""A whole stream: every method under every order and seed, and what that shows."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from modicum.errors import OptionError, RunError
from modicum.ledger import Ledger
from modicum.parts import describe
from modicum.progress import reached
from modicum.replay import Replay
from modicum.selection.transport import json_rows
from modicum.stream.arms import Arm, rehearse, run_arm
from modicum.stream.course import Course
from modicum.stream.orders import Order, arrange
from modicum.stream.pairs import Done, Scores, pairs
from modicum.stream.summary import by_method, matrix, numbers


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
    rehearsed = _rehearsed(course, [arm for arm in arms if arm.seed == seeds[0]])
    experts = _experts(course, seeds[0], {(arm.tasks[0], arm.seed) for arm in arms})
    done, told, total = list[Done](), list[dict[str, Any]](), Ledger()
    for number, arm in enumerate(arms, 1):
        facts, ledger = run_arm(course, arm)
        reached(f"{number} of {len(arms)} arms", arm.name, {})
        done.append(_done(course, arm, facts))
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
        "rehearsed": rehearsed,
        "shared_ledger": shared,
    }
    course.tidy()
    return Streamed(record, total)


def _rehearsed(course: Course, arms: Sequence[Arm]) -> dict[str, Any]:
    """What each method measured through the base beforehand: it is not measured again later."""
    spent: dict[str, Any] = {}
    for label in dict.fromkeys(arm.label for arm in arms):
        before = copy.deepcopy(course.base.ledger)
        for arm in arms:
            if arm.label == label:
                rehearse(course, arm)
        spent[label] = course.base.ledger.since(before)
    course.base.model.release()
    return spent


def _experts(
    course: Course, seed: int, firsts: set[tuple[int, int]]
) -> dict[str, Mapping[str, float]]:
    """Every task's expert's scores; of the models those stay that some arm begins with."""
    experts = {}
    for i, name in enumerate(course.tasks.names):
        experts[name] = course.expert(i, seed)
        if (i, seed) not in firsts and course.keep_models != "all":
            course.forget(i, seed)
    return experts


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
        "matrix": {measure: json_rows(matrix(facts, measure)) for measure in measures},
        "metrics": {measure: numbers(facts, measure, base, experts) for measure in measures},
        "stages": facts,
        "ledger": ledger.to_json(),
    }


def _done(course: Course, arm: Arm, facts: list[dict[str, Any]]) -> Done:
    """An arm with the values of its models, which were all measured before."""

    def missing() -> Any:
        place = course.folder / "arms" / arm.name
        raise RunError(f"{arm.name}: an evaluation is missing; remove {place}, run the line again")

    def values(stage: int, task: int) -> Mapping[str, np.ndarray]:
        return course.bench.score(facts[stage]["model"], task, missing, Ledger()).values

    tasks = range(len(course.tasks))
    learned = [values(arm.tasks.index(task), task) for task in tasks]
    return Done(arm, facts, learned, [values(-1, task) for task in tasks])


def _measures(base: Scores) -> list[str]:
    return list(next(iter(base.values())))


def _check_names(arms: Sequence[Arm]) -> None:
    names = [arm.name for arm in arms]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise OptionError(f"two arms would be called {twice[0]}; give every method once")
