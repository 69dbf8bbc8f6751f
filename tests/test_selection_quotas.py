"""How rounds share a budget, and where a round ends."""

from __future__ import annotations

import math
from itertools import islice
from typing import Any

import numpy as np
import pytest

from modicum.errors import BudgetError, OptionError
from modicum.selection import Step
from modicum.selection.quotas import Quota, quotas, within


def shared(rows: int | None, tokens: float = math.inf, **more: Any) -> list[Quota]:
    given = {"initial": 100, "per_round": None, "rounds": 10, "mean_tokens": 50.0} | more
    return list(islice(quotas(rows, tokens, **given), 20))


def test_the_papers_defaults_share_1100_rows_as_the_paper_does():
    assert [quota.rows for quota in shared(1100)] == [100] * 11


def test_rounds_share_equally_what_the_first_draw_leaves():
    assert [quota.rows for quota in shared(300, rounds=3)] == [100, 67, 67, 66]


def test_rows_that_are_fewer_than_rounds_make_fewer_rounds():
    assert [quota.rows for quota in shared(104)] == [100, 1, 1, 1, 1]


def test_per_round_takes_rounds_of_that_many_until_the_budget_is_spent():
    assert [quota.rows for quota in shared(330, per_round=100)] == [100, 100, 100, 30]


def test_rounds_share_tokens_equally_above_those_of_the_first_draw():
    made = shared(None, 11_000, rounds=3)  # the draw takes about 100 · 50
    assert made[0] == Quota(100, 11_000, 11_000)
    assert made[1:] == [Quota(None, end, 11_000) for end in (7000, 9000, 11_000)]


def test_what_the_first_draw_took_is_asked_when_it_is_made():
    drawn = list[float]()
    made = quotas(
        None, 11_000, initial=100, per_round=None, rounds=2, mean_tokens=50.0, drawn=drawn.pop
    )
    assert next(made).rows == 100
    drawn.append(1000.0)
    assert [quota.tokens for quota in made] == [6000, 11_000]


def test_per_round_with_tokens_goes_on_for_as_long_as_it_is_asked():
    assert shared(None, 11_000, per_round=7)[1:] == [Quota(7, 11_000, 11_000)] * 19


@pytest.mark.parametrize("option", ["initial", "per_round", "rounds"])
def test_no_part_may_be_nothing(option: str):
    with pytest.raises(OptionError, match=f"{option}=0; at least 1"):
        shared(300, **{option: 0})


@pytest.mark.parametrize("rows", [100, 60, 2])
def test_a_draw_that_leaves_nothing_to_the_rounds_is_refused_with_the_way_out(rows: int):
    with pytest.raises(BudgetError, match=f"use --set initial={rows // 2}, or a larger -k"):
        shared(rows)
    assert shared(rows, initial=rows // 2)


def test_a_budget_for_one_row_has_another_way_out():
    with pytest.raises(BudgetError, match="use -k 2 or more, with --set initial=1"):
        shared(1, initial=1)
    with pytest.raises(BudgetError, match="use -k 100tok or more, with --set initial=1"):
        shared(None, 40)
    assert shared(2, initial=1) and shared(None, 100, initial=1)


def test_a_draw_that_leaves_no_tokens_to_the_rounds_is_refused_with_the_way_out():
    with pytest.raises(BudgetError, match=r"of 50 tokens on average .* initial=40,"):
        shared(None, 4000)


STEPS = [Step(pick, "", float(9 - pick)) for pick in range(5)]
TOKENS_N = np.array([10, 20, 30, 40, 50])


@pytest.mark.parametrize(
    ("quota", "spent", "taken"),
    [
        (Quota(3), 0, 3),
        (Quota(3, 59, 99), 0, 2),  # 10 + 20 + 30 is more
        (Quota(3, 60, 99), 0, 3),
        (Quota(None, 60, 99), 0, 3),
        (Quota(None, 60, 99), 35, 1),
        (Quota(None, 60, 99), 55, 1),  # the first row may pass the round's end
        (Quota(None, 60, 99), 90, 0),  # but not the budget's
    ],
)
def test_a_round_ends_before_the_first_row_that_is_too_much(quota: Quota, spent: int, taken: int):
    inside, beyond = within(iter(STEPS), quota, TOKENS_N, spent)
    assert inside == STEPS[:taken]
    assert beyond == STEPS[taken]


def test_nothing_lies_beyond_when_all_rows_are_taken():
    assert within(STEPS, Quota(None), TOKENS_N, 0) == (STEPS, None)
    assert within(STEPS, Quota(5), TOKENS_N, 0) == (STEPS, None)
