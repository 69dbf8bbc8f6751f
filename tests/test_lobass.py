"""LoBaSS: whose losses are compared, what becomes of rows that cannot be judged, and the folds.

Where tuning itself is not the point, `QuickTuning` stands in for `tune`.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lobass_references import (
    Choose,
    choose,
    known_rates,
    losses,
    quick,
    rows_of,
    tuned,
    with_losses,
)
from modicum.choose import Selection
from modicum.errors import OptionError
from modicum.models import Model
from modicum.pool import Pool
from modicum.scores.loss import Loss
from quick_tuning import QuickTuning
from tiny_tokenizers import byte_level

__all__ = ["choose", "known_rates", "quick", "tuned"]


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
    assert made.scores["lobass"][7] == pytest.approx(1 - 0.001 / 0.019)
    assert made.scores["lobass"][2] == 0  # of 0 there is no quotient: the difference stands there


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
    other: str,
    choose: Choose,
    tiny_model: Model,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    folder = tmp_path / "other"
    shutil.copytree(tiny_model.folder, folder)
    tokenizer = byte_level("chatml" if other == "tokenizer" else "llama3")
    if other == "tokenizer":
        tokenizer.add_tokens(["<|other|>"])
    tokenizer.save_pretrained(folder)
    monkeypatch.setattr(Loss, "__call__", pytest.fail)  # nothing is measured before it is said
    with pytest.raises(OptionError, match="another tokenizer or chat template"):
        choose(reference=str(folder))


@pytest.mark.parametrize("method", ["lobass", "lobass-raw"])
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"reference": "x", "folds": 2}, "tuned already"),
        ({"reference": "x", "reference_share": "50%"}, "tuned already"),
        ({"reference": "x", "epochs": 2.0}, "tuned already"),
        ({"reference_share": "300"}, "give a share, as 25%"),
        ({"folds": 0}, "at least 1"),
        ({"folds": 13}, "folds=13 of 11 different rows; use fewer"),
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


def test_a_copy_of_a_row_that_tuned_the_reference_counts_as_seen(
    choose: Choose, quick: QuickTuning, tiny_pool: Pool
):
    for seed in range(9):
        made = choose(reference_share="50%", seed=seed, work=str(seed))
        rows = {tiny_pool.digests[i] for i in rows_of(quick.calls[-1], tiny_pool, made)}
        seen = sum(content in rows for content in tiny_pool.digests)
        assert made.notes[0].startswith(f"the reference was tuned on {seen} of the 12 rows")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"epochs": 0.0}, "epochs=0.0; give a number above 0"),
        ({"epochs": -1.0}, "epochs=-1.0; give a number above 0"),
        ({"epochs": 1.0, "train": {"num_train_epochs": 3}}, "num_train_epochs is given as 3 and"),
        ({"train": {"max_length": 30}}, "would cut the longest row, which has 89"),
    ],
)
def test_a_tuning_that_cannot_be_is_refused_before_anything_is_done(
    options: dict[str, Any], said: str, choose: Choose, tmp_path: Path
):
    with pytest.raises(OptionError, match=said):
        choose(**options)
    assert not (tmp_path / "work").exists() and not list(tmp_path.rglob("*.safetensors"))


def test_epochs_reach_the_tuning(choose: Choose, quick: QuickTuning):
    choose(epochs=5, train={"learning_rate": 0.5})
    assert quick.calls[0]["recipe"].given == {"learning_rate": 0.5, "num_train_epochs": 5}
