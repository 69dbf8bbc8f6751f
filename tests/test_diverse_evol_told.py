"""What DiverseEvol tells of its rounds, and what it does with rows that a model cannot see."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diverse_evol_rounds import (
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
)
from modicum.errors import AlignmentError, BudgetError, ModelError, TrainingError
from modicum.meter import Meter
from modicum.models import Model
from modicum.pool import Pool
from modicum.scores.uncertainty import Entropy
from modicum.selection import nearest_distance, vendi
from modicum.views.hidden import Hidden
from modicum.wants import HiddenState
from quick_tuning import QuickTuning

__all__ = ["choose", "known_rates", "quick"]


# --- rounds.json ----------------------------------------------------------------------------------


def test_rounds_json_tells_of_every_round(choose: Choose, tiny_pool: Pool, tmp_path: Path):
    made = choose()
    made.write(tmp_path / "run")
    told = json.loads((tmp_path / "run" / "rounds.json").read_text(), parse_constant=pytest.fail)
    assert [each["round"] for each in told] == [0, 1, 2, 3]
    for each in told:
        assert [tiny_pool.ids.index(name) for name in each["ids"]] == in_round(made, each["round"])
        assert [pick["position"] for pick in each["picks"]] == in_round(made, each["round"])
        assert set(each["diversity"]) == {"vendi", "mean_nearest_distance"}
        assert each["ledger"]["backward_tokens"] == (each["training"] or {}).get("tokens_seen", 0)
    assert told[0]["training_loss"] is told[0]["radius"] is None
    assert told[2]["training_loss"] == 5  # as QuickTuning says of 4 rows


def test_the_radius_is_the_distance_of_the_farthest_row_left(
    choose: Choose, tiny_pool: Pool, tmp_path: Path
):
    made = choose()
    for number in (1, 2, 3):
        vectors_ND = seen(PLAIN, tiny_pool, tmp_path / f"work/rounds/{number}", tmp_path / "again")
        taken = before_round(made, number + 1)
        apart_NM = np.linalg.norm(vectors_ND[:, None] - vectors_ND[taken], axis=2)
        assert facts(made)[number]["radius"] == pytest.approx(apart_NM.min(axis=1).max(), rel=1e-5)


def test_nothing_is_left_to_have_a_radius_when_all_rows_are_taken(choose: Choose):
    assert facts(choose(12))[-1]["radius"] is None


def test_diversity_is_that_of_all_taken_in_the_bases_view(
    choose: Choose, tiny_pool: Pool, tiny_model: Model, tmp_path: Path
):
    made = choose()
    base_ND = seen(PLAIN, tiny_pool, tiny_model.folder, tmp_path / "again")
    taken_MD = base_ND[before_round(made, 3)]
    told = facts(made)[2]["diversity"]
    assert told["vendi"] == pytest.approx(vendi(taken_MD), rel=1e-4)
    assert told["mean_nearest_distance"] == pytest.approx(nearest_distance(taken_MD), rel=1e-4)


# --- one round, for people who train elsewhere ----------------------------------------------------


def test_with_chosen_rows_the_model_given_takes_the_farthest_and_nothing_is_tuned(
    choose: Choose, quick: QuickTuning, tiny_pool: Pool, tiny_model: Model, tmp_path: Path
):
    before = [2, 6, 9]
    made = choose(4, chosen=tiny_pool.take(before))
    base_ND = seen(PLAIN, tiny_pool, tiny_model.folder, tmp_path / "again")
    assert made.picks.tolist() == farthest_first(base_ND, before, 4)
    assert made.rounds.tolist() == [1] * 4
    assert not quick.calls and made.meter.ledger.trained_rows == 0
    assert made.predicted is None
    assert len(facts(made)) == 1 and facts(made)[0]["training_loss"] is None


def test_with_chosen_rows_and_a_score_the_model_given_is_asked(
    choose: Choose, tiny_pool: Pool, tiny_model: Model, tmp_path: Path
):
    made = choose(4, chosen=tiny_pool.take([2, 6]), score="entropy")
    values_N = seen(Entropy(), tiny_pool, tiny_model.folder, tmp_path / "again")
    order = [i for i in np.argsort(-values_N, kind="stable") if i not in (2, 6)]
    assert made.picks.tolist() == order[:4]


# --- rows that a model cannot see ---------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"score": "entropy"}])
def test_a_model_that_cannot_see_the_rows_it_was_tuned_on_is_refused(
    options: dict[str, Any], choose: Choose, monkeypatch: pytest.MonkeyPatch
):
    for kind in (Hidden, Entropy):
        monkeypatch.setattr(kind, "__call__", lost(kind.__call__))
    with pytest.raises(TrainingError, match=r"2 of 2 rows .* lower --train learning_rate"):
        choose(**options)


def lost(call: Any) -> Any:
    def looked(self: Any, pool: Pool, meter: Meter, **more: Any) -> np.ndarray:
        tuned = "rounds" in str(meter.model.folder)
        return np.array(call(self, pool, meter, **more)) * (np.nan if tuned else 1)

    return looked


def test_a_model_whose_weights_are_no_numbers_is_refused(choose: Choose, quick: QuickTuning):
    quick.step = float("nan")
    with pytest.raises(ModelError, match=r"not finite.* lower learning rate"):
        choose()


def test_a_row_that_a_model_cannot_see_is_not_taken_by_it_and_is_named(
    choose: Choose, monkeypatch: pytest.MonkeyPatch
):
    real = Hidden.__call__

    def blind(self: Hidden, pool: Pool, meter: Meter, **more: Any) -> np.ndarray:
        vectors_ND = np.array(real(self, pool, meter, **more))
        vectors_ND[[name == "r3" for name in pool.ids]] = np.nan
        return vectors_ND

    monkeypatch.setattr(Hidden, "__call__", blind)
    made = choose()
    assert 3 not in made.picks
    assert "no finite vector" in made.left_out[3]
    assert facts(made)[1]["unmeasured"] == [3]
    assert choose().left_out == made.left_out  # also when the rounds are read again


def test_positions_are_the_users_where_rows_were_left_out(choose: Choose, tiny_pool: Pool):
    made = choose(6, evaluation=tiny_pool.take([5, 8]), rounds=2)
    assert not {5, 8} & set(made.picks.tolist())
    for each in facts(made):
        assert [tiny_pool.ids[pick["position"]] for pick in each["picks"]] == each["ids"]
    wanted = HiddenState(-1, "mean", "row")
    assert PLAIN.wants == (wanted,)


@pytest.mark.parametrize("seed", range(4))
def test_the_first_draw_passes_over_rows_without_a_word_of_the_user(
    seed: int, choose: Choose, odd_pool: Pool
):
    view = Hidden(pooling="mean", normalise=False, over="instruction")
    made = choose(12, pool=odd_pool, view=view, initial=5, rounds=1, seed=seed)
    assert sorted(made.picks) == list(range(12))
    assert made.left_out[13] == "the hidden view gives no finite vector"
    order = np.random.default_rng(seed).permutation(13).tolist()  # row 12 has no answer to learn
    assert in_round(made, 0) == [i for i in order if i != 12][:5]
    assert facts(made)[0]["unmeasured"] == [13] * (12 in order[:5])


def test_with_a_score_the_first_draw_passes_over_rows_without_a_number(
    choose: Choose, monkeypatch: pytest.MonkeyPatch
):
    real = Entropy.__call__

    def blind(self: Entropy, pool: Pool, meter: Meter) -> np.ndarray:
        values_N = np.array(real(self, pool, meter))
        values_N[[name == "r3" for name in pool.ids]] = np.nan
        return values_N

    monkeypatch.setattr(Entropy, "__call__", blind)
    made = choose(11, score="entropy", initial=10, rounds=1)
    assert 3 not in made.picks
    assert made.left_out == {3: "entropy is not a number to rank by"}
    assert facts(made)[0]["unmeasured"] in ([], [3])


def test_a_first_draw_for_a_whitened_view_needs_no_whitening(choose: Choose):
    assert len(choose(3, initial=1, rounds=1, whiten=True)) == 3


def test_the_first_draw_measures_no_more_rows_than_it_takes(choose: Choose):
    assert facts(choose())[0]["ledger"]["forward_passes"] == 2
    assert facts(choose(score="entropy", work="other"))[0]["ledger"]["forward_passes"] == 2


def test_a_score_of_another_length_is_refused(choose: Choose, monkeypatch: pytest.MonkeyPatch):
    real = Entropy.__call__

    def short(self: Entropy, pool: Pool, meter: Meter) -> np.ndarray:
        values_N = real(self, pool, meter)
        return values_N[:-1] if len(pool) == 12 else values_N

    monkeypatch.setattr(Entropy, "__call__", short)
    with pytest.raises(AlignmentError, match=r"score entropy gave an array of shape \(11,\)"):
        choose(score="entropy")


def test_a_budget_for_no_row_is_refused_as_by_any_method(choose: Choose, tiny_pool: Pool):
    for options in ({}, {"score": "entropy"}):
        with pytest.raises(BudgetError, match=r"the first row taken .* use -k \d+tok or more"):
            choose("5tok", chosen=tiny_pool.take([2]), **options)


def test_a_first_draw_longer_than_the_budget_is_refused_as_by_any_method(
    choose: Choose, tiny_pool: Pool
):
    pool = tiny_pool.take([2, 5, 6, 7])  # of 19, 79, 25 and 44 tokens
    seed = next(s for s in range(99) if np.random.default_rng(s).permutation(4)[0] == 1)
    with pytest.raises(BudgetError, match=r"the first row taken \(row 1\) has 79 tokens"):
        choose("60tok", pool=pool, initial=1, seed=seed)


def test_no_tuned_model_is_held_longer_than_it_is_used(
    choose: Choose, monkeypatch: pytest.MonkeyPatch
):
    through, meters = Meter.through, list[Meter]()

    def spied(self: Meter, *given: Any) -> Meter:
        meters.append(through(self, *given))
        return meters[-1]

    def looked(self: Hidden, pool: Pool, meter: Meter, **more: Any) -> np.ndarray:
        held = [each for each in meters if "network" in vars(each.model)]
        assert len(held) <= (meter in meters)
        return call(self, pool, meter, **more)

    call = Hidden.__call__
    monkeypatch.setattr(Meter, "through", spied)
    monkeypatch.setattr(Hidden, "__call__", looked)
    choose()
    assert len(meters) == 3
    assert not [each for each in meters if "network" in vars(each.model)]
