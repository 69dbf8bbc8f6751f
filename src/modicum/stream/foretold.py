"""What a stream will send through models, before anything is sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from modicum.estimate import calibrate, predict
from modicum.evaluation.measures import WRITTEN
from modicum.plan import Work, passes, summed, training, wants_of
from modicum.replay import Replay
from modicum.replay.deciding import stage_of
from modicum.stream.course import Course
from modicum.wants import Loss


def foretold(
    course: Course, methods: Mapping[str, Replay], orders: Sequence[str], seeds: Sequence[int]
) -> dict[str, Any]:
    """Tokens, seconds, disk and memory of all arms, after a short calibration.

    Tasks are taken in the order given and replayed rows at their mean length. What methods measure
    to choose, and the writing of answers (not the reading of their prompts), are not foretold.
    """
    works = plan(course, methods, len(orders), len(seeds))
    rendered, model = course.base.rendered(course.tasks.rows), course.base.model
    rates = calibrate(rendered, model, works, wants_of(works), course.recipe)
    made = predict(works, rates, model, course.keep_models == "all")
    return {**made, "work": summed(made["work"])}


def plan(course: Course, methods: Mapping[str, Replay], orders: int, seeds: int) -> list[Work]:
    """The tunings and evaluations of all arms."""
    tasks = range(len(course.tasks))
    lengths = course.base.rendered(course.tasks.rows).lengths_N
    sizes = [(len(places), int(lengths[places].sum())) for places in course.tasks.places]
    tests = [_evaluation(course, i) for i in tasks]
    works = [work for test in tests for work in test]  # the base
    alone = [training(course.recipe, *size) for size in sizes]
    for i in tasks:  # experts
        works += [alone[i], *tests[i]]
    for _ in range(
        orders
    ):  # first stages; that of the first seed is an expert, whose loss is known
        works += [alone[0], *tests[0], *tests[1]] * (seeds - 1)
        works += [*(work for work in tests[0] if not work.loads), *tests[1]]
    for method in methods.values():
        stages = [work for t in tasks[1:] for work in _stage(course, method, t, sizes, tests)]
        works += stages * (orders * seeds)
    return works


def _stage(
    course: Course,
    method: Replay,
    t: int,
    sizes: Sequence[tuple[int, int]],
    tests: Sequence[list[Work]],
) -> list[Work]:
    """One tuning on a new task and what is replayed, and its evaluations."""
    train, replayed = course.tasks.train, 0.0
    old_rows, old_tokens = np.array(sizes[:t]).sum(axis=0)
    if getattr(method, "name", None) != "none":
        stage = stage_of(
            train[:t],
            train[t],
            course.budget,
            course.per_task,
            meter=course.base,
            current=course.base,
            tagger=None,
            seed=0,
        )
        replayed = min(stage.rows, old_rows)
        if stage.tokens is not None:
            replayed = min(replayed, stage.tokens / (old_tokens / old_rows))
    rows, tokens = sizes[t]
    mixed = training(course.recipe, rows + replayed, tokens + replayed * old_tokens / old_rows)
    return [mixed, *(work for test in tests[: t + 2] for work in test)]


def _evaluation(course: Course, task: int) -> list[Work]:
    """One model on one task's held-out rows."""
    loss = passes(course.base.rendered(course.tasks.test[task]), [Loss()])
    written = bool(set(WRITTEN) & set(course.bench.measures))
    return [*loss, *(work._replace(loads=False) for work in loss * written)]
