"""The numbers of continual learning on one matrix of three tasks, worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from modicum.errors import InputError, OptionError
from modicum.evaluation.forgetting import (
    average_performance,
    backward_transfer,
    forgetting,
    forward_transfer,
    learning_accuracy,
    relative_gain,
    relative_gains,
)

NAN = np.nan
# Rows are stages. Task 1 rises to 0.9 and falls to 0.5; task 2 goes from 0.6 to 0.7.
SCORES = np.array([[0.8, 0.1, NAN], [0.9, 0.6, 0.3], [0.5, 0.7, 0.4]])
UNTRAINED = np.array([NAN, 0.2, 0.1])  # task 1's is not needed
EXPERTS = np.array([0.8, 0.5, NAN])  # nor the last task's here
ONE = np.array([[0.5]])


def test_average_performance_is_the_mean_of_the_last_stage():
    assert average_performance(SCORES) == pytest.approx((0.5 + 0.7 + 0.4) / 3)


def test_backward_transfer_is_the_change_since_a_task_was_learned():
    assert backward_transfer(SCORES) == pytest.approx(((0.5 - 0.8) + (0.7 - 0.6)) / 2)


def test_forgetting_is_the_fall_from_the_best_stage_and_may_be_negative():
    assert forgetting(SCORES) == pytest.approx(((0.9 - 0.5) + (0.6 - 0.7)) / 2)


def test_forward_transfer_is_the_gain_before_a_task_is_learned():
    assert forward_transfer(SCORES, UNTRAINED) == pytest.approx(((0.1 - 0.2) + (0.3 - 0.1)) / 2)


def test_learning_accuracy_is_the_mean_of_the_diagonal():
    assert learning_accuracy(SCORES) == pytest.approx((0.8 + 0.6 + 0.4) / 3)


def test_relative_gain_is_the_mean_share_of_the_experts_scores_on_old_tasks():
    assert relative_gain(SCORES, EXPERTS, 2) == pytest.approx(100 * 0.9 / 0.8)
    assert relative_gain(SCORES, EXPERTS, 3) == pytest.approx(50 * (0.5 / 0.8 + 0.7 / 0.5))
    assert relative_gains(SCORES, EXPERTS) == [
        None,
        relative_gain(SCORES, EXPERTS, 2),
        relative_gain(SCORES, EXPERTS, 3),
    ]


def test_a_single_task_has_no_old_ones():
    assert average_performance(ONE) == learning_accuracy(ONE) == 0.5
    assert backward_transfer(ONE) is forgetting(ONE) is forward_transfer(ONE, ONE[0]) is None
    assert relative_gains(ONE, ONE[0]) == [None]


def test_a_score_that_is_needed_and_missing_is_named():
    holed = SCORES.copy()
    holed[1, 0] = NAN
    with pytest.raises(InputError, match="task 1 after stage 2 is nan"):
        forgetting(holed)
    assert backward_transfer(holed) == backward_transfer(SCORES)  # does not need it


@pytest.mark.parametrize(
    ("of", "message"),
    [
        (lambda: average_performance(np.full((2, 2), np.inf)), "task 1 after stage 2 is inf"),
        (lambda: forward_transfer(SCORES, np.array([1, NAN, 1])), "nan on task 2"),
        (lambda: forward_transfer(SCORES, np.ones(2)), "give one for each of 3 tasks"),
        (lambda: relative_gain(SCORES, np.array([NAN, 1, 1]), 2), "the expert has nan on task 1"),
        (lambda: learning_accuracy(SCORES[:2]), r"scores are \(2, 3\)"),
        (lambda: learning_accuracy(np.zeros((0, 0))), r"scores are \(0, 0\)"),
    ],
)
def test_missing_and_misshapen_numbers_are_refused(of, message: str):
    with pytest.raises(InputError, match=message):
        of()


def test_relative_gain_against_an_expert_that_scores_0_is_undefined_and_says_so():
    experts = np.array([0.8, 0.0, 0.4])
    assert relative_gain(SCORES, experts, 2) == pytest.approx(112.5)  # does not need task 2
    with pytest.raises(InputError, match="undefined: the expert of task 2 scores 0"):
        relative_gain(SCORES, experts, 3)


def test_relative_gain_of_losses_is_refused():
    with pytest.raises(InputError, match="at least 0"):
        relative_gain(-SCORES, EXPERTS, 3)
    with pytest.raises(InputError, match="at least 0"):
        relative_gain(SCORES, -EXPERTS, 3)


@pytest.mark.parametrize("stage", [0, 4, -1])
def test_a_stage_outside_the_stream_is_refused(stage: int):
    with pytest.raises(OptionError, match=f"stage {stage} of a stream of 3"):
        relative_gain(SCORES, EXPERTS, stage)
