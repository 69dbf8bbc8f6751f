"""Choosing among possible answers: where they come from, which is right, what a model finds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from modicum.errors import InputError, TrainingError
from modicum.evaluation import options as module
from modicum.evaluation.choices import choose, tasks_of
from modicum.meter import Meter
from modicum.models import Model
from modicum.pool import Pool, RawRow, Turn
from modicum.store import Store
from modicum.wants import Loss
from tiny_tokenizers import CHATML

ASKED = {"instruction": "Name a colour.", "output": "Blue"}
COLOURS = ["Red", "Blue", "Green"]


def row(answer: str, choices: list[str] | None, gold: str | None = None, task: str | None = None):
    turns = (Turn("user", "Which?", False), Turn("assistant", answer, True))
    told = None if choices is None else tuple(choices)
    return RawRow(None, "s", "i", turns, 0, 1, 0, 0, task, None, told, gold)


def pool(*rows: RawRow) -> Pool:
    return Pool.build([each._replace(row=n) for n, each in enumerate(rows, 1)])


def right(*rows: RawRow) -> list[str]:
    return [task.options[task.right] for task in tasks_of(pool(*rows))]


@pytest.fixture
def read(tmp_path: Path):
    def made(*rows, **fields) -> Pool:
        path = tmp_path / "rows.jsonl"
        path.write_text("".join(json.dumps(ASKED | each) + "\n" for each in rows))
        return Pool.read(path, **fields)

    return made


def test_choices_and_gold_are_read_from_the_columns_that_are_called_so(read) -> None:
    found = read(
        {"choices": [" Red", "Blue"], "answer": "B"},
        {"choices": '["Red", "Blue"]', "answer_text": "Blue ", "answer": "B"},
        {"choices": [1, 2.5, True], "answer": 1},
        {"answer": "B"},
    )
    assert found.choices == [("Red", "Blue"), ("Red", "Blue"), ("1", "2.5", "true"), None]
    assert found.gold == ["B", "Blue", "1", None]  # and none where there is nothing to choose


@pytest.mark.parametrize(
    "held", ["Red, Blue", [], ["Red", None], ["Red", " "], {"text": ["Red"]}, [["Red"]], 3]
)
def test_what_happens_to_be_called_choices_is_no_fault_and_what_the_user_named_is(
    held, read
) -> None:
    assert read({"choices": held}).choices == [None]
    named = read({"these": held}, {"these": ["Red"]}, choices="these")
    reasons = ["choices are not a list of texts"] if held else []  # an empty list says none
    assert [bad.reason for bad in named.rejected] == reasons
    assert named.choices[-1] == ("Red",)


def test_gold_of_a_column_that_the_user_names_is_kept_and_may_hold_no_list(read) -> None:
    assert read({"key": "B"}, gold="key").gold == ["B"]
    assert read({"choices": COLOURS, "answer": ["B"]}).gold == [None]
    (bad,) = read({"key": ["B"]}, {"key": 2}, gold="key").rejected
    assert (bad.reason, bad.detail) == ("not text", "key is a list")


def test_half_a_surrogate_pair_in_a_choice_is_replaced_and_counted(read) -> None:
    found = read({"choices": ["a\ud800", "b"], "answer": "a\ud800"})
    assert (found.choices, found.gold) == ([("a\ufffd", "b")], ["a\ufffd"])
    assert "lone surrogate" in found.files[0].notes[0]


def test_fingerprint_and_ids_know_nothing_of_choices_and_a_subset_keeps_them() -> None:
    told, plain = pool(row("Blue", COLOURS, "B")), pool(row("Blue", None))
    assert (told.fingerprint, told.ids) == (plain.fingerprint, plain.ids)
    both = pool(row("Blue", None), row("Blue", COLOURS, "B")).take([1])
    assert (both.choices, both.gold) == ([("Red", "Blue", "Green")], ["B"])


def test_right_is_the_answer_itself_then_gold_then_what_a_letter_names() -> None:
    assert right(row("Blue", COLOURS, "Green")) == ["Blue"]
    assert right(row("B", COLOURS, "Green")) == ["Green"]
    assert right(row("That one.", COLOURS, "B")) == ["Blue"]
    assert right(row("(c)", COLOURS)) == ["Green"]
    assert right(row("B", ["B", "A"])) == ["B"]  # the choice itself, not the second


def test_an_answer_that_is_a_choice_and_the_letter_of_another_is_what_gold_says() -> None:
    elements = ["Ne", "H", "O2", "C"]
    assert right(row("C", elements, "O2")) == ["O2"]
    assert right(row("C", elements, "C")) == ["C"]
    assert right(row("2", ["2", "4"], "4"), row("2", ["2", "4"])) == ["4", "2"]
    with pytest.raises(InputError, match=r"row 1: which of its 4 choices .* 'C'"):
        tasks_of(pool(row("C", elements)))


def test_numbers_begin_where_the_rows_say() -> None:
    assert right(row("0", COLOURS), row("1", COLOURS)) == ["Red", "Blue"]
    assert right(row("3", COLOURS), row("1", COLOURS)) == ["Green", "Red"]
    assert right(row("2", ["1", "2"]), row("?", COLOURS, "0")) == ["2", "Red"]


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ([row("Violet", COLOURS)], "row 1: which of its 3 choices is right .* 'Violet'; .*gold="),
        ([row("D", COLOURS)], "row 1: which of its 3 choices"),
        ([row("A", COLOURS, "B")], "row 1: which of its 3 choices"),
        ([row("1", COLOURS), row("2", COLOURS)], "row 1: .* whether numbers begin at 0 or at 1"),
        ([row("0", COLOURS), row("3", COLOURS)], "row 1: .* whether numbers begin at 0 or at 1"),
        ([row("Red", COLOURS), row("4", COLOURS)], "row 2: which of its 3"),
        ([row("Red", ["Red", "Red"])], "row 1: its only choice is 'Red'"),
    ],
)
def test_a_row_whose_right_choice_is_open_is_named(rows, why) -> None:
    with pytest.raises(InputError, match=why):
        tasks_of(pool(*rows))


def test_rows_without_choices_have_the_answers_of_their_task() -> None:
    rows = [row(a, None, None, "sign") for a in ("yes", "no", "yes", "no")]
    others = [row(a, None) for a in ("b", "a", "c", "a", "b", "c")]
    found = tasks_of(pool(*rows, *others, row("Blue", COLOURS, None, "sign")))
    assert [t.options for t in found[:4]] == [("no", "yes")] * 4
    assert [t.options for t in found[4:10]] == [("a", "b", "c")] * 6
    assert [t.right for t in found] == [1, 0, 1, 0, 1, 0, 2, 0, 1, 2, 1]
    assert [t.gathered for t in found] == [True] * 10 + [False]


@pytest.mark.parametrize(
    "answers", [["a"] * 4, ["a", "b", "c"], [f"{n % 201}" for n in range(402)]]
)
def test_answers_that_are_no_choices_are_refused_with_the_way_out(answers) -> None:
    with pytest.raises(InputError, match=r"row 1: it says no choices.*choices=COLUMN, by --fields"):
        tasks_of(pool(*(row(answer, None) for answer in answers)))


FEW = [
    row("Blue", COLOURS),
    row("B", ["A long and winding road", "Blue is a colour", "No", "No"]),
    row("Red", ["Red", "Blue"]),
]


def by_hand(rows: Pool, model: Model, store: Store) -> list[np.ndarray]:
    """The same by measuring whole rows, each with one of its choices as its answer."""
    found = []
    for example, choices in zip(rows, rows.choices, strict=True):
        options = list(dict.fromkeys(choices or ()))
        said = [(*example.turns[:-1], Turn("assistant", text, True)) for text in options]
        whole = Pool.build(RawRow(None, "", "", turns, 0, 1, 0, 0) for turns in said)
        meter = Meter(model, store)
        tokens_M = meter.rendered(whole).answer_lengths_N
        found.append(-meter.measured(whole, Loss()) * tokens_M)
    return found


def test_it_is_what_measuring_each_choice_as_the_answer_says(tiny_model, meter, store) -> None:
    rows = pool(*FEW)
    found, likely = choose(rows, meter), by_hand(rows, tiny_model, store)
    at = [1, 1, 0]
    best = [max(np.delete(ll, a)) for ll, a in zip(likely, at, strict=True)]
    margin = [ll[a] - b for ll, a, b in zip(likely, at, best, strict=True)]
    assert found.margin.tolist() == pytest.approx(margin, abs=1e-3)
    assert found.choice.tolist() == [float(m > 0) for m in margin]
    sizes = [np.array([3, 4, 5]), np.array([23, 16, 2]), np.array([3, 4])]
    normal = [np.argmax(ll / n) == a for ll, n, a in zip(likely, sizes, at, strict=True)]
    assert found.choice_normalised.tolist() == [float(hit) for hit in normal]
    assert found.counts.tolist() == [3, 3, 2]
    assert found.chance == pytest.approx((1 / 3 + 1 / 3 + 1 / 2) / 3)
    assert (found.shared, found.apart, meter.ledger.fallbacks) == (True, 0, [])


def test_the_right_choice_is_counted_wherever_it_stands(meter) -> None:
    """Of the same choices exactly one is found likeliest, whichever of them is called right."""
    found = choose(pool(*(row(colour, COLOURS) for colour in COLOURS)), meter)
    assert found.choice.sum() == 1
    assert (found.margin > 0).tolist() == (found.choice == 1).tolist()


def test_a_prompt_that_the_template_writes_by_the_answer_is_read_apart(
    tiny_model, tmp_path, store
) -> None:
    """As a template that leaves room for thoughts does, unless the answer holds some."""
    model = Model("tiny", tiny_model.folder, "float32")
    hint = "{% if 'Green' in messages[-1].content %}(green)\n{% endif %}"
    model.tokenizer.chat_template = hint + CHATML
    rows, meter = pool(*FEW), Meter(model, store)
    found, likely = choose(rows, meter), by_hand(rows, model, store)
    assert found.apart == 1
    assert meter.ledger.fallbacks[0].startswith("options not behind shared prompts in 1 rows")
    assert found.margin[0] == pytest.approx(likely[0][1] - likely[0][[0, 2]].max(), abs=1e-3)


def test_a_model_that_keeps_no_prompt_is_told_of_once(meter, monkeypatch) -> None:
    plain = choose(pool(*FEW), meter)
    monkeypatch.setattr(module, "_takes_cache", lambda network: False)
    found = choose(pool(*FEW), meter)
    choose(pool(*FEW[1:]), meter)
    assert found.margin.tolist() == pytest.approx(plain.margin.tolist(), abs=1e-3)
    assert not found.shared
    (told,) = meter.ledger.fallbacks
    assert told.startswith("options not behind shared prompts: ")


def test_rows_that_cannot_be_measured_are_named(tiny_model, meter, monkeypatch) -> None:
    with pytest.raises(InputError, match="there are no rows to choose in"):
        choose(pool(*FEW).take([]), meter)
    silent = row("No", COLOURS)._replace(turns=(Turn("user", "Hm.", False),))
    with pytest.raises(InputError, match="row 2: it has no answer"):
        choose(pool(FEW[0], silent), meter)
    long = row("b", ["a " * 600, "b"])
    with pytest.raises(InputError, match=r"row 2: .* the limit is 512"):
        choose(pool(FEW[0], long), meter)
    first = module._first_losses
    monkeypatch.setattr(module, "_first_losses", lambda *given: first(*given) * np.nan)
    monkeypatch.setattr(module, "_takes_cache", lambda network: True)
    with pytest.raises(TrainingError, match="row 1: the loss of an option is nan"):
        choose(pool(*FEW), meter)


def test_a_question_that_is_too_long_loses_its_first_words_where_rows_do(tiny_model) -> None:
    words = (Turn("user", "why " * 300 + "Which?", False), Turn("assistant", "Red", True))
    rows = pool(FEW[0], row("Red", COLOURS)._replace(turns=words))
    with pytest.raises(InputError, match=r"row 2: prompt and longest choice .* limit is 200"):
        choose(rows, Meter(tiny_model, limit=200))
    found = choose(rows, Meter(tiny_model, limit=200, truncate=True))
    alone = choose(pool(FEW[0]), Meter(tiny_model))
    assert found.margin[0] == pytest.approx(alone.margin[0], abs=1e-3)
    assert np.isfinite(found.margin[1])


def test_the_hash_tells_options_and_right_ones_apart(meter) -> None:
    def made(*rows: RawRow) -> str:
        return choose(pool(*rows), meter).options

    assert made(FEW[0]) == made(FEW[0])
    assert (
        len({made(FEW[0]), made(row("Blue", COLOURS[::-1])), made(row("Blue", COLOURS[:2]))}) == 3
    )


def test_choices_of_real_rows(data: Path) -> None:
    intents = Pool.read(data / "eval" / "cls_test.parquet")
    questions = Pool.read(data / "eval" / "mc_test.parquet")
    banking = intents.take([i for i, task in enumerate(intents.tasks) if task == "banking77"])
    found = tasks_of(banking)
    assert {len(task.options) for task in found} == {77}
    own = [example.turns[-1].content for example in banking]
    assert [task.options[task.right] for task in found] == own
    assert [t.options[t.right] for t in tasks_of(questions)] == questions.gold
