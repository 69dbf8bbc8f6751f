"""How many old rows a budget allows, and a method's plan held to it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from modicum.errors import BudgetError
from modicum.replay import Replay
from modicum.replay.stage import Plan, Stage
from modicum.selection import Budget


def allowed(budget: Budget, lengths: Sequence[np.ndarray], per_task: bool) -> int:
    """Rows to replay of old tasks whose rows have these lengths in tokens.

    The budget is of all old tasks together, with `per_task` of each on average, as InsCL's public
    code has it; a share is of the old rows. Tokens become rows of the mean length.
    """
    if not any(map(len, lengths)):
        return 0
    if per_task and budget.unit == "percent":
        return sum(budget.rows(len(each)) or 0 for each in lengths)
    rows = budget.rows(sum(map(len, lengths)))
    if rows is None:
        rows = int(budget.amount / np.concatenate(lengths).mean())
    return rows * len(lengths) if per_task else rows


def planned(method: Replay, stage: Stage) -> Plan:
    """What a method decides, checked: a user's own comes through here."""
    plan = method(stage)
    if not isinstance(plan, Plan) or len(plan.steps) != len(stage.old):
        raise BudgetError(
            "a replay method returns a Plan with the steps of every old task; "
            f"this one gave {type(plan).__name__}"
        )
    for name in ("quota_J", "weight_J"):
        _check_numbers(name, getattr(plan, name), len(stage.old))
    for task, steps in zip(stage.old, plan.steps, strict=True):
        picks = [step.pick for step in steps]
        if len(set(picks)) < len(picks):
            raise BudgetError(f"the method picked a row of {task.name} twice")
        if wrong := [pick for pick in picks if not 0 <= pick < len(task.pool)]:
            raise BudgetError(
                f"the method picked row {wrong[0]} of {task.name}, which has {len(task.pool)}"
            )
    if (total := sum(map(len, plan.steps))) > stage.rows:
        raise BudgetError(f"the method picked {total} rows, the budget is {stage.rows}")
    return plan


def _check_numbers(name: str, given: object, tasks: int) -> None:
    if not (isinstance(given, np.ndarray) and given.shape == (tasks,) and np.isfinite(given).all()):
        raise BudgetError(
            f"the method's {name} is {given}; give an array with a finite number for each of "
            f"{tasks} old tasks"
        )


def within_tokens(plan: Plan, lengths: Sequence[np.ndarray], most: float) -> Plan:
    """The plan with so many last picks taken back, largest task first, that the tokens fit."""
    steps = [list(each) for each in plan.steps]
    spent = [sum(int(lengths[j][s.pick]) for s in each) for j, each in enumerate(steps)]
    while sum(spent) > most:
        largest = int(np.argmax(spent))
        spent[largest] -= int(lengths[largest][steps[largest].pop().pick])
    return plan._replace(steps=tuple(map(tuple, steps)))
