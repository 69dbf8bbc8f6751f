"""A replay method asked about one stage: within a budget, its answer checked and told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from modicum.errors import BudgetError
from modicum.meter import Meter
from modicum.replay import Replay
from modicum.replay.stage import Plan, Stage, Task
from modicum.selection import Budget, Step, apportion
from modicum.selection.budget import checked
from modicum.tags import Tagger


def stage_of(
    old: Sequence[Task],
    new: Task,
    budget: Budget,
    per_task: bool,
    *,
    meter: Meter,
    current: Meter,
    tagger: Tagger | None,
    seed: int,
    number: int = 0,
) -> Stage:
    """The question, with the budget as rows or tokens.

    The budget is of all old tasks together, with `per_task` of each on average, as InsCL's public
    code has it; a share is of the old rows.
    """
    sizes = [len(task.pool) for task in old]
    times = len(old) if per_task else 1
    rows, tokens = sum(sizes), None
    if budget.unit == "tokens":
        tokens = int(budget.amount) * times
    elif not rows:
        rows = 0
    elif per_task and budget.unit == "percent":
        rows = sum(budget.rows(size) or 0 for size in sizes)
    else:
        rows = (budget.rows(rows) or 0) * times
    return Stage(tuple(old), new, rows, meter, current, tagger, seed, number, tokens)


def decide(method: Replay, stage: Stage) -> Plan:
    """What a method plans, checked (a user's own comes through here) and within the tokens."""
    plan = method(stage)
    if not isinstance(plan, Plan) or len(plan.steps) != len(stage.old):
        raise BudgetError(
            "a replay method returns a Plan with the steps of every old task; "
            f"this one gave {type(plan).__name__}"
        )
    for name in ("quota_J", "weight_J"):
        _check_numbers(name, getattr(plan, name), len(stage.old))
    steps = tuple(_of_task(task, each) for task, each in zip(stage.old, plan.steps, strict=True))
    if (total := sum(map(len, steps))) > stage.rows:
        raise BudgetError(f"the method picked {total} rows, the budget is {stage.rows}")
    return _within_tokens(plan._replace(steps=steps), stage, getattr(method, "floor", 0))


def told(stage: Stage, plan: Plan) -> list[dict[str, Any]]:
    """For each old task: what there is, its weight and share of the budget, what is replayed."""
    total = float(plan.weight_J.sum())
    return [
        {
            "task": task.name,
            "available": len(task.pool),
            "weight": float(plan.weight_J[j]),
            "share": float(plan.weight_J[j]) / total if total else None,
            "quota": int(plan.quota_J[j]),
            "replayed": len(plan.steps[j]),
            "tokens": int(sum(stage.lengths(j)[step.pick] for step in plan.steps[j])),
        }
        for j, task in enumerate(stage.old)
    ]


def shortfall(stage: Stage, plan: Plan, name: str | None) -> list[str]:
    """What the budget allows and is not replayed, and why; `name` is the method's."""
    picked, available = sum(map(len, plan.steps)), int(stage.sizes_J.sum())
    if name == "none" or not available:
        return []
    if stage.tokens is not None:
        if not picked:
            return [f"no row fits into {stage.tokens:,} tokens"]
        spent = sum(task["tokens"] for task in told(stage, plan))
        everything = [
            f"all {available:,} old rows are replayed, {spent:,} tokens of {stage.tokens:,}"
        ]
        return everything * (picked == available and spent < stage.tokens)
    found = []
    if stage.rows > available:
        found.append(
            f"the budget allows {stage.rows:,} rows, {stage.rows - available:,} more than there "
            "are: no row is replayed twice"
        )
    if picked < (most := min(stage.rows, available)):
        found.append(f"the method took {picked:,} of the {most:,} rows that it could")
    return found


def _of_task(task: Task, steps: Sequence[Step | int]) -> tuple[Step, ...]:
    try:
        return tuple(checked(steps, len(task.pool)))
    except BudgetError as error:
        raise BudgetError(f"task {task.name}: {error}") from error


def _within_tokens(plan: Plan, stage: Stage, floor: int) -> Plan:
    """The plan with last picks taken back, where a task is most above its share, until it fits.

    Rows of a floor are taken back only when there are no others.
    """
    if stage.tokens is None:
        return plan
    lengths = [stage.lengths(j) for j in range(len(stage.old))]
    there = np.array([each.sum() for each in lengths], dtype=np.int64)
    share_J = apportion(stage.tokens, plan.weight_J, there)
    steps = [list(each) for each in plan.steps]
    spent_J = np.array([sum(lengths[j][s.pick] for s in each) for j, each in enumerate(steps)])
    while spent_J.sum() > stage.tokens:
        rows_J = np.array([len(each) for each in steps])
        spare_J = rows_J > floor
        from_J = spare_J if spare_J.any() else rows_J > 0
        most = int(np.argmax(np.where(from_J, spent_J - share_J, -np.inf)))
        spent_J[most] -= lengths[most][steps[most].pop().pick]
    return plan._replace(steps=tuple(map(tuple, steps)))


def _check_numbers(name: str, given: object, tasks: int) -> None:
    if not (isinstance(given, np.ndarray) and given.shape == (tasks,) and np.isfinite(given).all()):
        raise BudgetError(
            f"the method's {name} is {given}; give an array with a finite number for each of "
            f"{tasks} old tasks"
        )
