"""A comparison: what every arm learns from, what its model reaches, and what is written of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import modicum as mo
from modicum.comparing import Rules, compare
from modicum.errors import InputError, OptionError
from modicum.evaluation import evaluate
from modicum.evaluation.harness import Harnessed
from modicum.evidence import Arm, Exam
from modicum.jobs.compare import Wanted, run_compare
from modicum.jobs.folders import Done
from modicum.jobs.reading import Reading
from modicum.meter import Meter
from modicum.models import Model
from modicum.pool import Pool
from modicum.store import Store
from modicum.training import Recipe, Tuned
from quick_tuning import QuickTuning

ROWS, HELD_OUT = 20, 6
SETTINGS = {"view": "lexical"}


class Ran(NamedTuple):
    """A finished comparison."""

    folder: Path
    record: dict[str, Any]  # compare.json
    done: Done
    said: list[str]  # before anything was trained

    @property
    def arms(self) -> dict[str, dict[str, Any]]:
        return {arm["name"]: arm for arm in self.record["arms"]}


Go = Callable[..., Ran]


def row(number: int, name: str = "r") -> dict[str, Any]:
    asked = f"What comes {'after' if number % 2 else 'before'} number {number}?"
    told = f"It is {number + (1 if number % 2 else -1)}. " * (1 + number % 3)
    return {"id": f"{name}{number}", "instruction": asked, "input": "", "output": told.strip()}


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(each) + "\n" for each in rows))
    return str(path)


def files(folder: Path) -> tuple[str, str]:
    folder.mkdir(exist_ok=True)
    pool = write(folder / "pool.jsonl", [row(i) for i in range(ROWS)])
    return pool, write(folder / "held.jsonl", [row(i, "e") for i in range(100, 100 + HELD_OUT)])


def run(pool: str, held_out: str, folder: Path, model: Model, **more: Any) -> Ran:
    """As the command line does it."""
    said: list[str] = []
    wanted = Wanted(
        methods=more.pop("methods", "k-center"),
        budgets=more.pop("budgets", ["20%"]),
        evaluation=Reading((held_out,)),
        target=more.pop("target", ()),
        settings=more.pop("settings", SETTINGS),
        rules=Rules(**{"seeds": range(2), "max_new_tokens": 2} | more),
        max_tokens=None,
    )
    done = run_compare(Reading((pool,)), folder, wanted, model, said.append)
    return Ran(folder, json.loads((folder / "compare.json").read_text()), done, said)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> QuickTuning:
    """Nothing is tuned in earnest, and nothing measured before is at hand."""
    stand_in = QuickTuning()
    monkeypatch.setattr("modicum.evidence.arms.tune", stand_in)
    monkeypatch.setenv("MODICUM_CACHE", str(tmp_path / "cache"))
    return stand_in


@pytest.fixture
def go(quick: QuickTuning, tiny_model: Model, tmp_path: Path) -> Go:
    paths = files(tmp_path)
    return lambda name="out", **more: run(*paths, tmp_path / name, tiny_model, **more)


def test_every_method_meets_chance_length_and_the_whole_pool_under_every_seed(go: Go):
    ran = go()
    names = [
        f"{m}-s{s}" for s in (0, 1) for m in ("k-center-20%", "longest-20%", "random-20%", "full")
    ]
    assert list(ran.arms) == names
    assert {name: arm["rows"] for name, arm in ran.arms.items() if "full" not in name} == {
        name: 4 for name in names if "full" not in name
    }
    assert ran.arms["full-s0"]["rows"] == ROWS
    assert [arm["tokens"] > 0 for arm in ran.record["arms"]] == [True] * 8


def test_without_the_whole_pool_there_is_no_arm_of_it_and_nothing_is_retained(go: Go):
    ran = go(full_seeds=[])
    assert not any(arm["method"] == "full" for arm in ran.record["arms"])
    assert ran.record["retention"] == []


def test_chance_draws_anew_under_every_seed_and_length_does_not(go: Go, quick: QuickTuning):
    ran = go(full_seeds=[])
    learned = {}
    for call, name in zip(quick.calls, ran.arms, strict=True):
        learned[name] = call["rendered"].ids.tolist()
    assert learned["random-20%-s0"] != learned["random-20%-s1"]
    assert learned["longest-20%-s0"] == learned["longest-20%-s1"]


def test_an_arm_learns_from_the_rows_that_select_picks(
    go: Go, quick: QuickTuning, tiny_model: Model, tmp_path: Path
):
    go(full_seeds=[], seeds=[3])
    pool = Pool.read(str(tmp_path / "pool.jsonl"))
    picked = mo.select(pool, "k-center", "20%", tiny_model, 3, view="lexical").picks
    rendered = Meter(tiny_model, Store(tmp_path / "s")).rendered(pool).take(np.sort(picked))
    assert quick.calls[0]["rendered"].ids.tolist() == rendered.ids.tolist()


def test_an_arms_values_are_those_of_its_kept_model(go: Go, tiny_model: Model, tmp_path: Path):
    ran = go(keep_models="all", measures=["loss", "bits", "exact", "rouge"])
    rows = Pool.read(str(tmp_path / "held.jsonl"))
    kept = Tuned(ran.folder / "models" / "longest-20%-s1", {}).model(tiny_model)
    measures = ("loss", "bits", "exact", "rouge")
    found = evaluate(rows, Meter(kept, Store(tmp_path / "s")), measures, max_new_tokens=2)
    arm = ran.arms["longest-20%-s1"]
    assert list(arm["values"]) == ["loss", "bits_per_byte", "exact", "rouge_l"]
    for name, values_N in found.values.items():
        assert arm["values"][name] == pytest.approx(values_N.tolist(), abs=1e-5)
        assert arm["metrics"][name] == pytest.approx(values_N.mean(), abs=1e-5)


def test_models_are_removed_unless_they_are_asked_for(go: Go):
    assert not list((go().folder / "models").glob("*"))
    assert (
        len(list((go("kept", keep_models="all").folder / "models").glob("*/model.safetensors")))
        == 8
    )


def test_every_two_arms_are_paired_and_methods_come_before_what_they_must_beat(go: Go):
    found = [pair["methods"] for pair in go().record["pairs"] if pair["measure"] == "loss"]
    assert found == [
        ["k-center", "random"],
        ["longest", "random"],
        ["k-center", "longest"],
        ["k-center", "full"],
        ["longest", "full"],
        ["random", "full"],
    ]


def test_a_pairs_difference_is_the_mean_of_the_arms_values_row_by_row(go: Go):
    ran = go()
    pair = ran.record["pairs"][0]
    one, other = (
        np.mean([ran.arms[f"{m}-20%-s{s}"]["values"]["loss"] for s in (0, 1)])
        for m in pair["methods"]
    )
    assert pair["difference"] == pytest.approx(one - other)
    assert pair["low"] <= pair["difference"] <= pair["high"]
    assert (pair["seeds"], pair["rows"], pair["anecdote"]) == (2, HELD_OUT, False)


def test_all_but_chance_may_choose_under_the_first_seed_alone(go: Go):
    ran = go(
        methods="kmeans",
        settings={"view": "lexical", "clusters": "3", "score": "length"},
        choose_once=True,
    )
    names = {arm["name"]: arm["selection"] for arm in ran.record["arms"] if arm["method"] != "full"}
    assert names["kmeans-20%-s0"] == names["kmeans-20%-s1"] == "kmeans-20%-s0"
    assert names["random-20%-s0"] != names["random-20%-s1"]


def test_one_seed_is_an_anecdote(go: Go):
    assert all(pair["anecdote"] for pair in go(seeds=[0]).record["pairs"])


def test_budgets_of_a_nested_method_are_cut_from_one_selection(go: Go, quick: QuickTuning):
    ran = go(budgets=["10%", "30%"], full_seeds=[], seeds=[0])
    kept = json.loads((ran.folder / "selections/k-center-30%-s0/picks.json").read_text())
    assert len(kept["picks"]) == 6
    learned = {name: c["rendered"] for name, c in zip(ran.arms, quick.calls, strict=True)}
    pool = Pool.read(ran.done.manifest["inputs"][0]["path"])
    two = sorted(kept["picks"][:2])
    assert ran.arms["k-center-10%-s0"]["rows"] == 2
    assert [pool.ids[i] for i in two] == sorted(kept["ids"][:2], key=pool.ids.index)
    assert set(learned["k-center-10%-s0"].ids) <= set(learned["k-center-30%-s0"].ids)


def test_a_budget_in_tokens_is_never_overspent(go: Go):
    ran = go(budgets=["100tok", "300tok"], full_seeds=[], seeds=[0])
    for arm in ran.record["arms"]:
        assert 0 < arm["tokens"] <= int(arm["budget"].removesuffix("tok"))


def test_matched_by_steps_all_take_those_of_chance_under_the_largest_budget(
    go: Go, quick: QuickTuning
):
    ran = go(budgets=["10%", "30%"], match="steps", seeds=[0], full_seeds=[0])
    given = [call["recipe"].given.get("max_steps") for call in quick.calls]
    assert ran.record["steps"] == 1
    assert given == [None, 1, 1, 1, 1, 1, 1]  # chance's first arm says how many


def test_steps_that_the_training_options_set_are_told_as_steps(go: Go):
    ran = go(train=Recipe({"max_steps": 1}), seeds=[0], full_seeds=[])
    assert (ran.record["match"], ran.record["steps"]) == ("steps", 1)


def test_a_row_that_asks_what_a_held_out_row_asks_is_learned_by_none_and_said_before(
    quick: QuickTuning, tiny_model: Model, tmp_path: Path
):
    pool, held_out = files(tmp_path)
    write(Path(held_out), [row(i, "e") for i in (3, *range(100, 105))])
    ran = run(pool, held_out, tmp_path / "out", tiny_model)
    assert ran.arms["full-s0"]["rows"] == ROWS - 1
    assert ran.record["pool"]["left_out"] == {"held out as well": 1}
    assert [each["id"] for each in ran.record["overlaps"]] == ["r3"]
    shared, few = ran.said
    assert "pool.jsonl:4" in shared and "held.jsonl:1" in shared
    assert few.startswith("6 held-out rows are few")
    assert ran.record["notes"] == ran.said


def test_what_is_finished_is_logged_with_its_first_figure(go: Go, caplog: pytest.LogCaptureFixture):
    with caplog.at_level("INFO", logger="modicum"):
        ran = go(seeds=[0])
    loss = ran.arms["k-center-20%-s0"]["metrics"]["loss"]
    assert caplog.messages[0] == f"1 of 4 arms: k-center-20%-s0, loss {loss:.4f}"
    assert len(caplog.messages) == 4


def test_the_ledger_of_an_arm_has_its_selection_and_the_whole_counts_it_once(go: Go):
    ran = go(budgets=["10%", "30%"], settings={}, full_seeds=[], seeds=[0])
    own = {name: arm["ledger"]["forward_tokens"] for name, arm in ran.arms.items()}
    pool = Pool.read(ran.done.manifest["inputs"][0]["path"])
    assert own["k-center-10%-s0"] > own["random-10%-s0"]
    chosen = own["k-center-10%-s0"] - own["random-10%-s0"]  # one pass over the pool
    assert own["k-center-30%-s0"] - own["random-30%-s0"] == chosen
    shared = ran.record["shared_ledger"]["forward_tokens"]
    assert ran.done.manifest["ledger"]["forward_tokens"] == sum(own.values()) + shared - chosen
    assert len(pool) == ROWS


@dataclass(frozen=True)
class Oracle:
    """Rows whose number is even first, or last: another arm may be compared with them."""

    evens: bool = True

    def __call__(self, context: mo.Context) -> list[int]:
        even = [i for i, name in enumerate(context.pool.ids) if int(name[1:]) % 2 == 0]
        odd = [i for i in range(len(context.pool)) if i not in even]
        return even + odd if self.evens else odd + even


def test_a_method_of_the_users_own_is_compared_from_python(
    quick: QuickTuning, tiny_model: Model, tmp_path: Path
):
    pool, held_out = (Pool.read(path) for path in files(tmp_path))
    made = compare(
        pool,
        {"evens": Oracle(), "odds": Oracle(False)},
        4,
        held_out,
        tiny_model,
        folder=tmp_path / "out",
        seeds=2,
        full=False,
    )
    assert [row["method"] for row in made.record["summary"]] == [
        "evens",
        "odds",
        "longest",
        "random",
    ]
    kept = json.loads((tmp_path / "out/selections/evens-4-s0/picks.json").read_text())
    assert kept["picks"] == [0, 2, 4, 6]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"methods": "full"}, "no method"),
        ({"methods": "k-centre"}, "k-centre"),
        ({"budgets": ["5%", "5%"]}, "every budget once"),
        ({"budgets": ["200%"]}, "more than the pool"),
        ({"measures": ["speed"]}, "no measure 'speed'"),
        ({"measures": ["judge"]}, "--judge URL"),
        ({"seeds": []}, "at least one"),
        ({"settings": {"clusters": "3"}}, "clusters"),
        ({"train": Recipe({"learning_rat": 1})}, "learning_rate"),
        ({"full_seeds": [5]}, "seed 5"),
        ({"budgets": ["20%", "200tok"], "match": "steps"}, "budgets in rows, or all in tokens"),
        ({"budgets": ["5tok", "200tok"]}, "use -k"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_anything_is_trained(
    go: Go, quick: QuickTuning, more: dict[str, Any], said: str
):
    with pytest.raises((OptionError, InputError, mo.ModicumError), match=said):
        go(**more)
    assert not quick.calls


def test_held_out_rows_that_are_too_few_are_refused(
    quick: QuickTuning, tiny_model: Model, tmp_path: Path
):
    pool, held_out = files(tmp_path)
    write(Path(held_out), [row(100)])
    with pytest.raises(InputError, match="2 are needed"):
        run(pool, held_out, tmp_path / "out", tiny_model)


def test_the_same_line_on_a_finished_folder_does_nothing_and_another_is_refused(
    go: Go, quick: QuickTuning
):
    go()
    trained = len(quick.trained)
    assert go().done.again and len(quick.trained) == trained
    with pytest.raises(mo.ModicumError, match="another command"):
        go(budgets=["30%"])


def test_a_row_under_another_system_turn_asks_something_else(
    quick: QuickTuning, tiny_model: Model, tmp_path: Path
):
    def under(text: str, number: int) -> dict[str, Any]:
        return {**row(number), "instruction": "Summarise the text.", "system": text}

    pool = write(tmp_path / "pool.jsonl", [under(f"Text {i}.", i) for i in range(6)])
    held_out = write(tmp_path / "held.jsonl", [under(f"Text {i}.", i) for i in (5, 20, 21)])
    ran = run(pool, held_out, tmp_path / "out", tiny_model, budgets=["2"], full_seeds=[])
    assert ran.record["pool"] == {
        "rows": 5,
        "tokens": ran.record["pool"]["tokens"],
        "rejected": 0,
        "left_out": {"held out as well": 1},
    }
    assert "and are left out" in ran.said[0] and "and stay" in ran.said[1]


def test_a_row_is_held_out_whichever_of_several_twins_has_its_system_turn(
    quick: QuickTuning, tiny_model: Model, tmp_path: Path
):
    def asked(system: str, id: str) -> dict[str, Any]:
        words = (("system", system), ("user", "What comes after number 3?"), ("assistant", "4."))
        return {"id": id, "messages": [{"role": r, "content": c} for r, c in words]}

    rows = [asked("Count.", "p0"), *(asked("Sing.", f"p{i}") for i in range(1, 8))]
    pool = write(tmp_path / "pool.jsonl", rows)
    held = write(tmp_path / "held.jsonl", [asked("Speak.", "e0"), asked("Count.", "e1")])
    ran = run(pool, held, tmp_path / "out", tiny_model, full_seeds=[], seeds=[0], budgets=["2"])
    assert ran.record["pool"]["left_out"] == {"held out as well": 1}
    left = json.loads((ran.folder / "manifest.json").read_text())["left_out"]
    assert [each["id"] for each in left] == ["p0"] and left[0]["reason"].endswith("held.jsonl:2")


def test_target_rows_that_are_held_out_are_not_aimed_at(
    quick: QuickTuning, tiny_model: Model, tmp_path: Path
):
    pool, held_out = files(tmp_path)
    aim = write(tmp_path / "aim.jsonl", [row(100), row(300)])
    more = {"methods": "ltd", "settings": {"clusters": "2", **SETTINGS}, "full_seeds": []}
    ran = run(pool, held_out, tmp_path / "out", tiny_model, target=[aim], **more)
    assert ran.said[1:] == ["1 of 2 rows of --target are held out, and not aimed at"]
    with pytest.raises(InputError, match="hold the same rows"):
        run(pool, held_out, tmp_path / "same", tiny_model, target=[held_out], **more)


def again(folder: Path, model: Model, methods: dict[str, Any], **more: Any) -> dict[str, Any]:
    pool, held_out = (Pool.read(path) for path in files(folder))
    asked = {"folder": folder / "out", "seeds": 1, "full": False} | more
    return compare(pool, methods, asked.pop("budget", 4), held_out, model, **asked).record


def test_another_method_of_the_same_name_is_not_taken_for_the_one_before(
    quick: QuickTuning, tiny_model: Model, tmp_path: Path
):
    again(tmp_path, tiny_model, {"mine": Oracle()})
    with pytest.raises(mo.ModicumError, match="another command"):
        again(tmp_path, tiny_model, {"mine": Oracle(False)})


def test_arms_of_other_steps_are_not_taken_for_matched_ones(
    quick: QuickTuning, tiny_model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    again(tmp_path, tiny_model, {"mine": Oracle()}, match="epochs")
    with pytest.raises(mo.ModicumError, match="another command"):
        again(tmp_path, tiny_model, {"mine": Oracle()}, match="steps")


def test_other_choices_of_the_same_rows_are_another_exam(tiny_model: Model, tmp_path: Path):
    def exam(choices: list[str]) -> str:
        rows = [{**row(i), "output": "red", "choices": choices} for i in (1, 2)]
        held_out = Pool.read(write(tmp_path / "held.jsonl", rows))
        return Exam(held_out, ("choice",)).how

    assert exam(["red", "blue"]) != exam(["red", "blue", "green"])


def test_a_long_label_is_a_short_folder():
    long = Arm(f"lobass(reference=/{'a' * 300})", None, "5%", 0)
    other = Arm(f"lobass(reference=/{'a' * 301})", None, "5%", 0)
    assert len(long.name) <= 100 and long.name != other.name


@pytest.fixture
def harnessed(monkeypatch: pytest.MonkeyPatch) -> list[Harnessed]:
    """The harness finds four examples; a test may change what it finds next."""
    found = [Harnessed("sums", "acc", True, np.array([1.0, 0.0, 1.0, 1.0]), "a hash", "0.4")]
    monkeypatch.setattr("modicum.comparing.installed", lambda task: None)
    monkeypatch.setattr("modicum.evidence.exam.harness", lambda task, folder, ledger: found[-1])
    return found


def test_a_task_of_the_harness_is_a_measure_beside_the_held_out_rows(
    go: Go, harnessed: list[Harnessed]
):
    ran = go(tasks=["sums"], full_seeds=[])
    arm = ran.arms["random-20%-s1"]
    assert arm["values"]["lm-eval:sums"] == [1.0, 0.0, 1.0, 1.0]
    assert ran.record["measures"]["lm-eval:sums"] == "higher"
    pair = next(p for p in ran.record["pairs"] if p["measure"] == "lm-eval:sums")
    assert (pair["rows"], pair["difference"], pair["verdict"]) == (4, 0.0, "not shown")


def test_examples_that_change_on_the_way_are_refused(
    go: Go, harnessed: list[Harnessed], quick: QuickTuning, monkeypatch: pytest.MonkeyPatch
):
    other = replace(harnessed[0], examples="another hash")
    monkeypatch.setattr(
        "modicum.evidence.exam.harness",
        lambda task, folder, ledger: other if quick.trained else harnessed[0],
    )
    with pytest.raises(mo.ModicumError, match="other examples than at first"):
        go(tasks=["sums"], full_seeds=[])
