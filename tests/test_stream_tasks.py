"""What each task of a stream is learned from and tested on, and in which order tasks arrive."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modicum.errors import InputError, OptionError
from modicum.jobs.reading import Reading
from modicum.jobs.replay import tasks_of
from modicum.meter import Meter
from modicum.models import Model
from modicum.pool import Pool, RawRow, Turn
from modicum.selection.budget import Budget
from modicum.store import Store
from modicum.stream.orders import ORDERS, arrange
from modicum.stream.tasks import Tasks, split
from modicum.usable import kinds


def counted(made: Tasks) -> dict[str, int]:
    """Rows that are left out, by kind of reason."""
    return kinds(why for _, _, why in made.left_out)


def pool_of(tasks: Mapping[str, Sequence[str]]) -> tuple[Pool, list[str]]:
    """Rows by task: each text is a question, and its answer is the text again."""
    rows = [(task, text) for task, texts in tasks.items() for text in texts]
    return Pool.build(
        RawRow(
            f"{task}:{text}:{n}",
            task,
            text,
            (Turn("user", f"{text}?", False), Turn("assistant", text, True)),
            0,
            n,
            0,
            0,
        )
        for n, (task, text) in enumerate(rows)
    ), [task for task, _ in rows]


def parted(
    meter: Meter,
    tasks: Mapping[str, Sequence[str]],
    share: str = "20%",
    test: Mapping[str, Sequence[str]] | None = None,
    seed: int = 0,
    **more: Any,
) -> Tasks:
    other = None if test is None else pool_of(test)
    how = {"too_long": "drop", "meter": meter} | more
    return split(*pool_of(tasks), other, Budget.parse(share), seed, **how)


def texts(pool: Pool) -> list[str]:
    return [example.instruction for example in pool]


TEN = [f"question {n}" for n in range(10)]
FIVE = ["ah", "oh", "uh", "eh", "ih"]


# A share held out


def test_the_held_out_share_is_of_each_task_and_the_rest_is_learned(meter: Meter):
    made = parted(meter, {"long": TEN, "short": FIVE}, "40%")
    assert made.names == ["long", "short"] and len(made) == 2
    told = made.to_json()
    assert [(each["task"], each["train"], each["test"]) for each in told] == [
        ("long", 6, 4),
        ("short", 3, 2),
    ]
    assert [each["held_out"] for each in told] == [test.ids for test in made.test]
    for task, test, whole in zip(made.train, made.test, (TEN, FIVE), strict=True):
        assert sorted(texts(task.pool) + texts(test)) == sorted(whole)
    assert made.left_out == ()


def test_the_rows_of_all_tasks_are_one_pool_with_a_place_for_each(meter: Meter):
    made = parted(meter, {"long": TEN, "short": FIVE}, "3")
    for task, places_M in zip(made.train, made.places, strict=True):
        assert [made.rows.ids[i] for i in places_M] == task.pool.ids
    assert len(made.rows) == 7 + 2


def test_a_number_of_rows_is_held_out_of_each_task(meter: Meter):
    made = parted(meter, {"long": TEN, "short": FIVE}, "4")
    assert [len(test) for test in made.test] == [4, 4]


def test_the_same_seed_holds_out_the_same_rows(meter: Meter):
    first, same, other = (parted(meter, {"a": TEN, "b": FIVE}, "2", seed=s) for s in (0, 0, 1))
    assert [t.ids for t in first.test] == [t.ids for t in same.test]
    assert [t.ids for t in first.test] != [t.ids for t in other.test]


def test_equal_rows_are_on_one_side_and_the_share_is_exceeded_for_them(meter: Meter):
    twins = [text for text in FIVE for _ in range(2)]
    for seed in range(5):
        made = parted(meter, {"twins": twins, "long": TEN}, "3", seed=seed)
        assert len(made.test[0]) == 4  # 3 would part two of them
        assert not set(texts(made.test[0])) & set(texts(made.train[0].pool))


def test_a_row_that_one_task_is_tested_on_is_learned_in_none(meter: Meter):
    made = parted(meter, {"a": TEN, "b": TEN[::-1]}, "3")
    tested = set(texts(made.test[0])) | set(texts(made.test[1]))
    for task in made.train:
        assert set(texts(task.pool)) == set(TEN) - tested
    lost = 20 - len(made.rows) - 6
    assert lost > 0 and counted(made) == {"held out as well": lost}


words = st.lists(st.sampled_from([*FIVE, *TEN[:5]]), min_size=6, max_size=20)


@settings(max_examples=40, deadline=None)
@given(one=words, two=words, wanted=st.integers(2, 4), seed=st.integers(0, 99))
def test_whatever_the_rows_none_is_on_both_sides_and_every_row_is_accounted_for(
    tiny_model: Model, tmp_path_factory: Any, one: list[str], two: list[str], wanted: int, seed: int
):
    meter = Meter(tiny_model, Store(tmp_path_factory.getbasetemp() / "measured"))
    try:
        made = parted(meter, {"one": one, "two": two}, str(wanted), seed=seed)
    except InputError as error:
        assert "rows to learn" in str(error)
        return
    tested = {text for test in made.test for text in texts(test)}
    assert not tested & set(texts(made.rows))
    assert all(len(test) >= wanted for test in made.test)
    kept = len(made.rows) + sum(map(len, made.test))
    assert kept + len(made.left_out) == len(one) + len(two)


def test_every_row_that_is_left_out_is_named_with_its_reason(meter: Meter):
    made = parted(meter, {"a": TEN, "b": FIVE}, test={"a": TEN[:2], "b": ["x", "y"], "c": ["z"]})
    told = [(pool.ids[i].rpartition(":")[0], why) for pool, i, why in made.left_out]
    assert told == [
        ("c:z", "--eval, of another task"),
        ("a:question 0", "held out as well"),
        ("a:question 1", "held out as well"),
    ]


# Rows held out by the user


def test_held_out_rows_can_be_given_and_are_not_learned(meter: Meter):
    test = {"b": ["oh", "new"], "a": TEN[:2]}  # in another order
    made = parted(meter, {"a": TEN, "b": FIVE}, test=test)
    assert [texts(t) for t in made.test] == [TEN[:2], ["oh", "new"]]
    assert [texts(t.pool) for t in made.train] == [TEN[2:], ["ah", "uh", "eh", "ih"]]
    assert counted(made) == {"held out as well": 3}


def test_given_rows_of_another_task_are_left_out_and_counted(meter: Meter):
    test = {"a": ["x", "y"], "b": ["x", "y"], "c": ["z"]}
    made = parted(meter, {"a": TEN, "b": FIVE}, test=test)
    assert len(made.test) == 2 and counted(made) == {"--eval, of another task": 1}


def test_a_task_that_no_given_row_tests_is_refused_by_name(meter: Meter):
    with pytest.raises(InputError, match="--eval has no rows of b; its tasks are a, c"):
        parted(meter, {"a": TEN, "b": FIVE}, test={"a": ["x", "y"], "c": ["x"]})


# What is refused, and what is left out


def test_one_task_is_no_stream(meter: Meter):
    with pytest.raises(InputError, match="a is the only task, a stream has at least 2"):
        parted(meter, {"a": TEN})


@pytest.mark.parametrize(
    ("share", "said"),
    [
        ("1", "task long has 9 rows to learn and 1 held out"),
        ("5", "task short has 0 rows to learn and 5 held out"),
        ("100%", "task long has 0 rows to learn and 10 held out"),
        ("99", "task long has 0 rows to learn and 10 held out"),
    ],
)
def test_too_few_rows_to_learn_or_to_test_are_refused(meter: Meter, share: str, said: str):
    with pytest.raises(InputError, match=said):
        parted(meter, {"long": TEN, "short": FIVE}, share)


def test_a_single_held_out_row_of_a_given_task_is_refused(meter: Meter):
    with pytest.raises(InputError, match="task b has 5 rows to learn and 1 held out"):
        parted(meter, {"a": TEN, "b": FIVE}, test={"a": ["x", "y"], "b": ["x"]})


def test_rows_that_are_too_long_are_in_neither_and_counted(tiny_model: Model, tmp_path: Path):
    meter, long = Meter(tiny_model, Store(tmp_path), limit=40), "a very long question " * 5
    test = {"a": ["x", "y", long], "b": ["x", "y"]}
    made = parted(meter, {"a": [*TEN, long, long], "b": FIVE}, test=test)
    assert counted(made) == {"too long": 2, "--eval, too long": 1}
    assert [len(t) for t in made.test] == [2, 2] and len(made.rows) == 15
    with pytest.raises(InputError, match="the limit is 40"):
        parted(meter, {"a": [*TEN, long], "b": FIVE}, too_long="error")


def test_rows_whose_question_can_be_cut_to_fit_stay(tiny_model: Model, tmp_path: Path):
    meter = Meter(tiny_model, Store(tmp_path), limit=27, truncate=True)
    pool, tasks = pool_of({"a": TEN, "b": FIVE})
    lengths_N = Meter(tiny_model, Store(tmp_path)).rendered(pool).lengths_N
    assert lengths_N[:10].min() > 27
    made = split(pool, tasks, None, Budget.parse("2"), 0, meter, "truncate-prompt")
    assert made.left_out == () and len(made.rows) == 11


# Which task a row is of


@pytest.fixture
def labels(tmp_path: Path):
    """The tasks of the rows of files that are given by name."""

    def told(files: Mapping[str, list[dict[str, str]]], *paths: str, **fields: str) -> list[str]:
        for name, rows in files.items():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            lines = [json.dumps({"instruction": "Hi", "output": "Ho"} | row) for row in rows]
            (tmp_path / name).write_text("\n".join(lines))
        named = [path.replace("@", f"{tmp_path}/") for path in paths]
        reading = Reading(tuple(named or [str(tmp_path / name) for name in files]), fields=fields)
        return tasks_of(reading.read(), reading)

    return told


def test_a_task_is_the_name_of_its_file(labels):
    assert labels({"sums.jsonl": [{}, {}], "verbs.jsonl": [{}]}) == ["sums", "sums", "verbs"]


def test_a_task_is_the_name_that_its_file_is_given(labels):
    files = {"a/test.jsonl": [{}], "b/test.jsonl": [{}]}
    assert labels(files, "one=@a/test.jsonl", "two=@b/test.jsonl") == ["one", "two"]
    with pytest.raises(OptionError, match="two files are called 'test'; name the tasks"):
        labels(files)


def test_the_files_of_a_folder_are_a_task_each(labels):
    assert labels({"t/sums.jsonl": [{}], "t/verbs.jsonl": [{}]}, "@t") == ["sums", "verbs"]


def test_one_file_with_a_task_column_is_many_tasks(labels):
    assert labels({"all.jsonl": [{"task": "sums"}, {"task": "verbs"}]}) == ["sums", "verbs"]


def test_one_file_that_is_given_a_name_is_one_task_whatever_its_rows_say(labels):
    files = {"all.jsonl": [{"task": "sums"}, {"task": "verbs"}]}
    assert labels(files, "school=@all.jsonl") == ["school", "school"]
    assert labels(files, "school=@all.jsonl", task="task") == ["sums", "verbs"]


def test_of_several_files_the_task_column_is_used_only_if_it_is_named(labels):
    files = {"a.jsonl": [{"task": "sums"}], "b.jsonl": [{"task": "verbs"}]}
    assert labels(files) == ["a", "b"]
    assert labels(files, task="task") == ["sums", "verbs"]


def test_one_file_whose_column_has_gaps_is_one_task_unless_the_column_is_named(labels):
    files = {"all.jsonl": [{"task": "sums"}, {}, {"task": "verbs"}]}
    assert labels(files) == ["all"] * 3
    with pytest.raises(InputError, match=r"1 of 3 rows have no task; the first is .*all.jsonl:2"):
        labels(files, task="task")


# Orders


def test_tasks_arrive_as_given_or_by_how_hard_they_are():
    hardness = np.array([2.0, 3.0, 1.0])
    assert arrange("given", hardness, 0) == [0, 1, 2]
    assert arrange("easy-hard", hardness, 0) == [2, 0, 1]
    assert arrange("hard-easy", hardness, 0) == [1, 0, 2]


def test_equally_hard_tasks_arrive_as_they_were_given():
    hardness = np.array([1.0, 2.0, 1.0, 2.0])
    assert arrange("easy-hard", hardness, 0) == [0, 2, 1, 3]
    assert arrange("hard-easy", hardness, 0) == [1, 3, 0, 2]


def test_a_random_order_is_the_same_for_the_same_seed():
    orders = [arrange("random", np.zeros(6), seed) for seed in (0, 0, 1, 2)]
    assert orders[0] == orders[1]
    assert len({tuple(order) for order in orders}) == 3


@pytest.mark.parametrize("order", ORDERS)
@given(hardness=st.lists(st.floats(0, 9), min_size=2, max_size=9), seed=st.integers(0, 2**32 - 1))
def test_every_order_has_every_task_once(order: Any, hardness: list[float], seed: int):
    assert sorted(arrange(order, np.array(hardness), seed)) == list(range(len(hardness)))
