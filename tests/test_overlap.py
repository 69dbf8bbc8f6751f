"""Duplicates and contamination, on sentences a reader can compare, and on real pools."""

import json
import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from modicum.errors import OptionError
from modicum.overlap import (
    Overlap,
    Texts,
    bands_for,
    decontaminate,
    exact_duplicates,
    jaccard,
    near_duplicates,
    shared_with,
)
from modicum.pool import Pool, RawRow, Turn

TALE = "the quick brown fox jumps over the lazy dog while seven grey cats watch from a wall"


def pool_of(*rows: tuple[str, str]) -> Pool:
    return Pool.build(
        RawRow(
            None, "made", asked, (Turn("user", asked, False), Turn("assistant", said, True)), *at
        )
        for number, (asked, said) in enumerate(rows, start=1)
        for at in [(0, number, 0, 0)]
    )


def turns_of(messages: list[dict[str, str]]) -> list[Turn]:
    return [Turn(m["role"], m["content"], m["role"] == "assistant") for m in messages]


def data(name: str) -> Path:
    folder = os.environ.get("MODICUM_DATA")
    if not folder:
        pytest.skip("MODICUM_DATA is not set")
    return Path(folder) / name


def real(name: str, source: str | None = None, column: str | None = None) -> Pool:
    """Rows of a real file; `column` takes the place of the messages, as one user turn."""
    columns = ["source", "messages", *([column] if column else [])]
    rows = pq.read_table(data(name), columns=columns).to_pylist()
    kept = [row for row in rows if source in (None, row["source"])]
    return Pool.build(
        RawRow(None, row["source"], "", tuple(turns), 0, number, 0, 0)
        for number, row in enumerate(kept, start=1)
        for turns in [[Turn("user", row[column], False)] if column else turns_of(row["messages"])]
    )


def test_exact_duplicates_are_grouped_in_pool_order():
    pool = pool_of(("b", "1"), ("a", "1"), ("a", "1"), ("b", "2"), ("b", "1"))
    assert exact_duplicates(pool) == [[0, 4], [1, 2]]


def test_case_spaces_and_width_do_not_make_a_row_new():
    pool = pool_of((TALE, "yes"), (TALE.upper(), "yes"), (TALE.replace(" ", "  "), "ｙｅｓ"))
    assert near_duplicates(pool) == [[0, 1, 2]]
    assert exact_duplicates(pool) == []


def test_one_changed_word_in_a_long_row_is_near_and_in_a_short_one_is_not():
    pool = pool_of((TALE * 2, "a"), ("two cats", "b"), (TALE * 2, "c"), ("two dogs", "b"))
    assert near_duplicates(pool) == [[0, 2]]


def test_a_plus_and_a_times_are_different_questions():
    assert near_duplicates(pool_of(("3 + 4", "?"), ("3 * 4", "?"))) == []


def test_rows_without_any_word_are_not_all_alike():
    pool = pool_of(("🙂", "!"), ("🙁", "!"), ("🙂", "!"), (" ", " "))
    assert near_duplicates(pool) == [[0, 2]]


def test_chinese_rows_are_compared_by_character():
    asked = "请用简单的语言解释为什么天空在白天是蓝色的而在傍晚会变成红色"
    pool = pool_of((asked, "散射"), (asked + "吗", "散射"), ("什么是三原色", "红黄蓝"))
    assert near_duplicates(pool) == [[0, 1]]


def test_candidates_are_verified_at_the_similarity_asked_for():
    # a..j and b..k have 8 shingles each, 7 of them shared: 7 / 9
    pool = pool_of(("a b c d e f g h i", "j"), ("b c d e f g h i j", "k"))
    assert near_duplicates(pool, similarity=0.77) == [[0, 1]]
    assert near_duplicates(pool, similarity=0.78) == []


def test_a_chain_of_near_rows_is_one_group():
    words = [f"w{number}" for number in range(40)]
    pool = pool_of(*[(" ".join(words[start : start + 30]), "x") for start in (0, 2, 4, 6)])
    assert near_duplicates(pool, similarity=0.75) == [[0, 1, 2, 3]]


def test_the_seed_does_not_change_the_groups():
    words = " ".join(f"w{number}" for number in range(60))
    pool = pool_of(*[(f"{words} {number % 4}", "x") for number in range(12)])
    assert [near_duplicates(pool, seed=seed) for seed in range(5)] == [[list(range(12))]] * 5


def test_an_empty_pool_has_no_duplicates():
    assert near_duplicates(pool_of()) == exact_duplicates(pool_of()) == []


@pytest.mark.parametrize("similarity", [0.0, -1.0, 1.01, float("nan")])
def test_a_similarity_outside_its_range_is_refused(similarity):
    with pytest.raises(OptionError, match="above 0 and at most 1"):
        near_duplicates(pool_of(("a", "b")), similarity=similarity)


def test_bands_find_999_pairs_of_1000():
    for similarity in (0.3, 0.5, 0.8, 0.95, 1.0):
        bands = bands_for(similarity)
        assert (1 - similarity ** (128 // bands)) ** bands <= 0.001
    assert bands_for(1.0) == 1


def test_jaccard_by_hand():
    assert jaccard(frozenset("abc"), frozenset("bcd")) == 0.5
    assert jaccard(frozenset(), frozenset("a")) == 0.0


def test_the_same_question_is_exact_whatever_its_case_and_answer():
    pool = pool_of(("Who was it?", "me"), ("who  WAS it", "you"), ("who is it", "me"))
    found = shared_with(pool, [Texts("nothing", "nothing"), Texts("Who was it?", "Who was it?")])
    assert found == [Overlap(at, 1, "exact", "who was it", 1) for at in (0, 1)]


def test_thirteen_shared_words_are_found_and_twelve_are_not():
    words = TALE.split()
    pool = pool_of(("x " + " ".join(words[:13]), "y"), ("x " + " ".join(words[:12]), "y"))
    [found] = shared_with(pool, [Texts("", TALE)])
    assert found == Overlap(0, 0, "13-gram", " ".join(words[:13]), 1)


def test_the_rarest_shared_words_are_named():
    task = "read the two sentences below and say whether they mean the same thing or not"
    pool = pool_of((f"{task}: {TALE}", "same"), (f"{task}: other", "same"))
    evaluation = [Texts("", f"{task}: number {n}") for n in range(3)] + [Texts("", TALE)]
    item, instruction = shared_with(pool, evaluation)
    assert (item.evaluation, item.holders) == (3, 1) and item.text.startswith("the quick brown")
    assert (instruction.evaluation, instruction.holders) == (0, 3)


def test_texts_without_words_never_match():
    assert shared_with(pool_of(("?!", "…")), [Texts("🙂", "🙂"), Texts("", "")]) == []


def test_a_pool_as_evaluation_set_is_compared_in_all_turns():
    found = decontaminate(pool_of(("go on", TALE)), pool_of(("tell", "no"), ("tell", TALE)))
    assert [(one.position, one.evaluation, one.kind) for one in found] == [(0, 1, "13-gram")]


def test_thirty_near_duplicates_are_five_groups_of_six():
    lines = data("dirty/11_near_duplicates.jsonl").read_text("utf-8").splitlines()
    rows = [turns_of(json.loads(line)["messages"]) for line in lines]
    pool = pool_of(*[(asked.content, said.content) for asked, said in rows])
    assert near_duplicates(pool) == [list(range(start, start + 6)) for start in range(0, 30, 6)]


def test_dolly_has_the_duplicates_it_is_known_for():
    pool = real("pools/dolly_15k.parquet")
    near = near_duplicates(pool)
    assert len(exact_duplicates(pool)) == 15
    assert (len(near), sum(map(len, near))) == (179, 465)


def test_banking77_test_messages_stand_in_its_train_set():
    train = real("pools/cls_train.parquet", "banking77", "text")
    test = real("eval/cls_test.parquet", "banking77", "text")
    found = [one for one in decontaminate(train, test) if one.kind == "exact"]
    assert len({one.evaluation for one in found}) == 25


@pytest.mark.parametrize(
    ("source", "shared"), [("openbookqa", 13), ("ARC-Easy", 5), ("ARC-Challenge", 4)]
)
def test_train_questions_of_eight_words_or_more_stand_in_the_test_set(source, shared):
    train = real("pools/mc_train.parquet", source, "question")
    test = real("eval/mc_test.parquet", source, "question")
    exact = [one for one in decontaminate(train, test) if one.kind == "exact"]
    assert len({one.text for one in exact if len(one.text.split()) >= 8}) == shared


def test_commonsenseqa_is_found_inside_super_naturalinstructions():
    found = decontaminate(real("pools/sapt_superni15.parquet"), real("eval/csqa_dev.parquet"))
    assert len({one.evaluation for one in found}) >= 1061
