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
from modicum.stream.pairs import Done, pairs
from modicum.stream.summary import by_method, matrix, numbers

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
    assert found["forgotten"] == {"rivers": pytest.approx(0.4), "sums": 0}


def test_of_a_loss_the_numbers_are_of_minus_the_loss_and_there_is_no_gain():
    found = numbers(facts_of(MATRIX, "loss"), "loss", of(BASE, "loss"), of(EXPERTS, "loss"))
    assert found == {
        "AP": pytest.approx(-0.6),
        "BWT": pytest.approx(0.2),  # rivers went from a loss of 0.8 to 0.4
        "F": pytest.approx(((-0.72 + 0.4) + 0) / 2),  # the least loss before was 0.72
        "FWT": pytest.approx(((-0.1 + 0.2) + (-0.2 + 0.4)) / 2),
        "LA": pytest.approx(-(0.8 + 0.5 + 0.9) / 3),
        "forgotten": {"rivers": 0, "sums": 0},  # the best was the last
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


def arm(
    method: str, order: str, seed: int = 0, tasks: Sequence[str] = GIVEN, **metrics: float | None
) -> dict[str, Any]:
    about = {"method": method, "order": order, "seed": seed, "tasks": [*tasks]}
    return {**about, "metrics": {"exact": metrics}}


def test_means_and_standard_deviations_are_over_seeds():
    arms = [arm("none", "given", seed, AP=ap, RG=ap) for seed, ap in enumerate((0.1, 0.2, 0.6))]
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
        arm(method, order, tasks=tasks, AP=ap)
        for order, tasks, at in (("given", GIVEN, 0.0), ("random", ARRIVED, 0.4))
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


def test_orders_that_turn_out_the_same_count_once_among_all():
    ran = [(0, GIVEN, 0.1), (0, GIVEN, 0.1), (0, ARRIVED, 0.4), (1, GIVEN, 0.4)]
    orders = ("given", "easy-hard", "random", "given")
    arms = [
        arm("none", order, seed, tasks, AP=ap)
        for order, (seed, tasks, ap) in zip(orders, ran, strict=True)
    ]
    told = {row["order"]: row for row in by_method(arms, "exact")}
    assert [told[order]["arms"] for order in ("given", "easy-hard", "random", "all")] == [
        2,
        1,
        1,
        3,
    ]
    assert told["all"]["AP"]["values"] == [0.1, 0.4, 0.4]  # of seed 1 it is another run
    assert told["all"]["AP"]["mean"] == pytest.approx(0.3)


# Pairs


def done(
    label: str,
    last: Sequence[Sequence[float]],
    order: Any = "given",
    seed: int = 0,
    tasks: tuple[int, ...] = (0, 1, 2),
    measure: str = "rouge_l",
    learned: Sequence[Sequence[float]] | None = None,
) -> Done:
    """An arm by its values on the tested rows of each task, as given: at the end, and at first."""
    end, first = (
        [{measure: np.array(row, dtype=np.float64)} for row in rows]
        for rows in (last, last if learned is None else learned)
    )
    return Done(Arm(label, Nothing(), order, seed, tasks), [], first, end)


LOW = [[0.0, 0.2], [0.4, 0.0, 0.2], [0.1, 0.1]]  # means 0.1, 0.2, 0.1
HIGH = [[0.2, 0.6], [0.4, 0.6, 0.8], [0.5, 0.5]]  # means 0.4, 0.6, 0.5
BY_GIVEN = of({name: EXPERTS[name] for name in GIVEN})


def told(found: list[dict[str, Any]], number: str, order: str = "given") -> dict[str, Any]:
    (one,) = [row for row in found if (row["number"], row["order"]) == (number, order)]
    return one


def test_the_difference_is_of_the_means_of_tasks_by_hand():
    found = pairs([done("inscl", HIGH), done("none", LOW)], "rouge_l", BY_GIVEN)
    assert [row["number"] for row in found] == ["AP", "BWT", "RG"]
    ap, _, rg = found
    assert ap["methods"] == ["inscl", "none"] and ap["level"] == 0.95
    assert ap["difference"] == pytest.approx((0.3 + 0.4 + 0.4) / 3)
    assert rg["difference"] == pytest.approx(50 * (0.3 / 0.5 + 0.4 / 0.9))  # rivers are last
    assert all(row["low"] < row["difference"] < row["high"] for row in (ap, rg))


def test_less_forgetting_is_a_positive_difference_of_backward_transfer_by_hand():
    arms = [done("inscl", HIGH, learned=HIGH), done("none", LOW, learned=HIGH)]
    found = told(pairs(arms, "rouge_l", BY_GIVEN), "BWT")
    # Of none sums fell by 0.3 and colours by 0.4; rivers, the last, cannot have been forgotten.
    assert found["difference"] == pytest.approx((0.3 + 0.4) / 2)
    assert found["low"] < found["difference"] < found["high"]


def test_a_lower_loss_is_a_positive_difference():
    arms = [done("inscl", LOW, measure="loss"), done("none", HIGH, measure="loss")]
    found, _ = pairs(arms, "loss", of(EXPERTS, "loss"))
    assert found["number"] == "AP"
    assert found["difference"] == pytest.approx((0.3 + 0.4 + 0.4) / 3)


@pytest.mark.parametrize(
    ("task", "known"), [("rivers", ["AP", "BWT", "RG"]), ("sums", ["AP", "BWT"])]
)
def test_a_gain_is_compared_where_it_is_defined(task: str, known: list[str]):
    experts = of({name: EXPERTS[name] for name in GIVEN} | {task: 0.0})
    found = pairs([done("inscl", HIGH), done("none", LOW)], "rouge_l", experts)
    assert [row["number"] for row in found] == known  # the expert of the last task is not needed


def test_one_seed_says_that_it_is_about_the_rows_alone():
    ap, *_ = pairs([done("inscl", HIGH), done("none", LOW)], "rouge_l", BY_GIVEN)
    apart = np.concatenate([np.subtract(a, b) for a, b in zip(HIGH, LOW, strict=True)])
    alone = seeds_and_examples(
        apart,
        weights_N=np.repeat([1 / 6, 1 / 9, 1 / 6], [2, 3, 2]),
        tasks_N=np.repeat([0, 1, 2], [2, 3, 2]),
    )
    assert ap["seeds"] == alone.seeds == 1
    assert (ap["low"], ap["high"]) == pytest.approx((alone.low, alone.high))


def test_arms_that_answer_alike_differ_by_nothing():
    for row in pairs([done("inscl", HIGH), done("none", HIGH)], "rouge_l", BY_GIVEN):
        assert row["low"] == row["difference"] == row["high"] == 0


def test_every_two_methods_are_compared_under_every_order_and_all():
    arms = [
        done(label, values, order, seed, tasks)
        for order, tasks in (("given", (0, 1, 2)), ("random", (2, 0, 1)))
        for seed in (0, 1)
        for label, values in (("a", LOW), ("b", HIGH), ("c", LOW))
    ]
    found = pairs(arms, "rouge_l", BY_GIVEN)
    assert [row["methods"] for row in found[::9]] == [["a", "b"], ["a", "c"], ["b", "c"]]
    assert [row["order"] for row in found[:9:3]] == ["given", "random", "all"]
    assert {row["seeds"] for row in found} == {2}  # orders are no repetitions of a seed


def test_orders_that_turn_out_the_same_are_one_repetition_and_shrink_no_interval():
    arms = [
        done(label, values, order, seed)
        for order in ("given", "easy-hard")
        for seed, (low, high) in enumerate(((LOW, HIGH), (LOW, LOW)))
        for label, values in (("inscl", high), ("none", low))
    ]
    found = pairs(arms, "rouge_l", BY_GIVEN)
    for number in ("AP", "RG"):
        given, both = (told(found, number, order) for order in ("given", "all"))
        assert {**both, "order": "given"} == given and given["low"] < given["high"]


def test_an_order_that_turns_out_twice_weighs_no_more_than_one_that_does_not():
    arms = [
        done(label, values, order, 0, tasks)
        for order, tasks, high in (
            ("given", (0, 1, 2), HIGH),
            ("easy-hard", (0, 1, 2), HIGH),
            ("hard-easy", (2, 1, 0), LOW),
        )
        for label, values in (("inscl", high), ("none", LOW))
    ]
    found = told(pairs(arms, "rouge_l", BY_GIVEN), "AP", "all")
    assert found["difference"] == pytest.approx((0.3 + 0.4 + 0.4) / 3 / 2)


def test_one_method_is_compared_with_none():
    assert pairs([done("none", LOW), done("none", LOW, seed=1)], "rouge_l", BY_GIVEN) == []


def by_stage(
    first: Sequence[np.ndarray], last: Sequence[np.ndarray], tasks: Sequence[int], measure: str
) -> list[dict[str, Any]]:
    """Stages in which a task scores what it did at first until the last of them."""
    names = [GIVEN[i] for i in tasks]
    before, after = ([rows[i].mean() for i in tasks] for rows in (first, last))
    # The last task is learned in the last stage: its first score is its last.
    return facts_of([before, before, after], measure, names)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), measure=st.sampled_from(["rouge_l", "loss"]))
def test_a_difference_is_that_of_the_means_over_arms_and_lies_in_its_interval(
    seed: int, measure: str
):
    chance = np.random.default_rng(seed)
    sizes = chance.integers(2, 6, 3)
    experts = of(dict(zip(GIVEN, chance.uniform(0.1, 1, 3), strict=True)), measure)
    arms, of_arms = list[Done](), dict[tuple[str, str], list[dict[str, Any]]]()
    for s in range(3):
        given = tuple(chance.permutation(3).tolist())
        for order, tasks in (("given", given), ("random", (*given[1:], given[0]))):
            for label in ("one", "other"):
                first, last = ([chance.uniform(0, 1, n) for n in sizes] for _ in range(2))
                arms.append(done(label, last, order, s, tasks, measure, first))
                facts = by_stage(first, last, tasks, measure)
                told_of = numbers(facts, measure, experts, experts)
                for place in (order, "all"):
                    of_arms.setdefault((label, place), []).append(told_of)
    found = pairs(arms, measure, experts)
    assert len(found) == 3 * (2 if measure == "loss" else 3)
    for row in found:
        one, other = (
            np.mean([each[row["number"]] for each in of_arms[label, row["order"]]])
            for label in row["methods"]
        )
        assert row["difference"] == pytest.approx(one - other)
        assert row["low"] <= row["difference"] <= row["high"]
