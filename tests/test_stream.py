"""A stream: what every stage replays, is tuned on and is measured on, and what all of it cost."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from modicum.evaluation import evaluate
from modicum.jobs.folders import Done
from modicum.jobs.reading import Reading
from modicum.jobs.stream import Wanted, run_stream
from modicum.ledger import Ledger
from modicum.meter import Meter
from modicum.models import Model
from modicum.pool import Pool
from modicum.render import Rendered, render
from modicum.store import Store
from modicum.training import Recipe, Tuned
from quick_tuning import QuickTuning

ASKED = {
    "sums": ("Add the two numbers.", "Name the larger number."),
    "colours": ("Name the colour of this.", "Is this a warm colour?"),
    "rivers": ("Where does the river end?", "How long is the river?"),
}
ROWS = 6  # of each task, 2 of them held out
METHODS = "inscl,random,none"


# What the command line gives where nothing is said, but shorter.
WANTED: dict[str, Any] = {
    "methods": "random,none",
    "budget": "2",
    "per_task": False,
    "orders": ["given"],
    "seeds": range(1),
    "holdout": "2",
    "evaluation": (),
    "settings": {},
    "recipe": Recipe(),
    "tagger": None,
    "generate": False,
    "max_new_tokens": 2,
    "keep_models": "none",
    "too_long": "drop",
    "max_tokens": None,
}


class Tunings(QuickTuning):
    """The stand-in, which also remembers each tuning by the end of its folder's path."""

    def __init__(self) -> None:
        super().__init__()
        self.made: dict[str, dict[str, Any]] = {}

    def __call__(self, rendered: Rendered, model: Model, folder: Path, *how: Any, **more: Any):
        tuned = super().__call__(rendered, model, folder, *how, **more)
        self.made["/".join(folder.parts[-2:])] = self.calls[-1] | {"tuned": tuned}
        return tuned


class Ran(NamedTuple):
    """A finished stream."""

    folder: Path
    record: dict[str, Any]  # stream.json
    done: Done

    @property
    def arms(self) -> dict[str, dict[str, Any]]:
        return {arm["name"]: arm for arm in self.record["arms"]}


Go = Callable[..., Ran]


def task_files(folder: Path, first: int = 0) -> tuple[str, ...]:
    """A file for each task; ids are the task's name and a number."""
    folder.mkdir(exist_ok=True)
    paths = []
    for task, asked in ASKED.items():
        rows = [
            {"id": f"{task}{i}", "instruction": asked[i % 2], "input": f"{task} {i}"}
            | {"output": f"{i} {task} it is."}
            for i in range(first, first + ROWS)
        ]
        path = folder / f"{task}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        paths.append(str(path))
    return tuple(paths)


def run(paths: tuple[str, ...], folder: Path, model: Model, **more: Any) -> Ran:
    """As the command line does it."""
    reading = Reading(paths, fields=more.pop("fields", None))
    done = run_stream(reading, folder, Wanted(**WANTED | more), model)
    return Ran(folder, json.loads((folder / "stream.json").read_text()), done)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Tunings:
    """Nothing is tuned in earnest, and nothing measured before is at hand."""
    stand_in = Tunings()
    monkeypatch.setattr("modicum.stream.course.tune", stand_in)
    monkeypatch.setenv("MODICUM_CACHE", str(tmp_path / "cache"))
    return stand_in


@pytest.fixture
def go(quick: Tunings, tiny_model: Model, tmp_path: Path) -> Go:
    paths = task_files(tmp_path)
    return lambda name="out", **more: run(paths, tmp_path / name, tiny_model, **more)


class Whole(NamedTuple):
    """A stream of three methods, two orders and two seeds; its tunings; what it generated."""

    ran: Ran
    tunings: Tunings
    generated: int


@pytest.fixture(scope="module")
def whole(tiny_model: Model, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    folder, tunings, spent = tmp_path_factory.mktemp("whole"), Tunings(), list[int]()

    def counted(rows: Pool, meter: Meter, measures: Any, **how: Any):
        before = meter.ledger.generated_tokens
        found = evaluate(rows, meter, measures, **how)
        spent.append(meter.ledger.generated_tokens - before)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("modicum.stream.course.tune", tunings)
        patch.setattr("modicum.stream.bench.evaluate", counted)
        patch.setenv("MODICUM_CACHE", str(folder / "cache"))
        more = {"orders": ["given", "easy-hard"], "seeds": range(2), "generate": True}
        more |= {"methods": METHODS, "keep_models": "all"}
        ran = run(task_files(folder), folder / "out", tiny_model, **more)
        yield Whole(ran, tunings, sum(spent))


@pytest.fixture(scope="module")
def id_of(whole: Whole, tiny_model: Model) -> dict[bytes, str]:
    """Row ids by the token ids of the row."""
    pool = Pool.read(*(f["path"] for f in whole.ran.done.manifest["inputs"]))
    rendered = render(pool, tiny_model.tokenizer)
    return {row(rendered, i): name for i, name in enumerate(pool.ids)}


@pytest.fixture(scope="module")
def held_out(whole: Whole, id_of: dict[bytes, str]) -> list[str]:
    """The rows that no tuning had."""
    learned = {name for call in whole.tunings.calls for name in ids(call["rendered"], id_of)}
    return [name for name in id_of.values() if name not in learned]


def row(rendered: Rendered, i: int) -> bytes:
    return rendered.ids[rendered.starts[i] : rendered.starts[i + 1]].tobytes()


def ids(rendered: Rendered, id_of: dict[bytes, str]) -> list[str]:
    return [id_of[row(rendered, i)] for i in range(len(rendered))]


def replayed(stage: dict[str, Any]) -> list[str]:
    return [row["id"] for task in stage["replay"]["tasks"] for row in task["rows"]]


# What is learned


def test_a_stage_is_tuned_on_the_new_rows_and_the_picks_and_no_others(
    whole: Whole, id_of: dict[bytes, str]
):
    learned = {
        name: ids(whole.tunings.made[f"models/alone-{i}-s0"]["rendered"], id_of)
        for i, name in enumerate(ASKED)
    }
    assert all(len(rows) == 4 for rows in learned.values())
    for name, arm in whole.ran.arms.items():
        for t, stage in enumerate(arm["stages"][1:], 1):
            tuned_on = ids(whole.tunings.made[f"{name}/{t}"]["rendered"], id_of)
            assert tuned_on == learned[stage["task"]] + replayed(stage)
            assert stage["training"]["rows"] == len(tuned_on)


def test_two_rows_of_each_task_are_in_no_tuning(whole: Whole, held_out: list[str]):
    both = {task: [name for name in held_out if name.startswith(task)] for task in ASKED}
    assert [len(names) for names in both.values()] == [2, 2, 2]
    assert whole.ran.record["tasks"] == [
        {"task": task, "train": 4, "test": 2, "held_out": names} for task, names in both.items()
    ]


def test_every_stage_goes_on_from_the_model_of_the_last(whole: Whole, tiny_model: Model):
    folder, given = whole.ran.folder / "models", list(ASKED)
    for i in range(3):
        assert whole.tunings.made[f"models/alone-{i}-s0"]["start"] == tiny_model.folder
    for name, arm in whole.ran.arms.items():
        first = folder / f"alone-{given.index(arm['tasks'][0])}-s{arm['seed']}"
        assert whole.tunings.made[f"{name}/1"]["start"] == first
        assert whole.tunings.made[f"{name}/2"]["start"] == folder / name / "1"


def test_the_first_stage_and_the_expert_are_one_training(whole: Whole):
    firsts = {(arm["tasks"][0], arm["seed"]) for arm in whole.ran.record["arms"]}
    alone = {(task, 0) for task in ASKED} | firsts  # the experts have the first seed
    assert len(whole.ran.arms) == 3 * 2 * 2
    assert len(whole.tunings.trained) == len(alone) + 12 * 2
    for arm in whole.ran.record["arms"]:
        if arm["seed"] == 0:
            first = arm["stages"][0]
            assert first["scores"][first["task"]] == whole.ran.record["experts"][first["task"]]


def test_replay_facts_are_true(whole: Whole):
    for arm in whole.ran.record["arms"]:
        first, *others = arm["stages"]
        assert first["replay"] is None
        for t, stage in enumerate(others, 1):
            told = stage["replay"]
            assert [task["task"] for task in told["tasks"]] == arm["tasks"][:t]
            assert told["allowed"] == 2 and told["rows"] == (0 if arm["method"] == "none" else 2)
            for task in told["tasks"]:
                assert len(task["rows"]) == task["quota"] == task["replayed"]
                assert task["available"] == 4
                assert all(row["id"].startswith(task["task"]) for row in task["rows"])
                assert all(row["reason"] for row in task["rows"])


def test_a_replayed_row_says_where_it_stands_and_its_gain(
    whole: Whole, held_out: list[str], id_of: dict[bytes, str]
):
    rows_of = [name for name in id_of.values() if name not in held_out]  # as the tasks were given
    for name, measured in (("inscl-given-s1", True), ("random-given-s1", False)):
        rows = [
            row
            for stage in whole.ran.arms[name]["stages"][1:]
            for task in stage["replay"]["tasks"]
            for row in task["rows"]
        ]
        assert [row["id"] for row in rows] == [rows_of[row["position"]] for row in rows]
        assert {row["gain"] is not None for row in rows} == {measured}


def test_inscl_tells_its_distances_and_tags(whole: Whole):
    told = whole.ran.arms["inscl-given-s0"]["stages"][2]["replay"]
    assert told["distances"]["tasks"] == list(ASKED)
    assert told["tags"]["instructions"] == 6 and told["tags"]["untagged"] == 0
    weights = [task["weight"] for task in told["tasks"]]
    assert all(weight > 0 for weight in weights) and weights[0] != weights[1]
    matrix = told["distances"]["matrix"]
    assert matrix[0][1] is None and [matrix[0][2], matrix[1][2]] == weights  # those that decide


# What is measured


def test_the_matrix_has_the_tasks_seen_and_the_next_one_and_no_others(whole: Whole):
    for arm in whole.ran.record["arms"]:
        for scores in arm["matrix"].values():
            known = [[cell is not None for cell in row] for row in scores]
            assert known == [[True, True, False], [True, True, True], [True, True, True]]
        for t, row in enumerate(arm["matrix"]["loss"]):
            for name, cell in zip(arm["tasks"], row, strict=True):
                found = arm["stages"][t]["scores"].get(name)
                assert cell == (found["loss"] if found else None)


def test_a_cell_is_what_the_kept_model_scores_on_the_held_out_rows(
    whole: Whole, held_out: list[str], tiny_model: Model, tmp_path: Path
):
    arm = whole.ran.arms["random-easy-hard-s1"]
    folder = whole.ran.folder / "models" / arm["stages"][-1]["model"]
    pool = Pool.read(*(f["path"] for f in whole.ran.done.manifest["inputs"]))
    meter = Meter(Tuned(folder, {}).model(tiny_model), Store(tmp_path))
    for i, name in enumerate(arm["tasks"]):
        mine = [pool.ids.index(row) for row in held_out if row.startswith(name)]
        found = evaluate(pool.take(mine), meter, max_new_tokens=2).means()
        at_the_end = {measure: scores[-1][i] for measure, scores in arm["matrix"].items()}
        assert found == pytest.approx(at_the_end, abs=1e-5)


def test_orders_follow_the_loss_of_the_untrained_model(whole: Whole):
    base = whole.ran.record["base"]
    easiest_first = sorted(ASKED, key=lambda name: base[name]["loss"])
    assert easiest_first != list(ASKED)
    for arm in whole.ran.record["arms"]:
        assert arm["tasks"] == (list(ASKED) if arm["order"] == "given" else easiest_first)


def test_the_ledgers_of_the_arms_and_what_they_share_add_up(whole: Whole):
    total, record = Ledger(), whole.ran.record
    for ledger in (record["shared_ledger"], *(arm["ledger"] for arm in record["arms"])):
        total.add(ledger)
    told = whole.ran.done.manifest["ledger"]
    assert {**total.to_json(), "seconds": None} == {**told, "seconds": None}
    assert told["trainings"] == len(whole.tunings.trained)
    tokens = [call["tuned"].record["tokens_seen"] for call in whole.tunings.made.values()]
    assert told["backward_tokens"] == sum(tokens)
    assert told["generated_tokens"] == whole.generated
    for arm in record["arms"]:
        assert arm["ledger"]["trainings"] == 2  # its first is shared


def test_an_untrained_model_and_experts_are_measured_by_name(whole: Whole):
    record = whole.ran.record
    assert list(record["base"]) == list(record["experts"]) == list(ASKED)
    assert record["measures"] == ["loss", "exact", "rouge_l"]
    assert record["base"] != record["experts"]


def test_what_a_method_cost_beforehand_is_told_and_is_part_of_what_arms_share(whole: Whole):
    rehearsed, shared = whole.ran.record["rehearsed"], whole.ran.record["shared_ledger"]
    assert list(rehearsed) == ["inscl", "random", "none"]
    assert rehearsed["none"]["forward_tokens"] == rehearsed["random"]["forward_tokens"] == 0
    # Every instruction once, though two orders are tried; the arms find them measured.
    assert rehearsed["inscl"]["forward_passes"] == 6
    assert 0 < rehearsed["inscl"]["forward_tokens"] < shared["forward_tokens"]
    assert rehearsed["inscl"]["trainings"] == 0


# Arms


def test_an_arm_is_the_same_alone_as_among_others(whole: Whole, go: Go):
    alone = go(methods="inscl", generate=True)
    (arm,) = alone.record["arms"]
    among = whole.ran.arms["inscl-given-s0"]
    assert arm["matrix"] == among["matrix"] and arm["metrics"] == among["metrics"]
    assert [stage["replay"] for stage in arm["stages"]] == [
        stage["replay"] for stage in among["stages"]
    ]


def test_every_arm_is_kept_on_its_own(whole: Whole):
    arms = {path.name for path in (whole.ran.folder / "arms").iterdir()}
    assert arms == set(whole.ran.arms)
    assert "inscl-easy-hard-s1" in arms
    for name, arm in whole.ran.arms.items():
        for t, stage in enumerate(arm["stages"]):
            kept = json.loads((whole.ran.folder / "arms" / name / f"{t}.json").read_text())
            assert kept.pop("made_from") and kept.pop("checksum") and kept == stage


def test_experts_are_trained_once_for_every_stream_on_the_same_rows(go: Go, quick: Tunings):
    first = go("first", methods="none")
    assert sorted(quick.trained) == ["1", "2", "alone-0-s0", "alone-1-s0", "alone-2-s0"]
    quick.trained.clear()
    second = go("second", methods="random")
    assert sorted(quick.trained) == ["1", "2", "alone-0-s0"]  # its first stage, in its own folder
    assert second.record["experts"] == first.record["experts"]
    third = go("third", methods="random", recipe=Recipe({"learning_rate": 1e-3}))
    assert sorted(quick.trained[3:]) == ["1", "2", "alone-0-s0", "alone-1-s0", "alone-2-s0"]
    assert third.record["base"] == first.record["base"]


def test_the_ledger_says_what_a_stream_took_whoever_did_it(go: Go, quick: Tunings):
    first, second = go("first", methods="none"), go("second", methods="none")
    for figure in ("trainings", "backward_tokens", "trained_rows"):
        assert first.done.manifest["ledger"][figure] == second.done.manifest["ledger"][figure]
    assert first.done.manifest["ledger"]["trainings"] == 3 + 2


def test_rows_that_are_cut_elsewhere_are_measured_again(go: Go):
    how = {"methods": "none", "too_long": "truncate-prompt"}
    short, long = go("short", max_tokens=40, **how), go("long", max_tokens=60, **how)
    assert short.record["base"] != long.record["base"]
    assert short.record["experts"] != long.record["experts"]


def test_an_experts_model_is_gone_once_it_is_measured_unless_an_arm_begins_with_it(
    go: Go, quick: Tunings, monkeypatch: pytest.MonkeyPatch
):
    there: dict[str, set[str]] = {}

    def looking(rendered: Rendered, model: Model, folder: Path, *how: Any, **more: Any):
        models = next(p for p in folder.parents if p.name == "models")
        found = {path.name for path in models.glob("alone-*")}
        there[f"{folder.parent.name}/{folder.name}"] = found
        return quick(rendered, model, folder, *how, **more)

    monkeypatch.setattr("modicum.stream.course.tune", looking)
    go(methods="none")
    assert there["models/alone-2-s0"] == {"alone-0-s0"}  # that of the second task is gone
    assert there["none-given-s0/1"] == there["none-given-s0/2"] == {"alone-0-s0"}
    there.clear()
    go("kept", methods="none", keep_models="all", recipe=Recipe({"learning_rate": 1e-3}))
    assert there["none-given-s0/1"] == {f"alone-{i}-s0" for i in range(3)}


@pytest.mark.parametrize(
    ("keep", "left"),
    [
        ("none", []),
        ("last", ["none-given-s0/2", "random-given-s0/2"]),
        (
            "all",
            ["none-given-s0/1", "none-given-s0/2", "random-given-s0/1", "random-given-s0/2"]
            + [f"alone-{i}-s0" for i in range(3)],
        ),
    ],
)
def test_models_are_removed_or_kept_as_asked(keep: str, left: list[str], go: Go):
    ran = go(keep_models=keep)
    models = ran.folder / "models"
    found = [str(path.parent.relative_to(models)) for path in models.rglob("model.safetensors")]
    assert sorted(found) == sorted(left)


def test_a_model_that_nothing_needs_any_more_is_gone_before_the_end(
    go: Go, quick: Tunings, monkeypatch: pytest.MonkeyPatch
):
    there: list[int] = []

    def looking(rendered: Rendered, model: Model, folder: Path, *how: Any, **more: Any):
        there.append(len(list(folder.parent.glob("[0-9]"))))
        return quick(rendered, model, folder, *how, **more)

    monkeypatch.setattr("modicum.stream.course.tune", looking)
    go(methods="random", orders=["given", "easy-hard"])
    assert len(there) > 4 and max(there) == 1
