"""What a selection will send through a model, and how long that takes: plan and estimate."""

from __future__ import annotations

import functools
import json
import math
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from modicum import choose, estimate
from modicum.estimate import Rates, calibrate, predict
from modicum.meter import Meter
from modicum.models import Model
from modicum.parts import members
from modicum.plan import Work, epochs_of, passes, wants_of
from modicum.pool import Pool
from modicum.question import Question, ask
from modicum.scores.ifd import Ifd
from modicum.scores.uncertainty import Entropy
from modicum.store import Store
from modicum.training import Recipe
from modicum.views.hidden import Hidden
from modicum.views.lexical import Lexical
from modicum.wants import HiddenState, Loss, Uncertainty
from quick_tuning import EPOCHS, QuickTuning

RATES = Rates(
    forward_tokens_per_second=100.0,
    load_seconds=2.0,
    trained_tokens_per_second=10.0,
    tuning_seconds=3.0,
    memory_bytes=7,
)
METHODS = members("modicum.methods")
# What depends on answers that the model writes, or on rows that it looks at, is not known before.
# The rows' answers, read with the prompts, stand for those that are written.
ROUGHLY = {"diverse-evol": 0.2, "iter-select": 0.5, "judge-gap": 0.2, "wrong-answers": 1.0}
OPTIONS: dict[str, dict[str, Any]] = {
    "diverse-evol": {"initial": 2, "rounds": 3},
    "ifd": {"drop_above_one": False},
    "ifd-ppl": {"drop_above_one": False},
    "iter-select": {"initial": 4, "per_round": 2},
    "judge-gap": {"above": -10.0},
    "selective-reflection": {"accept": 1000.0},
    "superfilter": {"drop_above_one": False, "share": 1.0},
    "kmeans": {"clusters": 3},
    "ltd": {"clusters": 3},
}


@pytest.fixture
def spread(tiny_pool: Pool) -> Pool:
    """The pool without the row that is there twice, which would be measured once."""
    return tiny_pool.take([i for i in range(12) if i != 4])


@pytest.fixture
def question(spread: Pool, tiny_model: Model, tmp_path: Path) -> Any:
    def put(method: str, budget: str | int = 8, **more: Any) -> Question:
        target = spread.take([2, 3]) if getattr(METHODS.get(method), "aims", False) else None
        meter = Meter(tiny_model, Store(tmp_path / "measured"))
        given = {"target": target, **OPTIONS.get(method, {})}
        return ask(spread, method, budget, meter, 0, **given | more)

    return put


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modicum.question.calibrate", lambda *_: RATES)
    for where in ("training.evolving", "methods.lobass", "methods.s2l"):
        monkeypatch.setattr(f"modicum.{where}.tune", QuickTuning())


def tokens(works: list[Work], stage: str) -> int:
    return sum(work.tokens for work in works if work.stage == stage)


def numbers(figures: Any) -> Iterator[float]:
    """Every number in what is made of dictionaries and lists."""
    if isinstance(figures, dict | list):
        for each in figures.values() if isinstance(figures, dict) else figures:
            yield from numbers(each)
    elif isinstance(figures, int | float):
        yield figures


# --- plan: what will be sent through a model ------------------------------------------------------


def test_parts_want_each_want_once():
    assert wants_of([Hidden(), Hidden(), Entropy(), Lexical(), None, object()]) == [
        HiddenState(-1, "weighted", "row"),
        Uncertainty("entropy"),
    ]


def test_rows_are_sent_once_for_all_wants_and_answers_alone_once_more(question: Any):
    context = question("random").context
    rendered = context.meter.rendered(context.pool)
    three = (Loss(), HiddenState(), Uncertainty("margin"))
    rows = Work("measure", 11, len(rendered.ids), wants=three)
    assert passes(rendered, []) == []
    assert passes(rendered, three) == [rows]
    tokens = int(rendered.answer_lengths_N.sum()) + 12  # answers, each behind a start token
    alone = Work("measure", 12, tokens, False, (Loss(prompt=False),))  # one row has two
    assert passes(rendered, Ifd().wants) == [rows._replace(wants=(Loss(),)), alone]
    assert passes(rendered, [Loss(prompt=False)]) == [alone._replace(loads=True)]


@pytest.mark.parametrize(
    ("given", "epochs"),
    [
        ({}, 3),
        ({"num_train_epochs": "2", "max_steps": -1}, 2),
        ({"max_steps": 6}, 2),  # 9,000 tokens are 9 packs of 1,024: 3 steps of 4
        ({"max_steps": 6, "max_length": "4500"}, 6),  # 2 packs: one step
        ({"max_steps": 6, "gradient_accumulation_steps": 1}, 6 / 9),
        ({"max_steps": 6, "packing": "false"}, 2),  # 90 rows are 12 batches of 8
        ({"max_steps": 6, "packing": False, "per_device_train_batch_size": 90}, 6),
    ],
)
def test_max_steps_say_how_often_a_row_is_seen(given: dict[str, Any], epochs: float):
    assert epochs_of(Recipe(given), 90, 9000) == pytest.approx(epochs)


def test_a_plan_ends_with_max_steps(question: Any):
    for method in ("lobass", "diverse-evol"):
        works = question(method, train={"max_steps": 5}).plan
        rows = [work.rows for work in works if work.stage == "train"]
        assert rows == ([5 * 11] if method == "lobass" else [5 * 2, 5 * 4, 5 * 6])


@pytest.mark.parametrize("name", METHODS)
def test_every_method_can_be_planned_and_predicted(name: str, question: Any, quick: None):
    asked = question(name)
    found = asked.predict()
    assert all(math.isfinite(number) for number in numbers(found))
    json.dumps(found, allow_nan=False)
    assert found["forward_tokens"] == tokens(asked.plan, "measure")
    assert found["backward_tokens"] == tokens(asked.plan, "train")


@pytest.mark.parametrize("name", METHODS)
def test_what_is_planned_is_what_is_sent(
    name: str, question: Any, quick: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MODICUM_CACHE", str(tmp_path / "cache"))  # no answer is written yet
    asked = question(name)
    works, ledger = asked.plan, choose.answer(asked, tmp_path / "work").meter.ledger
    near = ROUGHLY.get(name, 0)
    for stage, sent in [("measure", ledger.forward_tokens), ("train", ledger.backward_tokens)]:
        assert tokens(works, stage) == pytest.approx(sent, rel=near, abs=0)


@pytest.mark.parametrize(
    "options", [{"reference_share": "25%"}, {"folds": 2}, {"folds": 3, "reference_share": "25%"}]
)
def test_a_plan_of_shares_and_folds_is_exact(
    options: dict[str, Any], question: Any, quick: None, tmp_path: Path
):
    asked = question("lobass", **options)
    works, ledger = asked.plan, choose.answer(asked, tmp_path / "work").meter.ledger
    assert tokens(works, "measure") == ledger.forward_tokens
    assert tokens(works, "train") == ledger.backward_tokens
    assert sum(work.rows for work in works if work.stage == "train") == ledger.trained_rows


@pytest.mark.parametrize(
    ("budget", "options", "near"),
    [
        (8, {"per_round": 2}, 0.25),
        (8, {"refresh": 2}, 0.25),
        (8, {"score": "entropy"}, 0.25),
        ("300tok", {"rounds": 2}, 0.25),
        ("300tok", {"per_round": 2}, 0.4),  # how many rounds is guessed from the mean length
        ("100ktok", {"per_round": 3}, 0.25),
    ],
)
def test_a_plan_of_rounds_is_close(
    budget: Any, options: dict[str, Any], near: float, question: Any, quick: None, tmp_path: Path
):
    asked = question("diverse-evol", budget, **options)
    works, ledger = asked.plan, choose.answer(asked, tmp_path / "work").meter.ledger
    assert tokens(works, "measure") == pytest.approx(ledger.forward_tokens, rel=near)
    assert tokens(works, "train") == pytest.approx(ledger.backward_tokens, rel=near)


def test_the_trainings_of_rounds_are_of_all_taken_before_in_all_epochs(question: Any):
    works = question("diverse-evol", 8).plan
    assert [work.rows for work in works if work.stage == "train"] == [2 * 3, 4 * 3, 6 * 3]
    works = question("diverse-evol", 8, refresh=2, epochs=1).plan
    assert [work.rows for work in works if work.stage == "train"] == [2, 6]


def test_one_round_from_chosen_rows_trains_nothing(question: Any, spread: Pool):
    for options in ({}, {"score": "entropy"}):
        asked = question("diverse-evol", 4, chosen=spread.take([0]), **options)
        assert {work.stage for work in asked.plan} == {"measure"}


def test_a_given_reference_trains_nothing(question: Any, tiny_model: Model):
    works = question("lobass", reference=str(tiny_model.folder)).plan
    assert [work.stage for work in works] == ["measure", "measure"]


# --- estimate: how long that takes ------------------------------------------------------------


def test_seconds_by_hand():
    assert RATES.seconds(Work("measure", 5, 400)) == 2 + 4
    assert RATES.seconds(Work("measure", 5, 400, loads=False)) == 4
    assert RATES.seconds(Work("train", 5, 400)) == 3 + 40


def test_a_prediction_by_hand(tiny_model: Model):
    works = [Work("measure", 5, 400), Work("train", 5, 100), Work("train", 5, 200)]
    found = predict(works, RATES, tiny_model, keeps_all=False)
    assert found["forward_tokens"] == 400 and found["backward_tokens"] == 300
    assert found["seconds"] == {"measure": 6.0, "train": 36.0, "total": 42.0}
    assert found["memory_bytes"] == 7
    assert found["calibration"]["trained_tokens_per_second"] == 10.0
    assert [Work(**each) for each in found["work"]] == works


def test_disk_is_for_the_models_kept_and_two_checkpoints(tiny_model: Model):
    stored = load_file(tiny_model.folder / "model.safetensors").values()
    size = 4 * sum(values.size for values in stored)
    trained = [Work("train", 5, 100)] * 5
    for works, keeps_all, models in [
        (trained, False, 2),
        (trained, True, 5),
        (trained[:1], True, 1),
    ]:
        found = predict(works, RATES, tiny_model, keeps_all)["disk_bytes"]
        assert found == pytest.approx((models + 2 * 3) * size, rel=0.05)  # files have a header
    assert predict([Work("measure", 5, 400)], RATES, tiny_model, True)["disk_bytes"] == 0


@pytest.mark.parametrize(
    "wants", [[], [Loss()], [Loss(), Loss(prompt=False)], [HiddenState(), Uncertainty("margin")]]
)
def test_a_calibration_of_measuring_knows_no_rate_of_training(
    wants: list[Any], tiny_pool: Pool, tiny_model: Model
):
    rendered = Meter(tiny_model).rendered(tiny_pool)
    rates = calibrate(rendered, tiny_model, [Work("measure", 1, 1)], wants, Recipe(), 0.01)
    assert 10 < rates.forward_tokens_per_second < 1e7
    assert rates.trained_tokens_per_second is None and rates.tuning_seconds == 0
    assert rates.memory_bytes > 1e7


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files and the cache go."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.setenv("MODICUM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("modicum.question.calibrate", functools.partial(calibrate, seconds=0.3))
    return tmp_path


@pytest.mark.parametrize("method", ["diverse-evol", "lobass"])
def test_a_prediction_measures_and_trains_for_a_moment_and_leaves_nothing(
    method: str, question: Any, folders: Path
):
    found = question(method, train={"learning_rate": 1e-2}).predict()
    rates = found["calibration"]
    assert rates["trained_tokens_per_second"] > 10 and rates["forward_tokens_per_second"] > 10
    assert 0 < rates["tuning_seconds"] < 60
    assert found["seconds"]["total"] == pytest.approx(sum(found["seconds"].values()) / 2, abs=0.02)
    left = {path.relative_to(folders) for path in folders.rglob("*") if path.is_file()}
    assert not [path for path in left if path.parts[:2] != ("cache", "hashes")]


def test_a_prediction_is_made_once_for_a_run_that_is_killed_and_goes_on(
    question: Any, quick: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    first = choose.answer(question("lobass"), tmp_path / "work").predicted
    other = estimate.Rates(1.0, 1.0, 1.0, 1.0, 1)
    monkeypatch.setattr("modicum.question.calibrate", lambda *_: other)
    assert choose.answer(question("lobass"), tmp_path / "work").predicted == first


def test_a_prediction_of_another_selection_is_made_anew(question: Any, quick: None, tmp_path: Path):
    first = choose.answer(question("lobass"), tmp_path / "work").predicted
    other = choose.answer(question("lobass", folds=2), tmp_path / "work2").predicted
    shutil.copy(tmp_path / "work" / "plan.json", tmp_path / "work2" / "plan.json")
    again = choose.answer(question("lobass", folds=2), tmp_path / "work2").predicted
    assert first != other == again


def test_a_run_that_goes_on_is_charged_for_the_calibration_of_the_first(
    question: Any, quick: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("modicum.question.calibrate", lambda *_: time.sleep(0.3) or RATES)
    for _ in range(2):
        ledger = choose.answer(question("lobass"), tmp_path / "work").meter.ledger
        assert 0.3 <= ledger.seconds["calibrate"] < 1


@pytest.mark.parametrize(
    ("method", "options", "wants"),
    [
        ("diverse-evol", {}, {HiddenState(-1, "mean", "row")}),
        (
            "diverse-evol",
            {"score": "entropy"},
            {HiddenState(-1, "mean", "row"), Uncertainty("entropy")},
        ),
        ("kmeans", {"score": "ifd"}, {HiddenState(-1, "weighted", "row"), *Ifd().wants}),
        ("lobass", {}, {Loss()}),
        ("random", {}, set()),
    ],
)
def test_what_is_measured_to_calibrate_is_what_is_planned(
    method: str,
    options: dict[str, Any],
    wants: set[Any],
    question: Any,
    monkeypatch: pytest.MonkeyPatch,
):
    given = list[Any]()
    monkeypatch.setattr("modicum.question.calibrate", lambda *all: given.extend(all[3]) or RATES)
    question(method, **options).predict()
    assert set(given) == wants and len(given) == len(wants)


def test_a_manifest_shows_predicted_beside_actual_and_the_two_ratios(
    question: Any, quick: None, tmp_path: Path
):
    made = choose.answer(question("lobass", 4), tmp_path / "work")
    told = json.loads((made.write(tmp_path / "run") / "manifest.json").read_text())
    whole, subset = int(made.tokens_N.sum()), int(made.tokens_N[made.picks].sum())
    plan = told["predicted"]
    assert plan["backward_tokens"] == plan["actual"]["backward_tokens"] == EPOCHS * whole
    assert told["cost"]["tuning_on_subset"]["compute"] == 3 * 3 * subset
    assert told["cost"]["tuning_on_pool"]["compute"] == 3 * 3 * whole
    compute = plan["forward_tokens"] + 3 * plan["backward_tokens"]
    ratio = told["cost"]["selection_to_tuning"]["compute"]
    assert ratio == pytest.approx(compute / (9 * subset), abs=1e-4)
    assert np.isfinite(list(told["cost"]["selection_and_tuning_to_whole"].values())).all()


def test_a_plan_that_needs_no_model_is_foretold_without_reading_one(question) -> None:
    asked = question("random")
    model = asked.context.meter.model
    model.release()
    foretold = asked.predict()
    assert foretold["seconds"]["total"] == 0
    assert foretold["calibration"]["forward_tokens_per_second"] is None
    assert "network" not in vars(model)
