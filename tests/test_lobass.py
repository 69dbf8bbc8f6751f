"""LoBaSS: whose losses are compared, what becomes of rows that cannot be judged, and the folds.

Where tuning itself is not the point, `QuickTuning` stands in for `tune`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modicum.choose import Selection, select
from modicum.errors import OptionError, RunError
from modicum.estimate import Rates
from modicum.meter import Meter
from modicum.models import Model
from modicum.pool import Pool
from modicum.scores.loss import Loss
from modicum.store import Store
from quick_tuning import QuickTuning
from tiny_tokenizers import byte_level

FAST = {"learning_rate": 1e-2, "num_train_epochs": 2}

Choose = Callable[..., Selection]


@pytest.fixture(autouse=True)
def known_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modicum.question.calibrate", lambda *_: Rates(1e3, 0.1, 1e2, 0.1, 1))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> QuickTuning:
    stand_in = QuickTuning()
    monkeypatch.setattr("modicum.methods.lobass.tune", stand_in)
    return stand_in


@pytest.fixture
def choose(tiny_pool: Pool, tiny_model: Model, tmp_path: Path) -> Choose:
    def made(method: str = "lobass", k: int = 12, work: str = "work", **more: Any) -> Selection:
        given = {"store": Store(tmp_path / "measured"), "train": FAST} | more
        pool = given.pop("pool", tiny_pool)
        return select(pool, method, k, tiny_model, work=tmp_path / work, **given)

    return made


@pytest.fixture(scope="module")
def tuned(
    tiny_pool: Pool, tiny_model: Model, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Selection, Path]:
    """All twelve rows ranked, by a reference that was really tuned on them."""
    folder = tmp_path_factory.mktemp("lobass")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("modicum.question.calibrate", lambda *_: Rates(1e3, 0.1, 1e2, 0.1, 1))
        return select(tiny_pool, "lobass", 12, tiny_model, work=folder, train=FAST), folder


def losses(model: Folder, pool: Pool, store: Path) -> np.ndarray:
    """(N,) of the model in a folder, measured anew."""
    found = model if isinstance(model, Model) else Model(str(model), model, "float32")
    return Loss()(pool, Meter(found, Store(store))).astype(np.float64)


Folder = Path | Model


def with_losses(monkeypatch: pytest.MonkeyPatch, before: Any, after: Any) -> None:
    """These are the losses of all rows under the base, and under a reference."""

    def known(self: Loss, pool: Pool, meter: Meter) -> np.ndarray:
        tuned = "reference" in meter.model.folder.name
        rows = [int(name[1:]) for name in pool.ids]
        return np.array(after if tuned else before, dtype=np.float32)[rows]

    monkeypatch.setattr(Loss, "__call__", known)


# --- the score ------------------------------------------------------------------------------------


def test_the_score_is_one_less_the_ratio_of_the_losses(
    tuned: tuple[Selection, Path], tiny_pool: Pool, tiny_model: Model, tmp_path: Path
):
    made, folder = tuned
    before_N = losses(tiny_model, tiny_pool, tmp_path)
    after_N = losses(folder / "reference", tiny_pool, tmp_path)
    assert (after_N < before_N).all()  # it was tuned on them
    np.testing.assert_allclose(made.scores["lobass"], 1 - after_N / before_N, rtol=1e-6)
    np.testing.assert_array_equal(made.scores["loss"], before_N)
    np.testing.assert_array_equal(made.scores["reference-loss"], after_N)
    order = np.lexsort((np.arange(12), after_N / before_N))
    assert made.picks.tolist() == order.tolist()
    assert made.gains.tolist() == made.scores["lobass"][made.picks].tolist()


BEFORE = np.array([4.0, 3.0, 2.0, 1.0, 5.0, 0.5, 6.0, 2.5, 3.5, 4.5, 1.5, 0.25])
AFTER = np.array([1.0, 2.0, 1.9, 0.1, 4.5, 0.2, 3.0, 2.0, 0.7, 4.4, 0.6, 0.2])


def test_twice_the_losses_make_the_same_order(
    choose: Choose, quick: QuickTuning, monkeypatch: pytest.MonkeyPatch
):
    with_losses(monkeypatch, BEFORE, AFTER)
    once = choose()
    with_losses(monkeypatch, 2 * BEFORE, 2 * AFTER)
    twice = choose(work="other")
    assert once.picks.tolist() == twice.picks.tolist()
    assert once.picks[:3].tolist() == [3, 8, 0]  # 0.9, 0.8, 0.75
    np.testing.assert_allclose(once.gains, twice.gains, rtol=1e-6)


def test_raw_is_the_difference_of_the_losses(
    choose: Choose, quick: QuickTuning, monkeypatch: pytest.MonkeyPatch
):
    with_losses(monkeypatch, BEFORE, AFTER)
    made = choose("lobass-raw")
    np.testing.assert_allclose(made.scores["lobass-raw"], BEFORE - AFTER, rtol=1e-5)
    assert made.picks[:3].tolist() == [0, 6, 8]  # 3.0, 3.0 and 2.8
    assert made.picks.tolist() == np.lexsort((np.arange(12), -made.scores["lobass-raw"])).tolist()


def test_rows_the_base_knows_and_rows_made_worse_come_last_and_are_counted(
    choose: Choose, quick: QuickTuning, monkeypatch: pytest.MonkeyPatch
):
    before, after = BEFORE.copy(), AFTER.copy()
    before[[2, 7]] = 0.0, 0.019  # too small to divide by
    after[[2, 7]] = 0.0, 0.001
    after[[0, 5, 9]] = 6.0, 0.6, 4.6  # worse: by a half, a fifth and a fiftieth or so
    with_losses(monkeypatch, before, after)
    made = choose()
    assert made.picks[-5:].tolist() == [9, 5, 0, 7, 2]
    assert made.notes[1].startswith("2 rows have a loss below 0.02 before tuning")
    assert made.notes[2].startswith("3 rows are worse after tuning")
    assert all(note.endswith("last") for note in made.notes[1:3])
    assert np.isfinite(made.gains).all() and np.isfinite(made.scores["lobass"]).all()
    assert made.reasons[-1].endswith("too small to divide by")


def test_a_loss_just_above_the_smallest_can_be_divided_by(
    choose: Choose, quick: QuickTuning, monkeypatch: pytest.MonkeyPatch
):
    with_losses(monkeypatch, np.full(12, 0.0201), np.full(12, 0.01))
    made = choose()
    assert made.picks.tolist() == list(range(12))  # equal rows keep the pool's order
    assert not any("too small" in said for said in (*made.notes, *made.reasons))


@pytest.mark.parametrize("method", ["lobass", "lobass-raw"])
@pytest.mark.parametrize("where", ["before", "after"])
def test_a_row_without_a_loss_is_never_picked_and_is_named(
    where: str, method: str, choose: Choose, quick: QuickTuning, monkeypatch: pytest.MonkeyPatch
):
    known = {"before": BEFORE.copy(), "after": AFTER.copy()}
    known[where][3] = np.nan  # it would be the best of all
    with_losses(monkeypatch, **known)
    made = choose(method, 11)
    assert 3 not in made.picks
    assert list(made.left_out) == [3] and "is nan, not a number" in made.left_out[3]
    assert np.isfinite(made.gains).all()


# --- the reference --------------------------------------------------------------------------------


def test_a_reference_that_was_given_makes_the_same_picks_and_nothing_is_tuned(
    tuned: tuple[Selection, Path], choose: Choose, quick: QuickTuning
):
    first, folder = tuned
    made = choose(reference=str(folder / "reference"))
    assert made.picks.tolist() == first.picks.tolist()
    assert made.gains.tolist() == pytest.approx(first.gains.tolist(), rel=1e-5)
    assert not quick.calls and made.meter.ledger.backward_tokens == 0
    assert made.predicted is None
    assert made.notes[0] == "whether the reference was tuned on these rows is not known"


@pytest.mark.parametrize("other", ["tokenizer", "template"])
def test_a_reference_that_reads_other_tokens_is_refused(
    other: str, choose: Choose, tiny_model: Model, tmp_path: Path
):
    folder = tmp_path / "other"
    shutil.copytree(tiny_model.folder, folder)
    tokenizer = byte_level("chatml" if other == "tokenizer" else "llama3")
    if other == "tokenizer":
        tokenizer.add_tokens(["<|other|>"])
    tokenizer.save_pretrained(folder)
    with pytest.raises(OptionError, match="another tokenizer or chat template"):
        choose(reference=str(folder))


@pytest.mark.parametrize("method", ["lobass", "lobass-raw"])
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"reference": "x", "folds": 2}, "tuned already"),
        ({"reference": "x", "reference_share": "50%"}, "tuned already"),
        ({"reference_share": "300"}, "give a share, as 25%"),
        ({"folds": 0}, "at least 1"),
        ({"folds": 13}, "folds=13 of 12 rows; use fewer"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    options: dict[str, Any], said: str, method: str, choose: Choose, quick: QuickTuning
):
    with pytest.raises(OptionError, match=said):
        choose(method, **options)
    assert not quick.calls


def test_a_share_of_the_rows_drawn_by_seed_tunes_the_reference(
    choose: Choose, quick: QuickTuning, tiny_pool: Pool
):
    made = choose(reference_share="25%")
    again = choose(reference_share="25%", work="again")
    other = choose(reference_share="25%", work="other", seed=1)
    first, second, third = (rows_of(call, tiny_pool, made) for call in quick.calls)
    assert len(first) == 3 and first == second != third
    assert again.picks.tolist() == made.picks.tolist()
    assert made.notes[0].startswith("the reference was tuned on 3 of the 12 rows that it judges")
    assert other.meter.ledger.trained_rows == 3 * 3  # QuickTuning's epochs


def rows_of(call: dict[str, Any], pool: Pool, made: Selection) -> list[int]:
    """Positions of the rows that a tuning was given; of equal rows the first."""
    whole, given = made.meter.rendered(pool), call["rendered"]
    known = {whole.row(i)[0].tobytes(): i for i in reversed(range(len(whole)))}
    return [known[given.row(i)[0].tobytes()] for i in range(len(given))]


def test_epochs_reach_the_tuning(choose: Choose, quick: QuickTuning):
    choose(epochs=5, train={"learning_rate": 0.5})
    assert quick.calls[0]["recipe"].given == {"learning_rate": 0.5, "num_train_epochs": 5}


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
