"""What holds for every replay method, present and future."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest

import modicum.replay
from modicum.errors import OptionError
from modicum.meter import Meter
from modicum.mixing import Mix, mix
from modicum.models import Model
from modicum.parts import build, describe, members
from modicum.pool import Pool, RawRow, Turn
from modicum.show import _flat
from modicum.store import Store

METHODS = members("modicum.replay")
NO_METHODS = {"deciding", "instructions", "stage"}  # files of the room that hold none
ASKED = {
    "sums": ("Add the numbers.", 5),
    "more sums": ("Take one number from the other.", 2),
    "poems": ("Write a poem.", 3),
    "colours": ("Name a colour.", 1),
    "new": ("Which season is it?", 3),
}
TAGS = {
    "sums": ("arithmetic",),
    "more sums": ("arithmetic", "subtraction"),
    "poems": ("poetry", "writing"),
    "colours": ("naming",),
    "new": ("naming", "weather"),
}
SIZES = {"sums": 7, "poems": 3, "colours": 1}  # "more sums" are sums
# Methods that look at no row of an old task: one that cannot be measured may be replayed.
MEASURE_NO_ROW = {"balanced", "inscl", "none", "random"}
# What such a method picks in one task may depend on the others: InsInfo is of all tasks.
LOOK_AT_ALL_TASKS = {"inscl"}
REPLAY_NOTHING = {"none"}

every_method = pytest.mark.parametrize("name", METHODS)
Choose = Callable[..., Mix]


def rows_of(*names: str) -> Pool:
    """Rows of these kinds; `more sums` are of the task sums."""
    made = []
    for name in names:
        instruction, count = ASKED[name]
        for n in range(count):
            asked, answer = f"{instruction} {n} and {3 * n}", f"{name} " * (n + 1)
            turns = (Turn("user", asked, False), Turn("assistant", answer, True))
            task = name.removeprefix("more ")
            made.append(
                RawRow(f"{name}-{n}", task, instruction, turns, 0, n, 0, 0, task, TAGS[name])
            )
    return Pool.build(made)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("measured"))


@pytest.fixture
def choose(tiny_model: Model, shared: Store) -> Choose:
    """A mix of three old tasks, of 7, 3 and 1 rows, and a new one of 3."""

    def made(name: str, rows: Any = 6, old: Any = tuple(ASKED)[:4], **more: Any) -> Mix:
        pool = old if isinstance(old, Pool) else rows_of(*old)
        return mix(pool, rows_of("new"), name, rows, tiny_model, **{"store": shared, **more})

    return made


def quotas(chosen: Mix) -> dict[str, int]:
    told = zip(chosen.stage.old, chosen.plan.steps, strict=True)
    return {task.name: len(steps) for task, steps in told}


def test_every_file_of_the_room_holds_a_method() -> None:
    files = {info.name for info in pkgutil.iter_modules(modicum.replay.__path__)}
    assert {kind.__module__.rpartition(".")[2] for kind in METHODS.values()} == files - NO_METHODS


@every_method
def test_it_states_its_paper_needs_cost_and_failures(name: str) -> None:
    for said in ("paper", "needs", "cost", "fails"):
        assert len(getattr(METHODS[name], said)) > 5, said
    assert METHODS[name].__doc__


@every_method
@pytest.mark.parametrize("rows", [1, 4, 10, 11, 50])
def test_quotas_add_up_to_the_budget_or_to_all_there_is(
    name: str, rows: int, choose: Choose
) -> None:
    chosen = choose(name, rows)
    wanted = 0 if name in REPLAY_NOTHING else min(rows, 11)
    assert sum(quotas(chosen).values()) == len(chosen.picks) == wanted
    assert chosen.plan.quota_J.tolist() == list(quotas(chosen).values())
    assert all(quotas(chosen)[task] <= size for task, size in SIZES.items())


@every_method
def test_no_row_is_picked_twice_and_each_is_of_its_task(name: str, choose: Choose) -> None:
    chosen = choose(name, 11)
    assert len(set(chosen.picks.tolist())) == len(chosen.picks)
    found = [chosen.old.sources[pick] for pick in chosen.picks]
    assert found == [chosen.stage.old[j].name for j, _ in chosen.steps]


@every_method
def test_every_step_has_a_reason_and_every_task_a_weight(name: str, choose: Choose) -> None:
    chosen = choose(name, 11)
    assert all(step.reason.strip() for _, step in chosen.steps)
    assert chosen.plan.weight_J.shape == (3,)
    assert np.isfinite(chosen.plan.weight_J).all() and (chosen.plan.weight_J >= 0).all()


@every_method
def test_same_seed_same_picks_in_the_same_order(name: str, choose: Choose) -> None:
    first, second = choose(name, 5, seed=3), choose(name, 5, seed=3)
    assert repr(first.plan.steps) == repr(second.plan.steps)
    assert first.order.tolist() == second.order.tolist()


def test_seeds_change_what_is_drawn(choose: Choose) -> None:
    drawn = {tuple(choose("random", 3, seed=seed).picks.tolist()) for seed in range(5)}
    assert len(drawn) > 3


@pytest.mark.parametrize("name", sorted(set(METHODS) - LOOK_AT_ALL_TASKS))
def test_what_is_taken_of_a_task_does_not_depend_on_the_other_tasks(
    name: str, choose: Choose
) -> None:
    orders = []
    for names in (("sums", "more sums", "poems"), ("poems", "colours", "sums", "more sums")):
        chosen = choose(name, 50, old=names)
        steps = dict(zip((t.name for t in chosen.stage.old), chosen.plan.steps, strict=True))
        orders.append(repr(steps["sums"]))
    assert orders[0] == orders[1]


@every_method
def test_picks_do_not_depend_on_the_batch_size(
    name: str, choose: Choose, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    picks = []
    for tokens in (1, 100_000):
        monkeypatch.setattr("modicum.measure.BATCH_TOKENS", tokens)
        picks.append(choose(name, 5, store=Store(tmp_path / str(tokens))).picks.tolist())
    assert picks[0] == picks[1]


@every_method
def test_a_row_that_cannot_be_measured_is_never_picked(
    name: str, choose: Choose, monkeypatch: pytest.MonkeyPatch
) -> None:
    for room in ("modicum.views", "modicum.scores"):
        for kind in members(room).values():
            monkeypatch.setattr(kind, "__call__", without("sums-2", kind.__call__))
    chosen = choose(name, 50)
    picked = [chosen.old.ids[pick] for pick in chosen.picks]
    if name in MEASURE_NO_ROW:
        assert len(picked) == (0 if name in REPLAY_NOTHING else 11)
    else:
        assert "sums-2" not in picked and len(picked) == 10


@every_method
def test_a_task_of_which_nothing_can_be_measured_gets_nothing(
    name: str, choose: Choose, monkeypatch: pytest.MonkeyPatch
) -> None:
    for room in ("modicum.views", "modicum.scores"):
        for kind in members(room).values():
            monkeypatch.setattr(kind, "__call__", without("colours-0", kind.__call__))
    expected = 0 if name in REPLAY_NOTHING else 11 - (name not in MEASURE_NO_ROW)
    assert len(choose(name, 50).picks) == expected


def without(row: str, call: Any) -> Any:
    def measured(self: Any, seen: Pool, meter: Meter, **more: Any) -> np.ndarray:
        values_N = np.array(call(self, seen, meter, **more))
        values_N[[i for i, id in enumerate(seen.ids) if id == row]] = np.nan
        return values_N

    return measured


@pytest.mark.parametrize(
    "name", [name for name, kind in METHODS.items() if "floor" in {f.name for f in fields(kind)}]
)
def test_a_floor_is_met_where_there_are_so_many_rows(name: str, choose: Choose) -> None:
    assert quotas(choose(name, 3, floor=1)) == {"sums": 1, "poems": 1, "colours": 1}
    met = quotas(choose(name, 7, floor=3))
    assert met == {"sums": 3, "poems": 3, "colours": 1}
    with pytest.raises(OptionError, match="floor=-1"):
        choose(name, 3, floor=-1)


@every_method
def test_a_task_without_a_row_that_can_be_replayed_is_told(name: str, choose: Choose) -> None:
    chosen = choose(name, 50, old=("new", "poems"))  # the first are rows of the new task
    assert quotas(chosen) == {"poems": 0 if name in REPLAY_NOTHING else 3}
    assert "no row of new can be replayed" in chosen.stage.notes
    assert {why.partition(":")[0] for why in chosen.left_out_old.values()} == {"the same row"}


@every_method
@pytest.mark.parametrize("budget", [3, "10%", "100tok"])
def test_without_any_row_to_replay_the_new_ones_are_the_mix(
    name: str, budget: Any, choose: Choose
) -> None:
    chosen = choose(name, budget, old=("new",))
    assert len(chosen.picks) == 0 and sorted(chosen.order.tolist()) == [0, 1, 2]


@every_method
def test_one_old_task_gets_the_whole_budget(name: str, choose: Choose) -> None:
    chosen = choose(name, 2, old=("poems",))
    assert quotas(chosen) == {"poems": 0 if name in REPLAY_NOTHING else 2}


@every_method
def test_its_description_builds_it_again(name: str) -> None:
    made = build(METHODS[name], {})
    flat = {key: str(value) for key, value in _flat(describe(made)) if key != "name"}
    assert build(METHODS[name], flat) == made
    assert replace(made) == made


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("surprise", {"guard": 1.0}),
        ("surprise", {"guard": -0.1}),
        ("inscl", {"eps": 0.0}),
        ("inscl", {"eps": 1.0}),
        ("inscl", {"min_samples": 0}),
        ("inscl", {"which": "longest"}),
        ("inscl", {"how_much": "distances"}),
        ("random", {"how_much": "distance"}),
        ("prototype", {"clusters": 2.5}),
        ("none", {"floor": 1}),
    ],
)
def test_options_out_of_range_are_refused(name: str, options: dict[str, Any]) -> None:
    with pytest.raises(OptionError):
        build(METHODS[name], options)


def test_prototype_refuses_less_than_one_cluster(choose: Choose) -> None:
    with pytest.raises(OptionError, match="clusters=0"):
        choose("prototype", 3, clusters=0)
