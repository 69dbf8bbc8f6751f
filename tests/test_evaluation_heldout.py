"""A model on held-out rows: a finite value for each, or a refusal that names the row."""

from __future__ import annotations

import json

import numpy as np
import pytest

from modicum.errors import AlignmentError, InputError, OptionError, TrainingError
from modicum.evaluation.heldout import Evaluated, evaluate, paired_differences
from modicum.evaluation.measures import VERSION, scoring
from modicum.generation import generate
from modicum.ledger import Ledger
from modicum.meter import Meter
from modicum.pool import Pool, RawRow, Turn
from modicum.render import render
from modicum.scores.loss import Loss as LossScore
from modicum.wants import Loss

HOW = "loss-v1"


def pool_of(*rows: tuple[Turn, ...]) -> Pool:
    return Pool.build(RawRow(f"r{i}", "held out", "", t, 0, i, 0, 0) for i, t in enumerate(rows))


def asked(question: str, answer: str) -> tuple[Turn, ...]:
    return Turn("user", question, False), Turn("assistant", answer, True)


@pytest.fixture(scope="module")
def found(tiny_pool, tiny_model, tmp_path_factory) -> Evaluated:
    from modicum.store import Store

    return evaluate(
        tiny_pool,
        Meter(tiny_model, Store(tmp_path_factory.mktemp("measured"))),
        max_new_tokens=8,
    )


def test_every_row_has_a_loss_an_exact_match_and_a_rouge_l(found, tiny_pool, meter):
    assert list(found.values) == ["loss", "exact", "rouge_l"]
    for values_N in found.values.values():
        assert values_N.shape == (12,) and values_N.dtype == np.float64
    assert found.values["loss"].tolist() == LossScore()(tiny_pool, meter).tolist()
    assert len(found.answers) == 12 and found.pool == tiny_pool.fingerprint


def test_bits_per_byte_are_the_answers_loss_over_the_bytes_of_their_text(tiny_pool, meter):
    found = evaluate(tiny_pool, meter, ["loss", "bits"]).values
    # Row 6 answers c-a-t: five bytes, a token each, and the end of the turn.
    at_6 = 6 * found["loss"][6] / np.log(2) / 5
    assert found["bits_per_byte"][6] == pytest.approx(at_6)


def test_bits_per_byte_count_every_learned_turn(tiny_pool, meter):
    text = "An apple.A pomegranate is a fruit with a longer name."
    found = evaluate(tiny_pool.take([10]), meter, ["loss", "bits"]).values
    rows = meter.rendered(tiny_pool.take([10]))
    nats = found["loss"][0] * rows.answer_lengths_N[0]  # the ends of both turns among them
    assert found["bits_per_byte"][0] == pytest.approx(nats / np.log(2) / len(text))


@pytest.mark.parametrize("measures", [[], ["loss", "loss"], ["speed"]])
def test_measures_that_are_none_or_named_twice_are_refused(tiny_pool, meter, measures):
    with pytest.raises(OptionError, match="measure"):
        evaluate(tiny_pool, meter, measures)


def test_only_a_judge_may_leave_a_value_out():
    gaps = np.array([1.0, np.nan])
    assert Evaluated("p", "judge", {"judge": gaps}).means() == {"judge": 1.0}
    assert Evaluated("p", "judge", {"judge": gaps}).to_json()["values"] == {"judge": [1.0, None]}
    with pytest.raises(InputError, match="row 1 is nan"):
        Evaluated("p", "loss", {"loss": gaps})


def test_means_are_over_all_rows(found):
    assert found.means()["loss"] == pytest.approx(sum(found.values["loss"]) / 12)
    by_hand = Evaluated("p", "generated-64-v1", {"exact": np.array([1.0, 0.0, 0.0, 1.0])})
    assert by_hand.means() == {"exact": 0.5}


def test_a_row_whose_reference_is_what_the_model_says_matches(tiny_model, meter):
    two = pool_of(asked("Say hello.", "x"), asked("Name a colour.", "y"))
    rendered = render(two, tiny_model.tokenizer)
    said = generate(rendered, tiny_model, Ledger(), max_new_tokens=8).answers
    right = pool_of(asked("Say hello.", said[0]), asked("Name a colour.", "zzz"))
    found = evaluate(right, meter, max_new_tokens=8)
    assert found.answers == said
    assert found.values["exact"].tolist() == [1.0, 0.0]
    assert found.values["rouge_l"][0] == 1.0 > found.values["rouge_l"][1]


def test_the_reference_is_the_last_learned_answer_of_a_row(tiny_model, meter):
    turns = (*asked("Say hello.", "Hello."), *asked("Again.", "x"))
    rendered = render(pool_of(turns), tiny_model.tokenizer)
    (said,) = generate(rendered, tiny_model, Ledger(), max_new_tokens=8).answers
    right = pool_of((*turns[:-1], Turn("assistant", said, True)))
    assert evaluate(right, meter, max_new_tokens=8).values["exact"].tolist() == [1.0]


def test_without_generating_there_is_the_loss_alone(tiny_pool, meter):
    found = evaluate(tiny_pool, meter, ["loss"])
    assert list(found.values) == ["loss"] and found.answers is None and found.cut is None
    assert found.how == scoring(["loss"], 64) == f"loss-v{VERSION}"
    assert meter.ledger.generated_tokens == 0


def test_it_comes_back_from_json_to_the_bit(found):
    again = Evaluated.from_json(json.loads(json.dumps(found.to_json(), allow_nan=False)))
    assert again.to_json() == found.to_json()
    for name, values_N in found.values.items():
        assert again.values[name].tobytes() == values_N.tobytes()
    assert again.cut.dtype == bool and again.cut.tolist() == found.cut.tolist()


def test_it_says_how_it_was_made_and_which_answers_were_cut(found, tiny_pool, tiny_model):
    assert found.how == scoring(["loss", "exact", "rouge"], 8) == f"loss-exact-rouge-8-v{VERSION}"
    rendered = render(tiny_pool, tiny_model.tokenizer)
    written = generate(rendered, tiny_model, Ledger(), max_new_tokens=8)
    assert found.cut.tolist() == written.cut_N.tolist() and found.cut.any()


def test_differences_are_paired_row_by_row():
    one, other = (Evaluated("p", HOW, {"loss": np.array(v)}) for v in ([3.0, 1.0], [1.0, 2.0]))
    assert paired_differences(one, other, "loss").tolist() == [2.0, -1.0]
    with pytest.raises(OptionError, match="no measure 'exact' here; there is loss"):
        paired_differences(one, other, "exact")
    with pytest.raises(AlignmentError, match="compare models on the same rows"):
        paired_differences(one, Evaluated("q", HOW, other.values), "loss")
    with pytest.raises(AlignmentError, match="is loss-v1, the other generated-9-v1"):
        paired_differences(one, Evaluated("p", "generated-9-v1", other.values), "loss")


def test_a_row_without_an_answer_is_refused_by_name(odd_pool, meter):
    with pytest.raises(InputError, match=r"row 12: cannot be rendered \(no answer token\)"):
        evaluate(odd_pool, meter)


def test_a_row_that_is_too_long_is_refused_by_name(tiny_pool, tiny_model, store):
    with pytest.raises(InputError, match="the limit is 20, and so for"):
        evaluate(tiny_pool, Meter(tiny_model, store, limit=20))


def test_no_rows_are_refused(tiny_pool, meter):
    with pytest.raises(InputError, match="no held-out rows"):
        evaluate(tiny_pool.take([]), meter)


def test_a_loss_that_is_no_number_is_a_training_that_lost_its_way(tiny_pool, meter):
    losses = meter.measured(tiny_pool, Loss()).copy()
    losses[3] = np.nan
    meter._measured[tiny_pool.fingerprint, Loss()] = losses
    with pytest.raises(TrainingError, match=r":4: the loss is nan through .* lower learning rate"):
        evaluate(tiny_pool, meter)


@pytest.mark.parametrize(
    ("values", "answers", "message"),
    [
        ({"loss": [1.0, np.nan]}, None, "loss of row 1 is nan"),
        ({"loss": [1.0], "exact": [1.0, 0.0]}, None, "as many values"),
        ({"loss": [1.0, 2.0]}, ["one"], "as many values"),
        ({"loss": [1.0]}, [], "as many values"),
        ({"loss": []}, None, "as many values"),
        ({}, None, "as many values"),
    ],
)
def test_values_that_are_no_numbers_or_not_one_a_row_cannot_be_kept(values, answers, message):
    with pytest.raises(InputError, match=message):
        Evaluated("p", HOW, {name: np.array(v) for name, v in values.items()}, answers)


def test_a_flag_too_few_cannot_be_kept():
    with pytest.raises(InputError, match="as many values"):
        Evaluated("p", HOW, {"loss": np.zeros(2)}, ["a", "b"], np.array([True]))
