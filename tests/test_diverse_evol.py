"""DiverseEvol: whose model looks at the pool in which round, what it takes, and what is kept.

Most tests are of the rounds, not of tuning, and let `QuickTuning` stand in for `tune`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diverse_evol_rounds import (
    FAST,
    PLAIN,
    Choose,
    before_round,
    choose,
    facts,
    farthest_first,
    in_round,
    known_rates,
    quick,
    seen,
    tuned,
)
from modicum.choose import Selection, select
from modicum.errors import BudgetError, OptionError
from modicum.meter import Meter
from modicum.methods.diverse_evol import DiverseEvol
from modicum.models import Model
from modicum.parts import build
from modicum.pool import Pool
from modicum.scores.uncertainty import Entropy, LeastConfidence, Margin
from modicum.training import Recipe, tune
from modicum.views.encoder import Encoder
from modicum.views.hidden import Hidden
from quick_tuning import QuickTuning

__all__ = ["choose", "known_rates", "quick", "tuned"]


# --- really tuned -------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [1, 2])
def test_picks_are_a_brute_forces_in_the_view_of_the_rounds_model(
    number: int, tuned: tuple[Selection, Path], tiny_pool: Pool, tmp_path: Path
):
    made, rounds = tuned
    vectors_ND = seen(PLAIN, tiny_pool, rounds / str(number), tmp_path)
    wanted = farthest_first(vectors_ND, before_round(made, number), 3)
    assert in_round(made, number) == wanted


def test_the_model_of_a_round_is_the_base_tuned_on_all_taken_before(
    tuned: tuple[Selection, Path], tiny_pool: Pool, tiny_model: Model, tmp_path: Path
):
    made, rounds = tuned
    taken = sorted(before_round(made, 2))
    rows = Meter(tiny_model).rendered(tiny_pool).take(np.array(taken))
    again = tune(rows, tiny_model, tmp_path / "again", Recipe(FAST), seed=0)
    assert facts(made)[2]["training_loss"] == again.loss
    there_ND = seen(PLAIN, tiny_pool, rounds / "2", tmp_path / "a")
    here_ND = seen(PLAIN, tiny_pool, tmp_path / "again", tmp_path / "b")
    np.testing.assert_array_equal(there_ND, here_ND)
    base_ND = seen(PLAIN, tiny_pool, tiny_model.folder, tmp_path / "c")
    assert np.abs(here_ND - base_ND).max() > 0.1


def test_the_ledger_counts_the_tokens_of_every_round(
    tuned: tuple[Selection, Path], tiny_pool: Pool
):
    made, _ = tuned
    trained = [before_round(made, number) for number in (1, 2)]
    epochs = FAST["num_train_epochs"]
    assert made.meter.ledger.trained_rows == epochs * sum(map(len, trained))
    tokens = sum(int(made.tokens_N[rows].sum()) for rows in trained)
    assert made.meter.ledger.backward_tokens == epochs * tokens


# --- sizes ----------------------------------------------------------------------------------------


def test_the_defaults_are_the_papers():
    assert DiverseEvol() == DiverseEvol(
        view=PLAIN, initial=100, rounds=10, refresh=1, restart="base", score=None
    )


@pytest.mark.parametrize(
    ("k", "options", "sizes"),
    [
        (8, {"rounds": 3}, [2, 2, 2, 2]),
        (9, {"rounds": 3}, [2, 3, 2, 2]),
        (4, {"rounds": 10}, [2, 1, 1]),
        (9, {"per_round": 3}, [2, 3, 3, 1]),
        (12, {"initial": 11}, [11, 1]),
    ],
)
def test_rounds_are_as_large_as_asked(k: int, options: Any, sizes: list[int], choose: Choose):
    made = choose(k, **options)
    assert np.bincount(made.rounds).tolist() == sizes
    assert (np.diff(made.rounds) >= 0).all()
    assert [len(each["picks"]) for each in facts(made)] == sizes
    assert [each["rows"] for each in facts(made)] == np.cumsum(sizes).tolist()


def test_rounds_share_tokens(choose: Choose):
    made = choose("360tok", rounds=2)
    tokens = [int(made.tokens_N[before_round(made, number)].sum()) for number in (1, 2, 3)]
    assert [each["tokens"] for each in facts(made)] == tokens
    longest = made.tokens_N.max()
    assert tokens[1] <= (tokens[0] + 360) / 2 < tokens[1] + longest
    assert tokens[2] <= 360 < tokens[2] + longest


def test_rounds_of_rows_end_where_the_tokens_do(choose: Choose, quick: QuickTuning):
    made = choose("300tok", per_round=2)
    assert made.tokens_N[made.picks].sum() <= 300
    assert quick.trained == [str(n) for n in range(1, len(facts(made)))]
    assert {len(each["picks"]) for each in facts(made)[:-1]} == {2}
    assert len(facts(made)[-1]["picks"]) < 2


@pytest.mark.parametrize("seed", range(4))
def test_no_round_tunes_a_model_that_another_has_tuned(
    seed: int, choose: Choose, quick: QuickTuning
):
    made = choose("250tok", initial=4, rounds=6, seed=seed)
    sizes = np.bincount(made.rounds).tolist()
    assert sizes[0] >= 1 and made.tokens_N[made.picks].sum() <= 250
    assert all(each["picks"] for each in facts(made)[:-1])  # only the last may find nothing to fit
    rows = [len(call["rendered"]) for call in quick.calls]
    assert rows == sorted(set(rows)) == np.cumsum(sizes)[: len(rows)].tolist()
    assert quick.trained == [str(number) for number in range(1, len(rows) + 1)]


@pytest.mark.parametrize("sized", [{"rounds": 3}, {"per_round": 5}])
def test_rounds_end_where_the_pool_does(sized: Any, choose: Choose, tiny_pool: Pool):
    made = choose("10ktok", **sized)
    assert sorted(made.picks) == list(range(len(tiny_pool)))
    assert all(each["picks"] for each in facts(made))


def test_a_first_draw_as_large_as_the_budget_is_refused_before_anything_is_done(
    choose: Choose, quick: QuickTuning, tmp_path: Path
):
    with pytest.raises(BudgetError, match="use --set initial=4, or a larger -k"):
        choose(8, initial=8)
    with pytest.raises(BudgetError, match="use --set initial=1, or a larger -k"):
        choose("100tok", initial=8)
    with pytest.raises(BudgetError, match="use -k 2 or more, with --set initial=1"):
        choose(1)
    assert not quick.calls and not (tmp_path / "work").exists()


# --- what a round looks at --------------------------------------------------------------------


def test_the_first_draw_is_the_random_methods(choose: Choose, tiny_pool: Pool, tiny_model: Model):
    made = choose(seed=5)
    drawn = select(tiny_pool, "random", 2, tiny_model, seed=5)
    assert in_round(made, 0) == drawn.picks.tolist()
    assert made.reasons[:2] == drawn.reasons


def test_a_copy_of_a_taken_row_comes_last_at_distance_0(choose: Choose):
    made = choose(12)
    copy = max((1, 4), key=made.picks.tolist().index)
    assert made.picks[-1] == copy
    assert made.gains[-1] == 0


@pytest.mark.parametrize("rows", [[0, 0, 0, 1, 1, 2, 3, 5, 5, 7, 8, 9], [3] * 9 + [5, 5, 5]])
def test_pools_full_of_copies_are_spread_as_by_brute_force(
    rows: list[int], choose: Choose, tiny_pool: Pool, tmp_path: Path
):
    raw = [tiny_pool[i] for i in rows]
    pool = rebuilt(raw)
    made = choose(8, pool=pool)
    for number in (1, 2, 3):
        vectors_ND = seen(PLAIN, pool, tmp_path / f"work/rounds/{number}", tmp_path / f"{number}")
        wanted = farthest_first(vectors_ND, before_round(made, number), 2)
        assert in_round(made, number) == wanted


def rebuilt(examples: Sequence[Any]) -> Pool:
    from modicum.pool import RawRow

    return Pool.build(
        RawRow(f"c{i}", "copies", "", each.turns, 0, i, 0, 0) for i, each in enumerate(examples)
    )


@pytest.mark.parametrize(
    "view",
    [
        Hidden(pooling="mean", normalise=True),
        Hidden(pooling="last", normalise=False),
        Hidden(pooling="mean", normalise=False, layer=1),
    ],
)
def test_the_view_can_be_chosen(view: Hidden, choose: Choose, tiny_pool: Pool, tmp_path: Path):
    made = choose(view=view)
    vectors_ND = seen(view, tiny_pool, tmp_path / "work/rounds/3", tmp_path / "again")
    assert in_round(made, 3) == farthest_first(vectors_ND, before_round(made, 3), 2)


def test_options_of_the_view_leave_its_others_as_the_paper_has_them(
    choose: Choose, tiny_pool: Pool, tmp_path: Path
):
    view = Hidden(pooling="mean", normalise=False, whiten=True)
    assert build(DiverseEvol, {"whiten": "true"}).view == view
    made = choose(whiten=True)
    vectors_ND = seen(view, tiny_pool, tmp_path / "work/rounds/1", tmp_path / "again")
    assert in_round(made, 1) == farthest_first(vectors_ND, before_round(made, 1), 2)


@pytest.mark.parametrize(
    ("score", "sign"), [(Entropy(), -1), (LeastConfidence(), -1), (Margin(), 1)]
)
def test_with_a_score_a_round_takes_the_rows_its_model_is_least_sure_of(
    score: Any, sign: int, choose: Choose, tiny_pool: Pool, tmp_path: Path
):
    made = choose(score=score)
    for number in (1, 3):
        values_N = seen(score, tiny_pool, tmp_path / f"work/rounds/{number}", tmp_path / "again")
        taken = before_round(made, number)
        order = [i for i in np.argsort(sign * values_N, kind="stable") if i not in taken]
        assert in_round(made, number) == order[:2]
    assert made.reasons[-1].startswith(score.name)
    assert all(each["radius"] is None for each in facts(made))


@pytest.mark.parametrize(
    "part", [{"view": "lexical"}, {"view": Encoder()}, {"score": "length"}, {"score": "ask-llm"}]
)
def test_what_does_not_look_through_the_model_is_refused(part: Any, choose: Choose):
    with pytest.raises(OptionError, match="is not read from a pass of the rows through"):
        choose(**part)


# --- models ---------------------------------------------------------------------------------------


def test_every_round_starts_from_the_base(choose: Choose, quick: QuickTuning, tiny_model: Model):
    choose()
    assert [call["start"] for call in quick.calls] == [tiny_model.folder] * 3


def test_continue_starts_from_the_last_model(
    choose: Choose, quick: QuickTuning, tiny_model: Model, tmp_path: Path
):
    for keep in ("all", "last"):
        quick.calls.clear()
        choose(restart="continue", keep_models=keep, work=keep)
        rounds = tmp_path / keep / "rounds"
        starts = [call["start"] for call in quick.calls]
        assert starts == [tiny_model.folder, rounds / "1", rounds / "2"]
    choose(work="base")
    model = "rounds/2/model.safetensors"
    weights = [(tmp_path / work / model).read_bytes() for work in ("all", "base")]
    assert weights[0] != weights[1]


@pytest.mark.parametrize("restart", ["base", "continue"])
def test_refresh_tunes_in_every_second_round_only(
    restart: str, choose: Choose, quick: QuickTuning, tiny_pool: Pool, tmp_path: Path
):
    made = choose(12, per_round=2, refresh=2, restart=restart)
    assert quick.trained == ["1", "3", "5"]
    starts = [call["start"].name for call in quick.calls]
    assert restart == "base" or starts[1:] == ["1", "3"]
    assert [each["training_loss"] for each in facts(made)] == [None, 3, None, 7, None, 11]
    vectors_ND = seen(PLAIN, tiny_pool, tmp_path / "work/rounds/3", tmp_path / "again")
    assert in_round(made, 4) == farthest_first(vectors_ND, before_round(made, 4), 2)


@pytest.mark.parametrize(("keep", "kept"), [("all", ["1", "2", "3"]), ("last", ["3"])])
def test_models_are_kept_as_asked(keep: str, kept: list[str], choose: Choose, tmp_path: Path):
    made = choose(keep_models=keep)
    rounds = tmp_path / "work" / "rounds"
    assert sorted(path.parent.name for path in rounds.glob("*/model.safetensors")) == kept
    made.write(tmp_path / "run")
    assert not list(rounds.glob("*/measured"))
    assert sorted(path.parent.name for path in rounds.glob("*/model.safetensors")) == kept


@pytest.mark.parametrize("epochs", [0.0, -1.0])
def test_epochs_that_are_none_are_refused_before_anything_is_done(
    epochs: float, choose: Choose, tmp_path: Path
):
    with pytest.raises(OptionError, match=f"epochs={epochs}; give a number above 0"):
        choose(4, epochs=epochs)
    assert not (tmp_path / "work").exists()


def test_epochs_and_train_options_reach_the_tuning(choose: Choose, quick: QuickTuning):
    choose(4, epochs=2, train={"learning_rate": 0.5})
    assert quick.calls[0]["recipe"].given == {"learning_rate": 0.5, "num_train_epochs": 2}
    with pytest.raises(OptionError, match="num_train_epochs is given as 1 and as 2"):
        choose(4, epochs=2, train={"num_train_epochs": 1}, work="other")
