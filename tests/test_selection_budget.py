from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from modicum.errors import AlignmentError, BudgetError
from modicum.selection import Budget, Step, spend


def take(steps: object, budget: str | int, n: int = 10, **options: object) -> list[int]:
    options = {"pool_rows": n, "available": n, **options}
    return [s.pick for s in spend(steps, Budget.parse(budget), **options)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "amount", "unit"),
    [
        ("500", 500, "rows"),
        (500, 500, "rows"),
        ("5%", 5, "percent"),
        ("0.5%", 0.5, "percent"),
        ("100%", 100, "percent"),
        ("200ktok", 200_000, "tokens"),
        ("2Mtok", 2_000_000, "tokens"),
        ("1500tok", 1_500, "tokens"),
    ],
)
def test_a_budget_is_read_and_written_back(text: str | int, amount: float, unit: str) -> None:
    budget = Budget.parse(text)
    assert (budget.amount, budget.unit) == (amount, unit)
    assert str(budget) == str(text)


@pytest.mark.parametrize("text", ["0.00001%", "12.25%", "1000tok", "1000ktok", "12345678"])
def test_a_written_budget_reads_back_as_the_same(text: str) -> None:
    assert Budget.parse(str(Budget.parse(text))) == Budget.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        *["0.05", "-1", "0", "1e3", "150%", "0%", "-5%", "100.5%", "", " 5", "5 %", "５", "007"],
        *["200k", "tok", "0tok", "1.5ktok", "2Gtok", "2mtok", "5%%", "nan", "nan%", "inf"],
        *[0, -1, 0.5, True, None],
    ],
)
def test_anything_else_is_refused_with_the_three_forms(text: object) -> None:
    with pytest.raises(BudgetError, match=r"500 \(rows\), 5% .*200ktok"):
        Budget.parse(text)  # type: ignore[arg-type]


@pytest.mark.parametrize(("amount", "unit"), [(0, "rows"), (2.5, "rows"), (101, "percent")])
def test_a_budget_made_by_hand_is_held_to_the_same(amount: float, unit: str) -> None:
    with pytest.raises(BudgetError):
        Budget(amount, unit)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "n", "rows"),
    [
        ("5%", 52_002, 2_600),
        ("50%", 3, 2),
        ("2.5%", 100, 3),
        ("1.15%", 1_000, 12),
        ("1%", 3, 1),
        ("100%", 7, 7),
        ("8", 5, 8),
        ("5ktok", 9, None),
    ],
)
def test_percent_is_the_nearest_whole_row_half_up_and_at_least_one(
    text: str, n: int, rows: int | None
) -> None:
    assert Budget.parse(text).rows(n) == rows


def test_rows_and_percent_take_the_first_steps() -> None:
    assert take([4, 2, 7, 1], 3) == [4, 2, 7]
    assert take([4, 2, 7, 1], "20%") == [4, 2]


def test_no_step_is_asked_for_after_the_last_one_needed() -> None:
    def two() -> Iterator[Step]:
        yield Step(3, "first")
        yield Step(1, "second")
        pytest.fail("a third step was asked for")

    assert take(two(), 2) == [3, 1]


def test_a_plain_int_becomes_a_step_without_a_reason() -> None:
    [step] = spend([np.int64(4)], Budget.parse(1), pool_rows=10, available=10)  # type: ignore[list-item]
    assert (step.pick, step.reason, type(step.pick)) == (4, "", int)
    assert np.isnan(step.gain)


@pytest.mark.parametrize("pick", [10, -1, 1.0, "3", None, True, np.nan, (3, "why")])
def test_a_pick_that_is_no_row_of_the_pool_is_named(pick: object) -> None:
    with pytest.raises(BudgetError, match=r"picked"):
        take([2, pick], 2)
    with pytest.raises(BudgetError, match=r"picked"):
        take([Step(pick, "because")], 1)  # type: ignore[arg-type]


def test_a_repeated_pick_is_named() -> None:
    with pytest.raises(BudgetError, match="row 2 twice"):
        take([2, 5, 2], 3)


def test_more_rows_than_are_left_is_refused_before_anything_is_done() -> None:
    def never() -> Iterator[Step]:
        pytest.fail("a step was asked for")
        yield Step(0, "")

    with pytest.raises(BudgetError, match=r"cannot pick 5 rows: 1 of 10 left; use -k 1"):
        take(never(), 5, available=1)
    with pytest.raises(BudgetError, match=r"0 of 10 left; there is nothing"):
        take(never(), "5%", available=0)


def test_a_method_that_offers_too_few_rows_is_refused_with_both_numbers() -> None:
    with pytest.raises(BudgetError, match=r"offers 3 rows, 5 were asked; use -k 3 "):
        take([1, 2, 3], 5)


TOKENS = np.array([10, 20, 30, 40, 50, 60, 70, 80, 90, 5])


def test_tokens_stop_before_the_first_row_that_would_overflow() -> None:
    assert take([2, 1, 4, 9], "60tok", tokens_N=TOKENS) == [2, 1]  # 9 would fit, 4 did not
    assert take([2, 1, 0, 9], "60tok", tokens_N=TOKENS) == [2, 1, 0]


def test_tokens_for_every_row_take_every_row() -> None:
    assert take([2, 1], "60ktok", tokens_N=TOKENS) == [2, 1]


def test_a_first_row_that_does_not_fit_is_refused_with_its_tokens() -> None:
    with pytest.raises(BudgetError, match=r"row 8\) has 90 tokens, the budget is 60tok"):
        take([8, 9], "60tok", tokens_N=TOKENS)


def test_a_token_budget_needs_the_tokens_of_every_row() -> None:
    with pytest.raises(BudgetError, match="none were counted"):
        take([1], "60tok")
    with pytest.raises(AlignmentError, match=r"\(10,\) for a pool of 11"):
        take([1], "60tok", n=11, tokens_N=TOKENS)
    with pytest.raises(BudgetError, match="row 1 was picked but its tokens are nan"):
        take([1], "60tok", n=2, tokens_N=np.array([1.0, np.nan]))
    with pytest.raises(BudgetError, match="offers no rows"):
        take([], "60tok", tokens_N=TOKENS)
