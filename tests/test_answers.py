"""Exact match and ROUGE-L, on texts that a human can compare by eye."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modicum.answers import _Words, exact_match, rouge_l
from modicum.errors import InputError, OptionError


@pytest.mark.parametrize(
    ("answer", "reference"),
    [
        ("Paris.", "paris"),
        ("  The answer\n is: yes! ", "the answer is yes"),
        ("„Straße“", "STRASSE"),
        ("是的。", "是的"),
        ("cafe\u0301", "CAFÉ"),  # an accent of its own
        ("[1, -2, 3.5]", "[1, -2,3.5]"),
        ("[1,2]", "(1, 2)"),
        ("你好，世界！", "你好 世界"),
        ("«Oui !»", "oui"),
        ('"50%."', "50%"),
        ("a, b and c", "a b and c;"),
        ("?", " ? "),
        ("", ""),
    ],
)
def test_case_punctuation_and_white_space_make_no_difference(answer: str, reference: str):
    assert exact_match(answer, reference) == 1.0


@pytest.mark.parametrize(
    ("answer", "reference"),
    [
        ("yes", "no"),
        ("", "yes"),
        ("?", "!"),  # nothing but punctuation
        ("", "?"),
        ("1.5", "15"),  # marks that belong to a number
        ("-5", "5"),
        ("12", "1,2"),
        ("a < b", "a > b"),  # symbols
        ("two words", "twowords"),
        (".5", "5"),
        ("-.5", "5"),
        ("-.5", ".5"),
        ("x != y", "x = y"),
        ("!x", "x"),
        ("2 * 3", "2 3"),
        ("C#", "C"),
        (".NET", "net"),
        ("50%", "50"),
        ("5 - 3", "5 3"),
        ("2/3", "23"),
        ("10:30", "1030"),
        ("well-known", "wellknown"),
    ],
)
def test_what_means_something_else_does_not_match(answer: str, reference: str):
    assert exact_match(answer, reference) == 0.0


def test_rouge_l_of_cases_made_by_hand():
    answers = ["the cat sat", "the cat sat on", "dogs", "a b c", "", "x"]
    references = ["the cat sat", "the dog sat", "cat", "c b a", "yes", "x y z"]
    # 3 of 3; 2 of 4 and 2 of 3, F = 4/7; nothing; 1 of 3; nothing; 1 of 1 and 1 of 3
    assert rouge_l(answers, references) == pytest.approx([1, 4 / 7, 0, 1 / 3, 0, 1 / 2])


def test_rouge_l_compares_stems_of_english_words():
    assert rouge_l(["running dogs"], ["run dog"]) == pytest.approx([1.0])
    assert rouge_l(["jumped high"], ["jumping low"]) == pytest.approx([0.5])


@given(st.text(st.characters(max_codepoint=127), max_size=60))
def test_tokens_of_ascii_texts_are_the_packages_own(text: str):
    from rouge_score.tokenizers import DefaultTokenizer

    own = DefaultTokenizer(use_stemmer=True)
    assert _Words(own.tokenize).tokenize(text) == own.tokenize(text)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("Über die Straße!", ["über", "die", "straße"]),
        ("Привет, мир", ["привет", "мир"]),
        ("我吃苹果。", ["我", "吃", "苹", "果"]),
        ("すしABC 12", ["す", "し", "abc", "12"]),
        ("हिन्दी भाषा", ["हिन्दी", "भाषा"]),  # vowel signs do not part a word
        ("안녕 세상", ["안녕", "세상"]),
        ("+ ?", []),
    ],
)
def test_words_of_other_scripts_are_tokens_too(text: str, tokens: list[str]):
    assert _Words(lambda word: [word]).tokenize(text) == tokens


def test_rouge_l_counts_characters_where_words_have_no_spaces_between():
    assert rouge_l(["我吃苹果"], ["我吃梨"]) == pytest.approx([2 * 2 / (4 + 3)])


def test_where_a_reference_has_no_token_exact_match_decides():
    assert rouge_l(["+", "-", "plus"], ["+", "+", "+"]).tolist() == [1.0, 0.0, 0.0]


def test_rouge_l_of_nothing_is_nothing():
    assert rouge_l([], []).shape == (0,)


def test_an_answer_too_few_is_refused():
    with pytest.raises(InputError, match="1 answers to 2 references"):
        rouge_l(["a"], ["a", "b"])


def test_without_the_package_the_message_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "rouge_score.rouge_scorer", None)
    with pytest.raises(OptionError, match=r"pip install 'modicum\[replay\]'"):
        rouge_l(["a"], ["a"])
