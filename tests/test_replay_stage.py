"""One question to a replay method: what its seed decides, and what a budget in tokens buys."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modicum.meter import Meter
from modicum.pool import Pool, RawRow, Turn
from modicum.replay import Plan, Stage, Task
from modicum.replay.chance import BalancedReplay, RandomReplay
from modicum.replay.deciding import decide, shortfall, stage_of, told
from modicum.replay.inscl import InsCL
from modicum.selection import Budget
from modicum.tags.column import Column


def task(name: str, rows: int, answer: str) -> Task:
    """Rows of one instruction that are all equally long."""
    turns = [
        (Turn("user", f"{name} {n:02d}?", False), Turn("assistant", answer, True))
        for n in range(rows)
    ]
    return Task(
        name, Pool.build(RawRow(None, name, name, said, 0, 0, 0, 0, name) for said in turns)
    )


SHORT, LONG, NEW = task("short", 40, "Yes."), task("long", 6, "Yes, " * 40), task("new", 2, "No.")
TAGS = Column({name: (name, "all") for name in ("short", "long", "new")})
Ask = Callable[..., Stage]


@pytest.fixture
def ask(meter: Meter) -> Ask:
    """A stage with a budget, by default of many short rows and few long ones."""

    def made(budget: str = "5", *old: Task, **more: Any) -> Stage:
        how = {"meter": meter, "current": meter, "tagger": TAGS, "seed": 0, **more}
        return stage_of(old or (SHORT, LONG), NEW, Budget.parse(budget), False, **how)

    return made


def picks(plan: Plan) -> list[list[int]]:
    return [[step.pick for step in steps] for steps in plan.steps]


def size(stage: Stage, old: int) -> int:
    """Tokens of a row of this old task."""
    (tokens,) = set(stage.lengths(old).tolist())
    return tokens


# What a seed decides


@pytest.mark.parametrize(
    "method",
    [
        RandomReplay(),
        BalancedReplay(),
        InsCL(how_much="size"),
        InsCL(how_much="uniform", which="random"),
    ],
    ids=["random", "balanced", "inscl", "inscl at random"],
)
def test_two_stages_draw_different_rows_with_one_seed(method: Any, ask: Ask) -> None:
    first, again, second = (picks(decide(method, ask(number=n))) for n in (1, 1, 2))
    assert first == again
    assert [len(rows) for rows in first] == [len(rows) for rows in second]
    assert set(first[0]) != set(second[0])


def test_what_a_stage_draws_of_a_task_does_not_depend_on_the_others(ask: Ask) -> None:
    among = decide(BalancedReplay(), ask("6", task("more", 9, "No."), LONG, SHORT, number=2))
    alone = decide(BalancedReplay(), ask("2", SHORT, number=2))
    assert picks(among)[2] == picks(alone)[0]


def test_a_task_keeps_the_seed_of_its_distances_at_every_stage(ask: Ask) -> None:
    early, late = ask("2", LONG, number=1), ask("2", SHORT, LONG, number=2)
    assert early.seeds() == late.seeds()[1:]  # long and new
    assert len(set(late.seeds())) == 3 and ask("2", LONG, seed=1).seeds() != early.seeds()


# Budgets in tokens


def test_tokens_are_shared_in_tokens_and_not_in_rows(ask: Ask) -> None:
    share = 3 * size(ask(), 1)  # three long rows for each
    stage = ask(f"{2 * share}tok")
    short, long = told(stage, decide(BalancedReplay(), stage))
    assert (long["replayed"], long["tokens"]) == (3, share)
    assert share - size(stage, 0) < short["tokens"] <= share
    assert short["replayed"] > 4 * long["replayed"]


def test_tokens_are_shared_by_weight(ask: Ask) -> None:
    old = (task("short", 90, "Yes."), task("long", 10, "Yes, " * 30))
    row = size(ask("1", *old), 1)
    stage = ask(f"{10 * row}tok", *old)
    short, long = told(stage, decide(RandomReplay(), stage))
    assert (long["share"], long["replayed"]) == (0.1, 1)
    assert 9 * row - size(stage, 0) < short["tokens"] <= 9 * row


def test_a_floor_is_kept_when_tokens_run_out(ask: Ask) -> None:
    stage = ask("1000tok")
    without = decide(RandomReplay(), stage)
    assert [len(rows) for rows in picks(without)][1] <= 1  # 6 of 46 parts are 130 tokens
    short, long = told(stage, decide(RandomReplay(floor=2), stage))
    assert long["replayed"] == 2 and short["replayed"] >= 2
    assert 1000 - size(stage, 0) < short["tokens"] + long["tokens"] <= 1000


@given(
    tokens=st.integers(1, 4000),
    floor=st.integers(0, 4),
    how_much=st.sampled_from(["size", "uniform"]),
)
@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_tokens_are_never_exceeded_and_floors_that_fit_are_met(
    ask: Ask, tokens: int, floor: int, how_much: Any
) -> None:
    stage = ask(f"{tokens}tok")
    short, long = told(stage, decide(RandomReplay(how_much, floor), stage))
    assert short["tokens"] + long["tokens"] <= tokens
    if floor * (size(stage, 0) + size(stage, 1)) <= tokens:
        assert min(short["replayed"], long["replayed"]) >= floor


def test_a_users_method_may_take_more_than_the_tokens_and_is_cut_to_them(ask: Ask) -> None:
    def everything(stage: Stage) -> Plan:
        return RandomReplay()(ask("46"))

    stage = ask("900tok")
    plan = decide(everything, stage)
    assert plan.quota_J.tolist() == [40, 6]
    assert 0 < sum(task["tokens"] for task in told(stage, plan)) <= 900


# What is told


@pytest.mark.parametrize(
    ("budget", "note"),
    [
        ("5tok", ["no row fits into 5 tokens"]),
        ("600tok", []),
        ("20ktok", ["all 46 old rows are replayed, {} tokens of 20,000"]),
        ("5", []),
        ("50", ["the budget allows 50 rows, 4 more than there are: no row is replayed twice"]),
    ],
)
def test_a_shortfall_is_told(budget: str, note: list[str], ask: Ask) -> None:
    stage = ask(budget)
    everything = 40 * size(stage, 0) + 6 * size(stage, 1)
    plan = decide(BalancedReplay(), stage)
    assert shortfall(stage, plan, "balanced") == [each.format(f"{everything:,}") for each in note]
    assert shortfall(stage, plan, "none") == []  # asks for nothing


def test_floors_above_the_budget_are_told(ask: Ask) -> None:
    stage = ask("3")
    plan = decide(RandomReplay(floor=2), stage)
    assert sorted(plan.quota_J.tolist()) == [1, 2]
    assert stage.notes == [
        "floor=2 asks for 4 rows, the budget is 3: shared evenly, whatever the weights"
    ]
