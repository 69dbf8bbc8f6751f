"""LoBaSS with folds, and what is kept of references and gone on with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lobass_references import (
    FAST,
    Choose,
    choose,
    known_rates,
    losses,
    quick,
    rows_of,
    tuned,
)
from modicum.choose import Selection, select
from modicum.errors import RunError
from modicum.meter import Meter
from modicum.models import Model
from modicum.pool import Pool
from modicum.scores.loss import Loss
from quick_tuning import QuickTuning

__all__ = ["choose", "known_rates", "quick", "tuned"]


# --- folds ----------------------------------------------------------------------------------------


@pytest.fixture
def spread(tiny_pool: Pool) -> Pool:
    """The pool without the row that is there twice."""
    return tiny_pool.take([i for i in range(12) if i != 4])


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Which rows each reference was asked about, by the name of its folder."""
    asked: dict[str, list[str]] = {}
    real = Loss.__call__

    def spied(self: Loss, pool: Pool, meter: Meter) -> np.ndarray:
        asked.setdefault(meter.model.folder.name, []).extend(pool.ids)
        return real(self, pool, meter)

    monkeypatch.setattr(Loss, "__call__", spied)
    return asked


@pytest.mark.parametrize("folds", [2, 3, 11])
def test_no_row_is_judged_by_a_reference_that_was_tuned_on_it(
    folds: int, choose: Choose, quick: QuickTuning, spread: Pool, judged: dict[str, list[str]]
):
    made = choose(pool=spread, folds=folds, k=11)
    references = [name for name in judged if name.startswith("reference-")]
    assert references == [f"reference-{fold}" for fold in range(1, folds + 1)]
    for name, call in zip(references, quick.calls, strict=True):
        tuned_on = {spread.ids[i] for i in rows_of(call, spread, made)}
        assert tuned_on == set(spread.ids) - set(judged[name])
    assert sorted(row for name in references for row in judged[name]) == sorted(spread.ids)
    assert not any("it judges" in note for note in made.notes)


@pytest.mark.parametrize("seed", range(6))
def test_no_row_is_judged_by_a_reference_that_was_tuned_on_its_copy(
    seed: int, choose: Choose, quick: QuickTuning, tiny_pool: Pool, judged: dict[str, list[str]]
):
    made = choose(folds=2, seed=seed)  # row 4 is row 1 again
    for fold, call in enumerate(quick.calls, 1):
        tuned_on = {tiny_pool.digests[i] for i in rows_of(call, tiny_pool, made)}
        for name in judged[f"reference-{fold}"]:
            assert tiny_pool.digests[tiny_pool.ids.index(name)] not in tuned_on
    assert not any("it judges" in note for note in made.notes)


@pytest.mark.parametrize("options", [{"folds": 3}, {"reference": "tuned"}])
def test_no_two_models_are_held_at_once(
    options: dict[str, Any],
    choose: Choose,
    quick: QuickTuning,
    tiny_model: Model,
    monkeypatch: pytest.MonkeyPatch,
):
    if "reference" in options:
        options = {"reference": str(tiny_model.folder)}
    through, meters = Meter.through, list[Meter]()

    def spied(self: Meter, *given: Any) -> Meter:
        if not quick.calls:  # tuning releases the base; the stand-in for it does not
            assert "network" not in vars(tiny_model)
        assert not [each for each in meters if "network" in vars(each.model)]
        meters.append(through(self, *given))
        return meters[-1]

    monkeypatch.setattr(Meter, "through", spied)
    choose(**options)
    assert len(meters) == options.get("folds", 1)
    assert not [each for each in meters if "network" in vars(each.model)]


def test_each_row_gets_the_loss_of_its_own_fold(
    choose: Choose,
    quick: QuickTuning,
    spread: Pool,
    judged: dict[str, list[str]],
    tmp_path: Path,
):
    made = choose(pool=spread, folds=2, k=11)
    parts = {name: list(judged[name]) for name in ("reference-1", "reference-2")}
    for name, ids in parts.items():
        rows = [spread.ids.index(each) for each in ids]
        alone_N = losses(tmp_path / "work" / name, spread, tmp_path / name)
        np.testing.assert_allclose(made.scores["reference-loss"][rows], alone_N[rows], rtol=1e-5)


def test_folds_and_a_share_tune_each_reference_on_so_many_others(
    choose: Choose, quick: QuickTuning, spread: Pool, judged: dict[str, list[str]]
):
    made = choose(pool=spread, folds=3, reference_share="25%", k=11)
    for fold, call in enumerate(quick.calls, 1):
        rows = rows_of(call, spread, made)
        assert len(rows) == 3
        assert not {spread.ids[i] for i in rows} & set(judged[f"reference-{fold}"])


# --- what is kept, and goes on --------------------------------------------------------------------


def test_the_references_of_folds_go_when_the_result_is_written(
    choose: Choose, quick: QuickTuning, tmp_path: Path
):
    made = choose(folds=2)
    assert (tmp_path / "work" / "reference-1" / "model.safetensors").exists()
    made.write(tmp_path / "run")
    assert not list((tmp_path / "work").glob("reference*"))


def test_a_single_reference_stays(choose: Choose, quick: QuickTuning, tmp_path: Path):
    choose().write(tmp_path / "run")
    assert (tmp_path / "work" / "reference" / "model.safetensors").exists()


class Killed(BaseException):
    """What no code catches."""


@pytest.mark.parametrize("after", [False, True])
def test_killed_between_folds_it_goes_on(
    after: bool, choose: Choose, quick: QuickTuning, monkeypatch: pytest.MonkeyPatch
):
    straight = choose(folds=3, work="straight")
    quick.trained.clear()

    def dying(*args: Any, **more: Any) -> Any:
        second = args[2].name == "reference-2"
        if second and not after:
            raise Killed
        made = quick(*args, **more)
        if second:
            raise Killed
        return made

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("modicum.methods.lobass.tune", dying)
        with pytest.raises(Killed):
            choose(folds=3)
    made = choose(folds=3)
    assert quick.trained == ["reference-1", "reference-2", "reference-3"]
    assert made.picks.tolist() == straight.picks.tolist()
    assert made.gains.tolist() == straight.gains.tolist()
    assert made.reasons == straight.reasons
    assert made.meter.ledger.backward_tokens == straight.meter.ledger.backward_tokens


@pytest.mark.parametrize("other", [{"seed": 1}, {"train": {"learning_rate": 0.5}}, {"epochs": 2}])
def test_a_reference_that_was_tuned_otherwise_is_refused(
    other: dict[str, Any],
    tuned: tuple[Selection, Path],
    tiny_pool: Pool,
    tiny_model: Model,
):
    _, folder = tuned
    given = {"train": {"learning_rate": 1e-2}} | other
    with pytest.raises(RunError, match="tuned otherwise; choose another folder"):
        select(tiny_pool, "lobass", 12, tiny_model, work=folder, **given)


def test_the_raw_variant_goes_on_with_the_same_reference(
    tuned: tuple[Selection, Path], tiny_pool: Pool, tiny_model: Model
):
    first, folder = tuned
    made = select(tiny_pool, "lobass-raw", 12, tiny_model, work=folder, train=FAST)
    np.testing.assert_array_equal(made.scores["reference-loss"], first.scores["reference-loss"])


def test_the_manifest_says_what_the_reference_cost(tuned: tuple[Selection, Path], tmp_path: Path):
    made, _ = tuned
    told = json.loads((made.write(tmp_path / "run") / "manifest.json").read_text())
    assert told["ledger"]["trained_rows"] == FAST["num_train_epochs"] * 12
    assert told["ledger"]["backward_tokens"] == 2 * made.tokens_N.sum()
