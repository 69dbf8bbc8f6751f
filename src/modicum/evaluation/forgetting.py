"""What was forgotten: the numbers of continual learning, from a matrix of stages and tasks.

T tasks come one after another. `scores_TT[t, i]` is the score on task i after stage t, higher
better (for a loss, pass −loss), NaN where it was not measured. Formulas and messages count stages
and tasks from 1. A number that needs a missing cell is refused with the cell's name; one that is
not defined for a single task is None.
"""

from __future__ import annotations

import numpy as np

from modicum.errors import InputError, OptionError


def average_performance(scores_TT: np.ndarray) -> float:
    """AP = 1/T · Σ_i R_T,i: the mean over all tasks after the last stage."""
    tasks = _tasks(scores_TT)
    return float(np.mean([_cell(scores_TT, tasks, i) for i in range(1, tasks + 1)]))


def backward_transfer(scores_TT: np.ndarray) -> float | None:
    """BWT = 1/(T−1) · Σ_{i<T} (R_T,i − R_i,i): below 0 where old tasks were forgotten.

    Lopez-Paz and Ranzato, arXiv 1706.08840.
    """
    tasks = _tasks(scores_TT)
    return _mean(
        [_cell(scores_TT, tasks, i) - _cell(scores_TT, i, i) for i in range(1, tasks)],
    )


def forgetting(scores_TT: np.ndarray) -> float | None:
    """F = 1/(T−1) · Σ_{i<T} max_{i≤l<T} (R_l,i − R_T,i): the fall from the best that ever was.

    Chaudhry et al., arXiv 1801.10112; here l starts where task i was learned.
    """
    tasks = _tasks(scores_TT)
    best = [max(_cell(scores_TT, k, i) for k in range(i, tasks)) for i in range(1, tasks)]
    return _mean([b - _cell(scores_TT, tasks, i) for i, b in enumerate(best, 1)])


def forward_transfer(scores_TT: np.ndarray, untrained_T: np.ndarray) -> float | None:
    """FWT = 1/(T−1) · Σ_{i≥2} (R_i−1,i − b_i): what a task gains before it is learned.

    `untrained_T` is b, the model's scores before the first stage. Needs each task's score one stage
    before its own. Lopez-Paz and Ranzato, arXiv 1706.08840.
    """
    tasks = _tasks(scores_TT)
    return _mean(
        [
            _cell(scores_TT, i - 1, i) - _of_task(untrained_T, i, tasks, "the untrained model")
            for i in range(2, tasks + 1)
        ]
    )


def learning_accuracy(scores_TT: np.ndarray) -> float:
    """LA = 1/T · Σ_i R_i,i: how well each task was learned when its turn came."""
    tasks = _tasks(scores_TT)
    return float(np.mean([_cell(scores_TT, i, i) for i in range(1, tasks + 1)]))


def relative_gain(scores_TT: np.ndarray, expert_T: np.ndarray, stage: int) -> float | None:
    """RG_t = 100/(t−1) · Σ_{i<t} R_t,i / U_i, in per cent of single-task experts' scores U.

    100 is no loss against the experts; more is possible. The current task does not count, so the
    first stage has None. Undefined if U_i = 0, and no share of anything below 0: both are refused
    with `InputError`. InsCL, arXiv 2403.11435.
    """
    tasks = _tasks(scores_TT)
    if not 1 <= stage <= tasks:
        raise OptionError(f"stage {stage} of a stream of {tasks}; give one from 1 to {tasks}")
    shares = []
    for i in range(1, stage):
        score = _cell(scores_TT, stage, i)
        expert = _of_task(expert_T, i, tasks, "the expert")
        if score < 0 or expert < 0:
            raise InputError(
                f"task {i} after stage {stage}: score {score:g}, expert {expert:g}; Relative Gain "
                "is a share, so it takes scores of at least 0 (not losses)"
            )
        if expert == 0:
            raise InputError(
                f"Relative Gain is undefined: the expert of task {i} scores 0; "
                "leave the task out, train its expert longer, or use another measure"
            )
        shares.append(100 * score / expert)
    return _mean(shares)


def relative_gains(scores_TT: np.ndarray, expert_T: np.ndarray) -> list[float | None]:
    """`relative_gain` of every stage; the first is None."""
    return [relative_gain(scores_TT, expert_T, t) for t in range(1, _tasks(scores_TT) + 1)]


def _tasks(scores_TT: np.ndarray) -> int:
    if scores_TT.ndim != 2 or scores_TT.shape[0] != scores_TT.shape[1] or not len(scores_TT):
        raise InputError(f"scores are {scores_TT.shape}; give a row per stage, a column per task")
    return len(scores_TT)


def _cell(scores_TT: np.ndarray, stage: int, task: int) -> float:
    value = float(scores_TT[stage - 1, task - 1])
    if not np.isfinite(value):
        raise InputError(
            f"the score of task {task} after stage {stage} is {value}, and this number needs it; "
            "evaluate that task at that stage"
        )
    return value


def _of_task(values_T: np.ndarray, task: int, tasks: int, whose: str) -> float:
    if values_T.shape != (tasks,):
        raise InputError(f"{whose} has scores {values_T.shape}; give one for each of {tasks} tasks")
    value = float(values_T[task - 1])
    if not np.isfinite(value):
        raise InputError(f"{whose} has {value} on task {task}, and this number needs it")
    return value


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None
