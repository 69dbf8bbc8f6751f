"""The methods that users compare with, each against what can be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from modicum.choose import Selection, select
from modicum.errors import BudgetError, OptionError
from modicum.meter import Meter
from modicum.models import Model
from modicum.plan import passes
from modicum.pool import Example, Pool, RawRow, Turn
from modicum.question import ask
from modicum.replay import Stage, Task
from modicum.replay.kpig import Kpig
from modicum.scores.ifd import IfdPpl
from modicum.scores.key_gain import KeyGain, masked
from modicum.scores.opinions import Worth
from modicum.scores.reversed_ifd import ReversedIfd
from modicum.store import Store
from modicum.views.lexical import Lexical

WORDS = {"view": "lexical", "dimensions": 64}


def pool_of(*rows: tuple[str, str], tasks: tuple[str, ...] = ()) -> Pool:
    named = tasks or (None,) * len(rows)
    return Pool.build(
        RawRow(f"r{i}", "s", q, (Turn("user", q, False), Turn("assistant", a, True)), 0, i, 0, 0, t)
        for i, ((q, a), t) in enumerate(zip(rows, named, strict=True))
    )


def seen(pool: Pool, meter: Meter, fitted_on: Pool | None = None) -> np.ndarray:
    vectors = Lexical(dimensions=64)(pool, meter, fitted_on=fitted_on)
    return np.asarray(vectors, dtype=np.float64)


def of_weather(*, tasks: tuple[str, ...] = ()) -> Pool:
    return pool_of(("Will it rain in Rome?", "Rain."), ("Add seven and nine.", "16"), tasks=tasks)


POOL = pool_of(
    ("Add three and four.", "7"),
    ("Does rain fall in Rome today?", "Yes, rain."),
    ("Write a poem about cheese.", "O cheese."),
    ("Add seven and five.", "12"),
    ("Is there rain in Paris?", "Rain."),
    ("Write a song about cheese.", "O cheese!"),
    ("Add seven and nine, and one.", "17"),
)


def test_rds_serves_each_target_row_in_turn(tiny_model: Model, store: Store):
    meter, target = Meter(tiny_model, store), of_weather()
    like_MN = seen(target, meter, POOL) @ seen(POOL, meter).T
    left, expected = list(range(len(POOL))), []
    for turn in range(len(POOL)):
        best = max(left, key=lambda i: (round(like_MN[turn % 2, i], 6), -i))
        expected.append(best)
        left.remove(best)
    chosen = select(POOL, "rds", 7, tiny_model, target=target, store=store, **WORDS)
    assert chosen.picks.tolist() == expected
    assert chosen.reasons[1].endswith("to target row 1")


def test_rds_serves_tasks_in_turn_where_the_target_names_them(tiny_model: Model, store: Store):
    target = of_weather(tasks=("weather", "sums"))
    chosen = select(POOL, "rds", 4, tiny_model, target=target, store=store, **WORDS)
    said = [reason.partition("target rows of ")[2] for reason in chosen.reasons]
    assert said == [f"{task}, whose turn it was" for task in ("sums", "weather") * 2]
    assert chosen.picks[0] == 6
    one_task = of_weather(tasks=("all", "all"))
    plain = select(POOL, "rds", 4, tiny_model, target=one_task, store=store, **WORDS)
    assert plain.reasons[0].endswith("to target row 0")


def test_semdedup_keeps_one_of_each_kind(tiny_model: Model, store: Store):
    twice = pool_of(*[(row.turns[0].content, row.turns[1].content) for row in POOL] * 2)
    options = {"clusters": 2, "max_similarity": 0.999, "store": store, **WORDS}
    for keep, best in (("hardest", np.max), ("easiest", np.min)):
        chosen = select(twice, "semdedup", 7, tiny_model, keep=keep, score="length", **options)
        assert {pick % 7 for pick in chosen.picks.tolist()} == set(range(7))
        assert chosen.scores["length"][chosen.picks[0]] == best(chosen.scores["length"])
        assert (
            "7 of 14 rows are more than 0.999 like one that stays or is chosen" in chosen.notes[0]
        )
    drawn = [
        select(twice, "semdedup", 7, tiny_model, seed=seed, **options).picks.tolist()
        for seed in range(3)
    ]
    assert len({tuple(picks) for picks in drawn}) == 3
    with pytest.raises(BudgetError, match="offers 7 rows, 8 were asked"):
        select(twice, "semdedup", 8, tiny_model, **options)


def test_a_request_is_guessed_from_its_answer(tiny_model: Model, meter: Meter):
    from modicum.evaluation.options import option_losses  # another way to the same loss

    part, row = ReversedIfd(), POOL.take([1])
    turned = part.asked(row)[0]
    assert turned.turns[0].content.endswith("\n\nYes, rain.\n")
    assert turned.turns[1] == Turn("assistant", "Does rain fall in Rome today?", True)
    rendered = meter.rendered(part.asked(row))
    ids_T, kinds_T = rendered.row(0)
    start = int(np.argmax(kinds_T == 2))
    assert (kinds_T[start:] == 2).sum() == rendered.answer_lengths_N[0]
    answer_T = ids_T[kinds_T == 2]
    start_T = np.array([tiny_model.tokenizer.bos_token_id])
    losses = option_losses(
        [ids_T[:start], start_T], [[answer_T], [answer_T]], tiny_model, meter.ledger
    )
    given, alone = losses.loss_M / len(answer_T)
    assert part(row, meter)[0] == pytest.approx(np.exp(given - alone), rel=1e-4)


def test_selective_reflection_accepts_what_tells_of_each_other(tiny_model: Model, store: Store):
    meter = Meter(tiny_model, store)
    ifd_N, reversed_N = IfdPpl()(POOL, meter), ReversedIfd()(POOL, meter)
    accept = float(np.median(np.maximum(ifd_N, reversed_N)))
    accepted = np.flatnonzero((ifd_N < accept) & (reversed_N < accept))
    assert 0 < len(accepted) < 7
    chosen = select(
        POOL, "selective-reflection", len(accepted), tiny_model, store=store, accept=accept
    )
    assert chosen.picks.tolist() == sorted(accepted.tolist(), key=lambda i: -ifd_N[i])
    assert list(chosen.scores) == ["ifd-ppl", "reversed-ifd"]


@pytest.mark.parametrize(
    ("said", "phrases", "expected"),
    [
        ("Name the capital of France.", ["capital", "France"], "Name the _ of _."),
        ("name France, francE and Frances", ["france"], "name _, _ and Frances"),
        ("the old   red house", ["red house", "house"], "the old   _ _"),
        ("a (b) c", ["(b)"], "a _ c"),
        ("Why so?", [], "_ _"),
    ],
)
def test_key_words_are_masked_word_by_word(said: str, phrases: list[str], expected: str):
    turns = (Turn("user", said, False), Turn("assistant", "France is red", True))
    made = masked(Example("x", "", said, turns), phrases)
    assert made == (Turn("user", expected, False), turns[1])


def test_kpig_takes_the_answers_that_need_no_key_words(tiny_model: Model, store: Store):
    meter = Meter(tiny_model, store)
    gain_N = KeyGain()(POOL, meter)
    chosen = select(POOL, "kpig", 7, tiny_model, store=store)
    assert chosen.picks.tolist() == np.argsort(gain_N, kind="stable").tolist()
    assert chosen.gains[0] == gain_N.min()


def test_deita_goes_down_from_the_best_and_takes_no_two_alike(tiny_model: Model, store: Store):
    meter = Meter(tiny_model, store)
    worth_N, vectors_ND = Worth()(POOL, meter), seen(POOL, meter)
    expected: list[int] = []
    for i in np.argsort(-worth_N, kind="stable").tolist():
        if all(vectors_ND[i] @ vectors_ND[j] <= 0.3 for j in expected):
            expected.append(i)
    assert len(expected) < 7
    options = {"max_similarity": 0.3, "store": store, **WORDS}
    chosen = select(POOL, "deita", len(expected), tiny_model, **options)
    assert chosen.picks.tolist() == expected


def test_superfilter_spreads_over_the_hardest(tiny_model: Model, store: Store):
    meter = Meter(tiny_model, store)
    ifd_N = IfdPpl()(POOL, meter)
    hardest = set(np.argsort(-ifd_N, kind="stable")[:4].tolist())
    options = {"share": 4 / 7, "drop_above_one": False, "store": store, **WORDS}
    chosen = select(POOL, "superfilter", 4, tiny_model, **options)
    assert set(chosen.picks.tolist()) == hardest
    inside = sorted(hardest)
    like_MM = np.maximum(seen(POOL, meter)[inside] @ seen(POOL, meter)[inside].T, 0)
    assert chosen.picks[0] == inside[int(like_MM.sum(axis=1).argmax())]
    with pytest.raises(BudgetError, match="is 4, and 5 are to be picked"):
        select(POOL, "superfilter", 5, tiny_model, **options)


def test_facility_says_that_many_rows_meet_their_neighbours_only(
    tiny_model: Model, store: Store, monkeypatch: pytest.MonkeyPatch
):
    def chosen() -> Selection:
        return select(POOL, "facility", 3, tiny_model, store=store, **WORDS)

    whole = chosen()
    assert not any("nearest" in note for note in whole.notes)
    monkeypatch.setattr("modicum.methods.facility.DENSE", 6)
    assert any("each is compared with its 64 nearest only" in note for note in chosen().notes)
    assert chosen().picks.tolist() == whole.picks.tolist()


@pytest.mark.parametrize("name", ["ask-llm", "kpig", "selective-reflection"])
def test_what_is_asked_of_rows_made_of_rows_is_foretold(name: str, tiny_model: Model, store: Store):
    meter = Meter(tiny_model, store)
    asked = ask(POOL, name, 2, meter, 0)
    foretold = sum(work.tokens for work in asked.plan)
    own = sum(work.tokens for work in passes(meter.rendered(POOL), asked.wants()))
    assert foretold > own
    chosen = select(POOL, name, 2, tiny_model, store=Store(store.folder / "other"))
    assert chosen.meter.ledger.forward_tokens == foretold


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("deita", {"max_similarity": 2.0}, "is not a cosine"),
        ("semdedup", {"clusters": 0}, "clusters=0"),
        ("semdedup", {"max_similarity": -2.0}, "is not a cosine"),
        ("facility", {"quality": 2.0}, "quality=2.0: give a share"),
        ("superfilter", {"share": 0.0}, "share=0.0: give a share"),
        ("density", {"bandwidth": 0.0}, "a distance above 0"),
        ("kpig", {"top": 0}, "top=0"),
    ],
)
def test_what_a_method_cannot_take_is_refused_before_anything_is_measured(
    name: str, options: dict[str, object], said: str, tiny_model: Model
):
    with pytest.raises(OptionError, match=said):
        select(POOL, name, 3, tiny_model, **options)  # type: ignore[arg-type]


def test_kpig_replays_more_of_the_task_that_needs_its_key_words_less(
    tiny_model: Model, store: Store
):
    sums, prose = POOL.take([0, 3, 6]), POOL.take([1, 2, 4, 5])
    meter = Meter(tiny_model, store)
    means = [float(KeyGain()(pool, meter).mean()) for pool in (sums, prose)]
    old, new = (Task("sums", sums), Task("prose", prose)), Task("new", POOL.take([0]))
    stage = Stage(old, new, 4, meter, meter)
    plan = Kpig()(stage)
    assert plan.weight_J == pytest.approx(np.exp(-np.array(means)))
    assert plan.quota_J.sum() == 4
    assert stage.facts["key-gain"] == pytest.approx(
        dict(zip(("sums", "prose"), means, strict=True))
    )
    for pool, steps in zip((sums, prose), plan.steps, strict=True):
        lowest = np.argsort(KeyGain()(pool, meter), kind="stable")[: len(steps)]
        assert [step.pick for step in steps] == lowest.tolist()
    evenly = Kpig(how_much="uniform")(Stage(old, new, 4, meter, meter))
    assert evenly.quota_J.tolist() == [2, 2]


def test_superfilter_with_nothing_below_one_says_so_in_one_line(tiny_model: Model, store: Store):
    with pytest.raises(BudgetError, match="the method offers 0 rows"):
        select(POOL, "superfilter", 1, tiny_model, store=store, score="length", **WORDS)
    with pytest.raises(BudgetError, match=r"share=0\.2 of 7 rows is 1, and 3 are to be picked"):
        select(POOL, "superfilter", 3, tiny_model, store=store, **WORDS)


def test_key_words_are_masked_across_lines():
    turns = (Turn("user", "Tell of machine\n learning now.", False),)
    made = masked(Example("r", "", "", turns), ["machine learning"])
    assert made[0].content == "Tell of _\n _ now."


def test_tokens_that_no_row_is_offered_for_are_told(tiny_model: Model, store: Store):
    options = {"view": "lexical", "share": 0.3, "drop_above_one": False}
    chosen = select(POOL, "superfilter", "100ktok", tiny_model, store=store, **options)
    assert len(chosen) == 2
    assert any("no more rows are offered" in note for note in chosen.notes)
    plain = select(POOL, "random", "60tok", tiny_model, store=store)
    assert not any("no more rows" in note for note in plain.notes)
