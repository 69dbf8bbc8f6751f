"""What a comparison will send through models, before anything is sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from modicum.estimate import calibrate, predict
from modicum.evaluation.measures import WRITTEN
from modicum.evidence.arms import Arm
from modicum.evidence.contest import Contest
from modicum.evidence.run import arms_of
from modicum.evidence.selecting import question, reach, seed_of
from modicum.ledger import Ledger
from modicum.plan import Work, passes, summed, training, wants_of
from modicum.wants import Loss

if TYPE_CHECKING:
    from modicum.methods import Method


def foretold(
    contest: Contest,
    methods: Mapping[str, Method],
    seeds: Sequence[int],
    full_seeds: Sequence[int],
) -> dict[str, Any]:
    """The arms by name, and tokens, seconds, disk and memory of all, after a short calibration.

    Rows are taken at the pool's mean length, and arms that match steps as if they matched epochs.
    What is measured once and kept is foretold once; the writing of answers is not foretold.
    """
    arms = arms_of(contest, methods, seeds, full_seeds)
    works = [*_selections(contest, arms), *exam_of(contest)]
    for arm in arms:
        works += [tuning_of(contest, arm), *exam_of(contest)]
    rendered, model = contest.base.rendered(contest.pool), contest.base.model
    rates = calibrate(rendered, model, works, wants_of(works), contest.recipe)
    made = predict(works, rates, model, contest.keep_models == "all")
    return {"arms": [arm.name for arm in arms], **made, "work": summed(made["work"])}


def _selections(contest: Contest, arms: Sequence[Arm]) -> list[Work]:
    """What methods send through models to choose: trainings for every seed, measurements once."""
    works, measured = list[Work](), set[tuple[object, ...]]()
    for plan in plans_of(contest, arms):
        trains = any(work.stage == "train" for work in plan)
        for work in plan:
            if trains or (work.wants, work.rows) not in measured:
                works.append(work)
            measured.add((work.wants, work.rows))
    return works


def plans_of(contest: Contest, arms: Sequence[Arm]) -> list[list[Work]]:
    """What each choice sends through models that the arms ask for, each choice once."""
    plans, asked = list[list[Work]](), set[tuple[str, str, int]]()
    for arm in arms:
        if arm.part is None or arm.budget is None:
            continue
        budget = reach(contest, arm.part, arm.budget)
        seed = seed_of(contest, arm.label, arm.seed)
        if (key := (arm.label, budget, seed)) not in asked:
            plans.append(question(contest, arm.part, budget, seed, Ledger()).plan)
        asked.add(key)
    return plans


def tuning_of(contest: Contest, arm: Arm) -> Work:
    """The tuning of one arm."""
    rows, tokens = len(contest.pool), float(contest.lengths_N.sum())
    if arm.budget is None:
        return training(contest.recipe, rows, tokens)
    budget, mean = contest.budgets[arm.budget], tokens / rows
    taken = budget.rows(rows)
    if taken is None:
        return training(contest.recipe, budget.amount / mean, budget.amount)
    return training(contest.recipe, taken, taken * mean)


def exam_of(contest: Contest) -> list[Work]:
    """What a model is asked on the held-out rows."""
    loss = passes(contest.base.rendered(contest.exam.rows), [Loss()])
    written = bool(set(WRITTEN) & set(contest.exam.measures))
    return [*loss, *(work._replace(loads=False) for work in loss * written)]
