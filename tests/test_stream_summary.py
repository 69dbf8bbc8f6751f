"""What a stream shows, by hand on three tasks, and intervals that mean what their numbers say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modicum.evaluation.paired import seeds_and_examples
from modicum.replay.chance import Nothing
from modicum.stream.arms import Arm
from modicum.stream.summary import Done, by_method, matrix, numbers, pairs

GIVEN = ("sums", "colours", "rivers")
ARRIVED = ("rivers", "sums", "colours")
# Rows are stages, columns tasks as they arrive. Rivers fall from 0.8 by 0.72 to 0.4.
MATRIX = [[0.8, 0.1, None], [0.72, 0.5, 0.2], [0.4, 0.5, 0.9]]
BASE = {"sums": 0.2, "colours": 0.4, "rivers": 0.1}
EXPERTS = {"sums": 0.5, "colours": 0.9, "rivers": 0.8}


def facts_of(
    scores: Sequence[Sequence[float | None]],
    measure: str = "rouge_l",
    names: Sequence[str] = ARRIVED,
) -> list[dict[str, Any]]:
    return [
        {
            "task": name,
            "scores": {n: {measure: x} for n, x in zip(names, row, strict=True) if x is not None},
        }
        for name, row in zip(names, scores, strict=True)
    ]


def of(scores: dict[str, float], measure: str = "rouge_l") -> dict[str, dict[str, float]]:
    return {name: {measure: score} for name, score in scores.items()}


# The numbers of one arm


def test_the_matrix_has_tasks_as_they_arrive_and_holes_where_nothing_was_measured():
    found = matrix(facts_of(MATRIX), "rouge_l")
    assert found.shape == (3, 3) and np.isnan(found[0, 2])
    assert found[1].tolist() == [0.72, 0.5, 0.2]


def test_the_numbers_of_three_tasks_by_hand():
    found = numbers(facts_of(MATRIX), "rouge_l", of(BASE), of(EXPERTS))
    assert found["AP"] == pytest.approx((0.4 + 0.5 + 0.9) / 3)
    assert found["BWT"] == pytest.approx(((0.4 - 0.8) + (0.5 - 0.5)) / 2)
    assert found["F"] == pytest.approx(((0.8 - 0.4) + (0.5 - 0.5)) / 2)
    assert found["FWT"] == pytest.approx(((0.1 - 0.2) + (0.2 - 0.4)) / 2)
    assert found["LA"] == pytest.approx((0.8 + 0.5 + 0.9) / 3)
    # After stage 2 rivers are at 0.72 of 0.8; at the end at 0.4 of 0.8, and sums at 0.5 of 0.5.
    assert found["RG_by_stage"] == [None, pytest.approx(90), pytest.approx(75)]
    assert found["RG"] == pytest.approx(75) and found["RG_mean"] == pytest.approx(82.5)


def test_of_a_loss_the_numbers_are_of_minus_the_loss_and_there_is_no_gain():
    found = numbers(facts_of(MATRIX, "loss"), "loss", of(BASE, "loss"), of(EXPERTS, "loss"))
    assert found == {
        "AP": pytest.approx(-0.6),
        "BWT": pytest.approx(0.2),  # rivers went from a loss of 0.8 to 0.4
        "F": pytest.approx(((-0.72 + 0.4) + 0) / 2),  # the least loss before was 0.72
        "FWT": pytest.approx(((-0.1 + 0.2) + (-0.2 + 0.4)) / 2),
        "LA": pytest.approx(-(0.8 + 0.5 + 0.9) / 3),
    }


def test_where_an_expert_scores_0_there_is_no_gain_and_the_reason_is_told():
    found = numbers(facts_of(MATRIX), "rouge_l", of(BASE), of(EXPERTS | {"sums": 0.0}))
    assert found["RG"] is found["RG_mean"] is None and "RG_by_stage" not in found
    assert "the expert of task 2 scores 0" in found["why"]
    assert found["AP"] == pytest.approx(0.6)


def test_the_expert_of_the_last_task_does_not_matter():
    found = numbers(facts_of(MATRIX), "rouge_l", of(BASE), of(EXPERTS | {"colours": 0.0}))
    assert found["RG"] == pytest.approx(75)


# Methods


def arm(method: str, order: str, **metrics: float | None) -> dict[str, Any]:
    return {"method": method, "order": order, "metrics": {"exact": metrics}}


def test_means_and_standard_deviations_are_over_seeds():
    arms = [arm("none", "given", AP=ap, RG=ap) for ap in (0.1, 0.2, 0.6)]
    (row,) = by_method(arms, "exact")
    assert (row["method"], row["order"], row["arms"], row["measure"]) == (
        "none",
        "given",
        3,
        "exact",
    )
    # The mean is 0.3; the squares 0.04, 0.01 and 0.09 add up to 0.14, by 2 degrees of freedom.
    assert row["AP"] == {
        "mean": pytest.approx(0.3),
        "sd": pytest.approx(0.07**0.5),
        "values": [0.1, 0.2, 0.6],
    }


def test_one_seed_has_no_standard_deviation():
    (row,) = by_method([arm("none", "given", AP=0.1)], "exact")
    assert row["AP"] == {"mean": 0.1, "sd": None, "values": [0.1]}


def test_a_number_that_one_arm_lacks_has_no_mean():
    (row,) = by_method([arm("none", "given", RG=1.0), arm("none", "given", RG=None)], "exact")
    assert row["RG"] is None and row["BWT"] is None


def test_several_orders_are_told_one_by_one_and_together():
    arms = [
        arm(method, order, AP=ap)
        for order, at in (("given", 0.0), ("random", 0.4))
        for method, ap in (("inscl", 0.2 + at), ("none", 0.1 + at))
    ]
    told = {(row["method"], row["order"]): row["AP"]["mean"] for row in by_method(arms, "exact")}
    assert told == {
        ("inscl", "given"): 0.2,
        ("none", "given"): 0.1,
        ("inscl", "random"): pytest.approx(0.6),
        ("none", "random"): 0.5,
        ("inscl", "all"): pytest.approx(0.4),
        ("none", "all"): 0.3,
    }


# Pairs


def done(
    label: str,
    last: Sequence[Sequence[float]],
    order: Any = "given",
    seed: int = 0,
    tasks: tuple[int, ...] = (0, 1, 2),
    measure: str = "rouge_l",
) -> Done:
    """An arm by the values of its last model on the tested rows of each task, as given."""
    values = [{measure: np.array(row, dtype=np.float64)} for row in last]
    return Done(Arm(label, Nothing(), order, seed, tasks), [], values)


LOW = [[0.0, 0.2], [0.4, 0.0, 0.2], [0.1, 0.1]]  # means 0.1, 0.2, 0.1
HIGH = [[0.2, 0.6], [0.4, 0.6, 0.8], [0.5, 0.5]]  # means 0.4, 0.6, 0.5
BY_GIVEN = of({name: EXPERTS[name] for name in GIVEN})


def told(found: list[dict[str, Any]], number: str, order: str = "given") -> dict[str, Any]:
    (one,) = [row for row in found if (row["number"], row["order"]) == (number, order)]
    return one


def test_the_difference_is_of_the_means_of_tasks_by_hand():
    found = pairs([done("inscl", HIGH), done("none", LOW)], "rouge_l", BY_GIVEN)
    assert [row["number"] for row in found] == ["AP", "RG"]
    assert found[0]["methods"] == ["inscl", "none"] and found[0]["level"] == 0.95
    assert found[0]["difference"] == pytest.approx((0.3 + 0.4 + 0.4) / 3)
    assert found[1]["difference"] == pytest.approx(50 * (0.3 / 0.5 + 0.4 / 0.9))  # rivers are last
    assert all(row["low"] < row["difference"] < row["high"] for row in found)


def test_a_lower_loss_is_a_positive_difference():
    arms = [done("inscl", LOW, measure="loss"), done("none", HIGH, measure="loss")]
    (found,) = pairs(arms, "loss", of(EXPERTS, "loss"))
    assert found["number"] == "AP"
    assert found["difference"] == pytest.approx((0.3 + 0.4 + 0.4) / 3)


@pytest.mark.parametrize(("task", "known"), [("rivers", ["AP", "RG"]), ("sums", ["AP"])])
def test_a_gain_is_compared_where_it_is_defined(task: str, known: list[str]):
    experts = of({name: EXPERTS[name] for name in GIVEN} | {task: 0.0})
    found = pairs([done("inscl", HIGH), done("none", LOW)], "rouge_l", experts)
    assert [row["number"] for row in found] == known  # the expert of the last task is not needed


def test_one_seed_says_that_it_is_about_the_rows_alone():
    (ap, _) = pairs([done("inscl", HIGH), done("none", LOW)], "rouge_l", BY_GIVEN)
    apart = np.concatenate([np.subtract(a, b) for a, b in zip(HIGH, LOW, strict=True)])
    alone = seeds_and_examples(
        apart,
        weights_N=np.repeat([1 / 6, 1 / 9, 1 / 6], [2, 3, 2]),
        tasks_N=np.repeat([0, 1, 2], [2, 3, 2]),
    )
    assert ap["repetitions"] == alone.seeds == 1
    assert (ap["low"], ap["high"]) == pytest.approx((alone.low, alone.high))


def test_arms_that_answer_alike_differ_by_nothing():
    for row in pairs([done("inscl", HIGH), done("none", HIGH)], "rouge_l", BY_GIVEN):
        assert row["low"] == row["difference"] == row["high"] == 0


def test_every_two_methods_are_compared_under_every_order_and_all():
    arms = [
        done(label, values, order, seed)
        for order in ("given", "random")
        for seed in (0, 1)
        for label, values in (("a", LOW), ("b", HIGH), ("c", LOW))
    ]
    found = pairs(arms, "rouge_l", BY_GIVEN)
    assert [row["methods"] for row in found[::6]] == [["a", "b"], ["a", "c"], ["b", "c"]]
    assert [(row["order"], row["repetitions"]) for row in found[:6:2]] == [
        ("given", 2),
        ("random", 2),
        ("all", 4),
    ]


def test_one_method_is_compared_with_none():
    assert pairs([done("none", LOW), done("none", LOW, seed=1)], "rouge_l", BY_GIVEN) == []


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), measure=st.sampled_from(["rouge_l", "loss"]))
def test_a_difference_is_that_of_the_means_over_arms_and_lies_in_its_interval(
    seed: int, measure: str
):
    chance = np.random.default_rng(seed)
    sizes = chance.integers(2, 6, 3)
    experts = of(dict(zip(GIVEN, chance.uniform(0.1, 1, 3), strict=True)), measure)
    arms, of_arms = list[Done](), dict[tuple[str, str], list[dict[str, Any]]]()
    for order in ("given", "random"):
        for s in range(3):
            tasks = tuple(chance.permutation(3).tolist())
            for label in ("one", "other"):
                last = [chance.uniform(0, 1, n) for n in sizes]
                arms.append(done(label, last, order, s, tasks, measure))
                names, means = [GIVEN[i] for i in tasks], [last[i].mean() for i in tasks]
                facts = facts_of([means] * 3, measure, names)
                told_of = numbers(facts, measure, experts, experts)
                for place in (order, "all"):
                    of_arms.setdefault((label, place), []).append(told_of)
    found = pairs(arms, measure, experts)
    assert len(found) == (3 if measure == "loss" else 6)
    for row in found:
        one, other = (
            np.mean([each[row["number"]] for each in of_arms[label, row["order"]]])
            for label in row["methods"]
        )
        assert row["difference"] == pytest.approx(one - other)
        assert row["low"] <= row["difference"] <= row["high"]
