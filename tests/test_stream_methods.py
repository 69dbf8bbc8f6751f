"""What replay methods are asked in a stream, what they see, and what is told of their answers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from modicum.errors import BudgetError
from modicum.meter import Meter
from modicum.models import Model
from modicum.pool import Pool
from modicum.render import render
from modicum.replay import Plan, Stage
from modicum.scores.loss import Loss
from modicum.selection import Step
from modicum.store import Store
from modicum.training import Tuned
from test_stream import ASKED, Go, Tunings, go, quick, replayed, run, task_files

__all__ = ["go", "quick"]

SEEN: list[tuple[Path, Path]] = []


def looking(stage: Stage) -> Plan:
    """A method of the user's own, which replays the first row of each old task."""
    SEEN.append((stage.meter.model.folder, stage.current.model.folder))
    one_J = np.ones(len(stage.old), dtype=np.int64)
    return Plan(one_J, one_J.astype(float), tuple((Step(0, "first"),) for _ in stage.old))


def test_a_method_sees_the_base_and_the_model_as_it_is(go: Go, tiny_model: Model):
    SEEN.clear()
    ran = go(methods="test_stream_methods:looking")
    models, (arm,) = ran.folder / "models", ran.record["arms"]
    assert {base for base, _ in SEEN} == {tiny_model.folder}
    assert [current for _, current in SEEN] == [
        tiny_model.folder,  # the rehearsal, of either stage
        tiny_model.folder,
        models / "alone-0-s0",
        models / arm["name"] / "1",
    ]
    assert arm["name"] == "test_stream_methods_looking-given-s0"
    assert [len(replayed(stage)) for stage in arm["stages"][1:]] == [1, 2]


def single_minded(stage: Stage) -> Plan:
    """A method that cannot choose from one task."""
    if len(stage.old) == 1:
        raise BudgetError("one task is too few")
    return looking(stage)


@pytest.mark.parametrize("orders", [["given"], ["given", "easy-hard"]])
def test_a_method_is_tried_on_every_stage_before_anything_is_tuned(
    go: Go, quick: Tunings, orders: list[str]
):
    with pytest.raises(BudgetError, match="one task is too few"):
        go(methods="random,test_stream_methods:single_minded", orders=orders)
    assert quick.trained == []
    SEEN.clear()
    go(methods="test_stream_methods:looking", orders=orders, seeds=range(2))
    assert len(SEEN) == 2 * len(orders) + 2 * 2 * len(orders)  # the rehearsal has one seed


def boastful(stage: Stage) -> Plan:
    """A method whose facts have names of ours."""
    ours = ("rows", "allowed", "tasks", "notes", "made_from", "round", "ledger")
    stage.facts.update(dict.fromkeys(ours, "mine"))
    return looking(stage)


def test_facts_of_a_users_method_do_not_take_the_place_of_ours(go: Go):
    (arm,) = go(methods="test_stream_methods:boastful").record["arms"]
    for t, stage in enumerate(arm["stages"][1:], 1):
        told = stage["replay"]
        assert (told["rows"], told["allowed"]) == (t, 2) and told["notes"] != "mine"
        assert [task["task"] for task in told["tasks"]] == list(ASKED)[:t]
        assert told["round"] == "mine"  # of a name that is not ours here


def test_the_draws_of_a_task_differ_from_stage_to_stage(go: Go):
    (arm,) = go(methods="balanced", budget="2", per_task=True).record["arms"]
    first, second = (stage["replay"]["tasks"][0]["rows"] for stage in arm["stages"][1:])
    assert len(first) == len(second) == 2
    assert {row["id"] for row in first} != {row["id"] for row in second}


def test_tags_that_only_held_out_rows_have_are_not_looked_at(
    quick: Tunings, tiny_model: Model, tmp_path: Path
):
    paths = task_files(tmp_path)
    for path in map(Path, paths):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        tagged = [row | {"tags": [f"tag of {row['id']}"]} for row in rows]  # each has its own
        path.write_text("".join(json.dumps(row) + "\n" for row in tagged))
    how = {"methods": "inscl", "fields": {"tags": "tags"}}
    ran = run(paths, tmp_path / "out", tiny_model, **how)
    (arm,) = ran.record["arms"]
    told = [stage["replay"]["tags"] for stage in arm["stages"][1:]]
    assert [tags["tagger"] for tags in told] == ["column", "column"]
    assert [tags["distinct"] for tags in told] == [2 * 4, 3 * 4]  # of 6 rows 2 are held out


def test_surprise_takes_what_the_current_model_finds_hard(
    go: Go, tiny_model: Model, tmp_path: Path
):
    more = {"evaluation": task_files(tmp_path / "eval", first=10), "holdout": None}
    ran = go(methods="surprise(guard=0)", budget="6", keep_models="all", **more)
    pool = Pool.read(tmp_path / "sums.jsonl")

    def hardest_first(model: Model) -> list[str]:
        loss_N = Loss()(pool, Meter(model, Store(tmp_path / "measured" / model.folder.name)))
        return [pool.ids[i] for i in np.argsort(-loss_N)]

    current = Tuned(ran.folder / "models" / "alone-0-s0", {}).model(tiny_model)
    assert replayed(ran.record["arms"][0]["stages"][1]) == hardest_first(current)
    assert hardest_first(current) != hardest_first(tiny_model)


def test_a_token_budget_is_not_exceeded(go: Go, tiny_model: Model, tmp_path: Path):
    ran = go(methods="random", budget="100tok")
    pool = Pool.read(*(tmp_path / f"{task}.jsonl" for task in ASKED))
    tokens = dict(zip(pool.ids, render(pool, tiny_model.tokenizer).lengths_N, strict=True))
    for stage in ran.record["arms"][0]["stages"][1:]:
        assert 0 < sum(tokens[name] for name in replayed(stage)) <= 100
        told = stage["replay"]
        assert sum(task["tokens"] for task in told["tasks"]) <= 100 and told["allowed"] is None


def test_per_task_the_budget_grows_with_the_tasks(go: Go):
    (arm,) = go(methods="random", per_task=True).record["arms"]
    assert [stage["replay"]["rows"] for stage in arm["stages"][1:]] == [2, 4]


def test_a_budget_above_what_there_is_replays_all_and_says_so(go: Go):
    (arm,) = go(methods="balanced", budget="100").record["arms"]
    told = [stage["replay"] for stage in arm["stages"][1:]]
    assert [(each["rows"], each["allowed"]) for each in told] == [(4, 100), (8, 100)]
    assert [each["notes"] for each in told] == [
        [f"the budget allows 100 rows, {more} more than there are: no row is replayed twice"]
        for more in (96, 92)
    ]
