"""A new task's rows with old ones among them: what is left out, how many, and of whose method."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modicum.errors import BudgetError, InputError, OptionError
from modicum.mixed import manifest_of
from modicum.mixing import Mix, mix, repeated
from modicum.models import Model
from modicum.pool import Pool
from modicum.replay import Plan, Stage
from modicum.selection import Step
from modicum.store import Store

Turns = list[tuple[str, str]]
SUMS: list[Turns] = [[("user", f"Add {n} and 1."), ("assistant", f"{n + 1}")] for n in range(6)]
COLOURS: list[Turns] = [
    [("user", f"Name colour {n}."), ("assistant", "Blue, " * n + "red.")] for n in range(4)
]
NEW: list[Turns] = [
    [("user", f"Spell {word}."), ("assistant", "-".join(word))] for word in ("cat", "dog")
]
TALK: Turns = [*SUMS[0], ("user", "And 2?"), ("assistant", "3")]


def row(turns: Turns, format: str, **more: Any) -> dict[str, Any]:
    if format == "messages":
        return {"messages": [{"role": r, "content": c} for r, c in turns]} | more
    (_, asked), (_, answer) = turns
    return {"instruction": asked, "input": "", "output": answer} | more


def save(path: Path, rows: list[Turns], format: str = "messages", **more: Any) -> Path:
    made = [row(turns, format, **more) for turns in rows]
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(made), path)
    else:
        path.write_text("".join(json.dumps(one) + "\n" for one in made), encoding="utf-8")
    return path


Blend = Callable[..., Mix]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("measured"))


@pytest.fixture
def blend(tmp_path: Path, tiny_model: Model, shared: Store) -> Blend:
    """A mix of old rows, by default 6 sums and 4 colours, with 2 new ones."""

    def made(method: Any = "random", budget: Any = 4, **more: Any) -> Mix:
        old = more.pop("old", None) or [
            save(tmp_path / "sums.jsonl", SUMS),
            save(tmp_path / "colours.jsonl", COLOURS),
        ]
        new = more.pop("new", None) or save(tmp_path / "new.jsonl", NEW)
        fields = more.pop("fields", {})
        pools = Pool.read(*old, **fields), Pool.read(new, **fields)
        return mix(*pools, method, budget, tiny_model, **{"store": shared, **more})

    return made


def said(pool: Pool) -> list[Any]:
    return [[(turn.role, turn.content) for turn in example.turns] for example in pool]


def manifest(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(manifest_of(path).read_text(encoding="utf-8"))
    return found


def replayed(made: Mix) -> list[int]:
    return [len(steps) for steps in made.plan.steps]


# What is left out


def test_a_row_that_the_new_task_or_an_old_row_before_it_holds_is_left_out(
    blend: Blend, tmp_path: Path
) -> None:
    one = save(tmp_path / "one.jsonl", [SUMS[0], NEW[1], SUMS[0]])
    two = save(tmp_path / "two.jsonl", [SUMS[0], SUMS[1]], note="the fields do not count")
    made = blend(old=[one, two], budget=10)
    new = tmp_path / "new.jsonl"
    assert made.left_out_old == {
        1: f"the same row: {new}:2",
        2: f"the same row: {one}:1",
        3: f"the same row: {one}:1",
    }
    assert replayed(made) == [1, 1] and sorted(made.picks.tolist()) == [0, 4]


def test_repeated_rows_in_the_new_task_stay(blend: Blend, tmp_path: Path) -> None:
    made = blend(new=save(tmp_path / "twice.jsonl", [NEW[0], NEW[0]]))
    assert made.new_places.tolist() == [0, 1] and made.left_out_new == {}


def test_a_repeated_row_is_named_by_its_first_place(tmp_path: Path) -> None:
    new = Pool.read(save(tmp_path / "new.jsonl", [NEW[0], NEW[0]]))
    old = Pool.read(save(tmp_path / "old.jsonl", [NEW[0], SUMS[0]]))
    assert repeated(old, new) == {0: f"the same row: {tmp_path / 'new.jsonl'}:1"}


def test_an_old_row_that_the_new_format_cannot_hold_is_left_out(
    blend: Blend, tmp_path: Path
) -> None:
    old = save(tmp_path / "talk.jsonl", [TALK, SUMS[1], SUMS[2]])
    new = save(tmp_path / "new.jsonl", NEW, "alpaca")
    made = blend(old=[old], new=new, budget=3, ending=".jsonl")
    assert list(made.left_out_old) == [0] and "several turns" in made.left_out_old[0]
    path = made.write(tmp_path / "mix.jsonl")
    assert len(Pool.read(path)) == 4
    (told,) = manifest(path)["left_out"]
    assert told["where"] == f"{old}:1" and told["reason"] == made.left_out_old[0]


def test_rows_that_are_too_long_are_left_out_of_both_sides(blend: Blend, tmp_path: Path) -> None:
    long: Turns = [("user", "Go on."), ("assistant", "on and " * 30)]
    old = save(tmp_path / "old.jsonl", [SUMS[0], long])
    new = save(tmp_path / "new.jsonl", [[("user", "Go."), long[1]], NEW[0]])
    made = blend(old=[old], new=new, budget=5, max_tokens=100)
    assert list(made.left_out_old) == [1] and list(made.left_out_new) == [0]
    assert made.left_out_old[1].startswith("too long: ")
    assert len(Pool.read(made.write(tmp_path / "mix.jsonl"))) == 2
    with pytest.raises(InputError, match="none of the 2 new rows can be used: too long"):
        blend(old=[old], new=new, max_tokens=5)


def test_a_new_row_that_the_ending_cannot_hold_is_refused_before_anything_is_measured(
    blend: Blend, tmp_path: Path
) -> None:
    def measure(stage: Stage) -> Plan:
        raise AssertionError(stage)

    nul: Turns = [("user", "Spell nothing."), ("assistant", "\0")]
    new = save(tmp_path / "new.jsonl", [NEW[0], nul], "alpaca")
    with pytest.raises(InputError, match=r"new\.jsonl:2: .*NUL.* give the mixed file the ending"):
        blend(measure, new=new, ending=".csv")


def test_a_new_pool_without_rows_is_refused(blend: Blend, tiny_model: Model, shared: Store) -> None:
    made = blend()
    nothing = made.new.take(np.array([], dtype=np.int64))
    with pytest.raises(InputError, match="none of the 0 new rows can be used: it is empty"):
        mix(made.old, nothing, "random", 4, tiny_model, store=shared)


def test_tags_of_rows_that_are_left_out_are_not_looked_at(blend: Blend, tmp_path: Path) -> None:
    long: Turns = [("user", "Name colour 0."), ("assistant", "on and " * 40)]
    short = save(tmp_path / "short.jsonl", COLOURS[:1], tags=["colour"])
    endless = save(tmp_path / "long.jsonl", [long], tags=["endless"])  # of the same instruction
    new = save(tmp_path / "tagged.jsonl", NEW, tags=["letters"])
    how = {"old": [short, endless], "new": new, "fields": {"tags": "tags"}}
    made = blend("inscl", 1, max_tokens=150, **how)
    assert list(made.left_out_old) == [1]
    assert made.stage.facts["tags"]["distinct"] == 2
    assert "(tags colour)" in made.steps[0][1].reason


# How many


def test_a_share_is_of_the_old_rows_that_can_be_replayed(blend: Blend, tmp_path: Path) -> None:
    assert replayed(blend(budget="50%")) == [3, 2]
    old = save(tmp_path / "old.jsonl", [*SUMS, *SUMS, *COLOURS])
    assert replayed(blend(old=[old], budget="50%")) == [5]


def test_a_budget_per_task_is_that_of_each_on_average(blend: Blend) -> None:
    assert replayed(blend(budget=2, per_task=True)) == [2, 2]  # 4 in all: 2.4 and 1.6 by size
    assert replayed(blend("balanced", 3, per_task=True)) == [3, 3]
    assert replayed(blend(budget="50%", per_task=True)) == [3, 2]


@given(tokens=st.integers(1, 900), per_task=st.booleans(), seed=st.integers(0, 3))
@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_budget_of_tokens_is_never_exceeded(
    blend: Blend, tokens: int, per_task: bool, seed: int
) -> None:
    made = blend(budget=f"{tokens}tok", per_task=per_task, seed=seed)
    lengths_N = made.stage.meter.rendered(made.old).lengths_N
    assert lengths_N[made.picks].sum() <= tokens * (1 + per_task)
    if tokens >= lengths_N.sum() * 2:
        assert len(made.picks) == len(made.old)


def test_more_rows_than_there_are_are_all_and_the_shortfall_is_told(
    blend: Blend, tmp_path: Path
) -> None:
    path = blend(budget=15).write(tmp_path / "mix.jsonl")
    told = manifest(path)
    assert told["counts"]["replayed"] == 10 and told["counts"]["allowed"] == 15
    assert told["notes"] == [
        "the budget allows 15 rows, 5 more than there are: no row is replayed twice"
    ]


def test_replaying_none_is_no_shortfall(blend: Blend, tmp_path: Path) -> None:
    assert manifest(blend("none").write(tmp_path / "mix.jsonl"))["notes"] == []


def test_tasks_are_named_by_source_or_row_by_row(blend: Blend) -> None:
    assert [task.name for task in blend().stage.old] == ["sums", "colours"]
    made = blend("balanced", 4, tasks=["odd", "even"] * 5)
    assert [task.name for task in made.stage.old] == ["odd", "even"]
    assert all(pick % 2 == j for pick, (j, _) in zip(made.picks, made.steps, strict=True))
    with pytest.raises(OptionError, match="3 tasks are named for 10 old rows"):
        blend(tasks=["a", "b", "c"])


def test_surprise_names_the_true_rank_of_every_row(blend: Blend) -> None:
    for steps in blend("surprise", 10).plan.steps:
        hardest_first = sorted(steps, key=lambda step: -step.gain)
        # The very hardest is guarded: it comes last, and still is number 1.
        assert [*steps] == [*hardest_first[1:], hardest_first[0]]
        for rank, step in enumerate(hardest_first, 1):
            assert f"number {rank} from the top" in step.reason
            assert step.reason.endswith(", guarded") == (rank == 1)


# A method of the user's own


def plan(*picks: list[int], weights: Any = None) -> Plan:
    weight_J = np.ones(len(picks)) if weights is None else weights
    quota_J = np.array([len(each) for each in picks])
    return Plan(quota_J, weight_J, tuple(tuple(Step(p, "mine") for p in each) for each in picks))


def test_a_callable_is_a_method(blend: Blend, tmp_path: Path) -> None:
    made = blend(lambda stage: plan([5, 0], [3]), 4)
    assert made.picks.tolist() == [5, 0, 9]
    path = made.write(tmp_path / "mix.jsonl")
    assert [each["gain"] for each in manifest(path)["replayed"]] == [None] * 3  # no NaN in JSON
    assert manifest(path)["notes"] == ["the method took 3 of the 4 rows that it could"]


def test_facts_of_a_users_method_do_not_take_the_place_of_ours(
    blend: Blend, tmp_path: Path
) -> None:
    def talkative(stage: Stage) -> Plan:
        ours = ("command", "method", "tasks", "replayed", "counts", "notes", "ledger", "blake2b")
        stage.facts.update(dict.fromkeys((*ours, "mood"), "mine"))
        return plan([0], [])

    path = blend(talkative, 4).write(tmp_path / "mix.jsonl")
    told = manifest(path)
    assert [name for name, value in told.items() if value == "mine"] == ["mood"]
    assert [task["task"] for task in told["tasks"]] == ["sums", "colours"]
    assert blend(talkative, 4).write(path) == path  # it knows its own command again


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (None, "returns a Plan"),
        (plan([0]), "returns a Plan"),  # of one task, where there are two
        (plan([0, 0], []), "task sums: the method picked row 0 twice"),
        (plan([], [4]), "task colours: the method picked row 4; the pool has rows 0 to 3"),
        (plan([-1, 2], []), "task sums: the method picked row -1"),
        (plan([0, 1, 2], [0, 1]), "picked 5 rows, the budget is 4"),
        (plan([0], [], weights=np.array([np.nan, 1.0])), "weight_J is"),
        (plan([0], [], weights=np.ones(3)), "weight_J is"),
        (plan([0], [])._replace(quota_J=np.array([1])), "quota_J is"),
    ],
)
def test_what_a_method_may_not_do_is_refused(blend: Blend, made: Any, said: str) -> None:
    with pytest.raises(BudgetError, match=re.escape(said)):
        blend(lambda stage: made, 4)


def test_a_method_sees_only_rows_that_can_be_replayed(blend: Blend, tmp_path: Path) -> None:
    seen: list[Stage] = []

    def look(stage: Stage) -> Plan:
        seen.append(stage)
        return plan([1])

    old = save(tmp_path / "old.jsonl", [NEW[0], SUMS[0], SUMS[0], SUMS[1]])
    made = blend(look, 2, old=[old], new_task="spelling")
    assert said(seen[0].old[0].pool) == SUMS[:2] and seen[0].new.name == "spelling"
    assert made.picks.tolist() == [3]  # the second that can be is the fourth of the file
