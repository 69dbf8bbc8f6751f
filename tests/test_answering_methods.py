"""The methods that look at a model's own answers or its losses on the way, worked out by hand."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from modicum.cache import cache_folder
from modicum.choose import select
from modicum.errors import OptionError
from modicum.generation import generate
from modicum.meter import Meter
from modicum.models import Model
from modicum.own_answers import own_answers, with_answers
from modicum.pool import Pool, RawRow, Turn
from modicum.scores.judge_gap import JudgeGap
from modicum.scores.loss import Loss
from modicum.scores.opinions import Quality
from modicum.scores.wrong_answer import WrongAnswer
from modicum.store import Store
from modicum.training.tune import Tuned
from modicum.views.lexical import Lexical
from modicum.wants import Want
from quick_tuning import QuickTuning

TOKENS = 6


def pool_of(*rows: tuple[str, str]) -> Pool:
    return Pool.build(
        RawRow(f"r{i}", "s", q, (Turn("user", q, False), Turn("assistant", a, True)), 0, i, 0, 0)
        for i, (q, a) in enumerate(rows)
    )


POOL = pool_of(
    ("Add three and four.", "7"),
    ("Does rain fall in Rome today?", "Yes, rain."),
    ("Write a poem about cheese.", "O cheese."),
    ("Add seven and five.", "12"),
    ("Is there rain in Paris?", "Rain."),
    ("Write a song about cheese.", "O cheese!"),
    ("Add seven and nine, and one.", "17"),
)


@dataclass(frozen=True)
class OfCheese:
    """A judge to whom the model answers worse where cheese is asked for."""

    name: ClassVar[str] = "of-cheese"
    wants: ClassVar[tuple[Want, ...]] = ()

    def __call__(self, pool: Pool, meter: Meter) -> np.ndarray:
        return np.array([1.0 if "cheese" in row.instruction else -1.0 for row in pool], np.float32)


def test_own_answers_are_those_that_are_generated_and_are_kept(tiny_model: Model, meter: Meter):
    made = generate(meter.rendered(POOL), tiny_model, meter.ledger, max_new_tokens=TOKENS)
    own = own_answers(POOL, meter, TOKENS)
    assert own.answers == made.answers
    assert own.cut_N.tolist() == made.cut_N.tolist()
    before = meter.ledger.generated_tokens
    assert own_answers(POOL.take([3, 5]), meter, TOKENS).answers == [own.answers[3], own.answers[5]]
    assert meter.ledger.generated_tokens == before
    with pytest.raises(OptionError, match="max_new_tokens=0"):
        own_answers(POOL, meter, 0)


def test_what_was_killed_writes_only_what_is_missing(
    tiny_model: Model, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MODICUM_CACHE", str(tmp_path / "cache"))
    own = own_answers(POOL, Meter(tiny_model, store), TOKENS)
    (kept,) = (cache_folder() / "answers").glob("*.jsonl")
    lines = kept.read_bytes().splitlines(keepends=True)
    kept.write_bytes(b"".join(lines[:4]) + lines[4][:20])  # the fifth was being written
    again = Meter(tiny_model, store)
    assert own_answers(POOL, again, TOKENS).answers == own.answers
    assert again.ledger.rows_reused == 4


def test_a_row_that_cannot_be_asked_has_no_answer(tiny_model: Model, store: Store):
    meter = Meter(tiny_model, store, limit=40)
    pool = pool_of(("Add three and four.", "7"), ("Add " + "three and " * 40, "120"))
    own = own_answers(pool, meter, TOKENS)
    assert own.answers[0] is not None
    assert own.answers[1] is None
    assert np.isnan(WrongAnswer(TOKENS)(pool, meter)).tolist() == [False, True]
    assert np.isnan(JudgeGap(TOKENS)(pool, Meter(tiny_model, store, limit=40)))[1]


def test_wrong_answers_are_taken_and_right_ones_are_not(tiny_model: Model, store: Store):
    own = own_answers(POOL, Meter(tiny_model, store), TOKENS)
    right = [1, 4]
    known = [own.answers[i] if i in right else None for i in range(len(POOL))]
    known[4] = f"  {own.answers[4]}. "  # case, punctuation and white space do not count
    pool = with_answers(POOL, known)
    cut = [i for i in right if own.cut_N[i]]
    made = WrongAnswer(TOKENS)(pool, Meter(tiny_model, store))
    assert cut
    assert np.isnan(made[cut]).all()  # they might have gone on
    assert made[[0, 3]].tolist() == [1.0, 1.0]  # of one token: nothing could have made them right
    longer = own_answers(pool, Meter(tiny_model, store), 2 * TOKENS)
    said = "Not this at all"
    expected = [float(i not in right) for i in range(len(POOL))]
    with pytest.MonkeyPatch.context() as patch:
        ended = longer._replace(answers=[*map(str, own.answers)], cut_N=np.zeros(7, dtype=bool))
        patch.setattr("modicum.scores.wrong_answer.own_answers", lambda *_: ended)
        assert WrongAnswer(TOKENS)(pool, Meter(tiny_model, store)).tolist() == expected
        chosen = select(pool, "wrong-answers", 5, tiny_model, store=store, max_new_tokens=TOKENS)
        assert set(chosen.picks.tolist()) == set(range(7)) - set(right)
        assert "2 of 7 rows are answered right: not offered" in chosen.notes
        ended = ended._replace(answers=[said] * 7)
        assert WrongAnswer(TOKENS)(pool, Meter(tiny_model, store)).tolist() == [1.0] * 7


def test_a_judges_gap_is_between_the_row_and_the_models_own(tiny_model: Model, store: Store):
    meter, quality = Meter(tiny_model, store), Quality()
    made = generate(meter.rendered(POOL), tiny_model, meter.ledger, max_new_tokens=TOKENS)
    asked = zip(POOL, made.answers, strict=True)
    own = pool_of(*((row.turns[0].content, said) for row, said in asked))
    expected = quality(POOL, meter) - quality(own, meter)
    expected[[said == "" for said in made.answers]] = np.nan  # see the next test
    found = JudgeGap(TOKENS)(POOL, Meter(tiny_model, store))
    there = np.isfinite(expected)
    assert there.any()
    np.testing.assert_allclose(found[there], expected[there], atol=1e-5)
    chosen = select(
        POOL, "judge-gap", 3, tiny_model, store=store, max_new_tokens=TOKENS, above=-10.0
    )
    assert chosen.picks.tolist() == sorted(range(7), key=lambda i: (-found[i], i))[:3]
    above = float(np.sort(found)[-3])
    fewer = select(
        POOL, "judge-gap", 2, tiny_model, store=store, max_new_tokens=TOKENS, above=above
    )
    assert fewer.picks.tolist() == chosen.picks[:2].tolist()


def test_an_empty_answer_is_the_worst(tiny_model: Model, store: Store):
    meter = Meter(tiny_model, store)
    own = own_answers(POOL, meter, TOKENS)._replace(answers=["", None, *["Rain."] * 5])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("modicum.scores.judge_gap.own_answers", lambda *_: own)
        found = JudgeGap(TOKENS)(POOL, meter)
    given = Quality()(POOL, meter)
    assert found[0] == pytest.approx(given[0] - 1)
    assert np.isnan(found[1])
    assert found[4] == pytest.approx(0, abs=1e-5)  # it says what the row says


def test_iter_select_learns_what_is_hard(tiny_model: Model, store: Store):
    topics = ("a poem about cheese", "the rain in Rome", "the sum of seven and five")
    rows = [(f"{verb} {topic} {n}.", "Yes.") for n in range(4) for topic in topics for verb in "AB"]
    pool = pool_of(*rows)
    options = {"view": Lexical(dimensions=64), "score": OfCheese(), "initial": 3, "per_round": 2}
    chosen = select(pool, "iter-select", 8, tiny_model, store=store, **options)
    assert all("cheese" in rows[i][0] for i in chosen.picks)
    assert chosen.notes[0].startswith("7 rows were judged, ")
    value_N = chosen.scores["iter-select"]
    assert value_N[chosen.picks].tolist() == sorted(value_N, reverse=True)[:8]


def test_iter_selects_score_by_hand(tiny_model: Model, store: Store):
    vectors_ND = Lexical(dimensions=64)(POOL, Meter(tiny_model, store))
    hard_N = np.array(["cheese" in row.instruction for row in POOL], dtype=float)
    options = {"view": Lexical(dimensions=64), "score": OfCheese(), "alpha": 0.25}
    chosen = select(POOL, "iter-select", 7, tiny_model, store=store, initial=7, **options)
    learned = LogisticRegression(max_iter=1000).fit(vectors_ND, hard_N)
    chance_N = learned.predict_proba(vectors_ND)[:, 1]
    like_NN = vectors_ND @ vectors_ND.T
    np.fill_diagonal(like_NN, -1)
    like_N = like_NN[:, hard_N == 1].max(axis=1)
    expected = 0.25 * chance_N + 0.75 * like_N
    # Unit vectors are rounded to float16 once.
    np.testing.assert_allclose(chosen.scores["iter-select"], expected, atol=5e-4)
    with pytest.raises(OptionError, match="alpha=2"):
        select(POOL, "iter-select", 2, tiny_model, alpha=2.0)


def test_s2l_serves_the_kinds_of_curves_in_turn(
    tiny_model: Model, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("modicum.question.calibrate", lambda *_: None)
    monkeypatch.setattr("modicum.choose._predicted", lambda *_: None)
    tuning = QuickTuning()
    monkeypatch.setattr("modicum.methods.s2l.tune", tuning)
    options = {"clusters": 3, "checkpoints": 2, "work": tmp_path / "work"}
    chosen = select(POOL, "s2l", 7, tiny_model, store=store, **options)
    for number in (1, 2):
        folder = tmp_path / "work" / f"checkpoint-{number}"
        after = Meter(Tuned(folder, {}).model(tiny_model), store)
        np.testing.assert_allclose(chosen.scores[f"loss-{number}"], Loss()(POOL, after), rtol=1e-5)
    of = [reason.partition("from ")[2].partition(",")[0] for reason in chosen.reasons]
    size = {cluster: int(cluster.split()[3]) for cluster in of}
    assert Counter(of) == size
    large = [cluster for cluster in of if size[cluster] > 2]
    assert of[: len(large)] == large  # the others come last
    for turn in range(max(size.values())):
        served = [c for c in dict.fromkeys(large) if size[c] > turn]
        at = sum(min(size[c], turn) for c in dict.fromkeys(large))
        assert sorted(large[at : at + len(served)]) == sorted(served)
