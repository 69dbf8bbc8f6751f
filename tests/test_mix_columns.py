"""What rows hold beside their turns, in a mix: what goes along, and what is said to be left."""

import csv
import json
import math

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from modicum.pool import Pool
from modicum.readers.mix import unfit, write_mix

ASKED = {"instruction": "Add.", "output": "4"}


def lines(path, *rows):
    """The rows as JSON lines, as a pool."""
    path.write_text("".join(json.dumps(one) + "\n" for one in rows))
    return Pool.read(path)


def table(path, rows, **types):
    """The rows as Parquet, each further column of the type given, as a pool."""
    schema = pa.schema({"instruction": pa.string(), "output": pa.string(), **types})
    pq.write_table(pa.Table.from_pylist([ASKED | row for row in rows], schema=schema), path)
    return Pool.read(path)


def mixed(new, old, path):
    """The new rows and then the old ones, and the notes."""
    notes = write_mix(new, old, np.arange(len(old)), path, np.arange(len(new) + len(old)))
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pylist(), notes
    text = path.read_text()
    read = csv.DictReader(text.splitlines()) if path.suffix == ".csv" else text.splitlines()
    return [one if isinstance(one, dict) else json.loads(one) for one in read], notes


def messages(asked, answer, **more):
    turns = [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]
    return {**more, "messages": turns}


# Rows that come back as they are


def test_a_table_column_of_another_type_is_kept_where_its_values_stay_the_same(tmp_path):
    new = table(tmp_path / "new.parquet", [{"n": 1, "s": 0.5}], n=pa.int64(), s=pa.float64())
    old = table(tmp_path / "old.parquet", [{"n": 2, "s": 3}], n=pa.int32(), s=pa.int64())
    rows, notes = mixed(new, old, tmp_path / "mix.parquet")
    assert [(row["n"], row["s"]) for row in rows] == [(1, 0.5), (2, 3.0)] and notes == ()


@pytest.mark.parametrize(
    ("theirs", "values", "ours", "kept"),
    [
        (pa.float64(), [1.0, 1.5, None], pa.int64(), [1, None, None]),
        (pa.int64(), [1, 2**60 + 1], pa.float64(), [1.0, None]),
        (pa.int64(), [0, 1, 2], pa.bool_(), [False, True, None]),
        (pa.string(), ["7", "07", "x"], pa.int64(), [7, None, None]),
        (pa.list_(pa.int64()), [[1]], pa.string(), [None]),
        (pa.string(), ["a", "b"], pa.dictionary(pa.int32(), pa.string()), ["a", "b"]),
    ],
)
def test_a_value_that_the_type_cannot_hold_is_null_and_said(tmp_path, theirs, values, ours, kept):
    new = table(tmp_path / "new.parquet", [{}], x=ours)
    old = table(tmp_path / "old.parquet", [{"x": value} for value in values], x=theirs)
    rows, notes = mixed(new, old, tmp_path / "mix.parquet")
    assert [row["x"] for row in rows[1:]] == kept
    gone = sum(value is not None for value in values) - sum(value is not None for value in kept)
    assert [f"the shape of the new ones: x ({gone} row" in
            note for note in notes] == [True] * (gone > 0)  # fmt: skip


def test_a_table_column_that_the_new_table_has_not_is_said(tmp_path):
    new = table(tmp_path / "new.parquet", [{}])
    old = table(tmp_path / "old.parquet", [{"x": 1}, {"x": None}, {"x": 2}], x=pa.int64())
    rows, (note,) = mixed(new, old, tmp_path / "mix.parquet")
    assert set(rows[1]) == {"instruction", "output"} and note.endswith(": x (2 rows)")


# Written anew


def test_an_old_row_written_anew_says_which_columns_it_leaves(tmp_path):
    new = lines(tmp_path / "new.jsonl", ASKED)
    first, second = messages("a", "b", id="7", x=1, y=""), messages("c", "d", x=2, y=[])
    old = lines(tmp_path / "old.jsonl", first, second)
    rows, (note,) = mixed(new, old, tmp_path / "mix.jsonl")
    assert rows[1] == {"instruction": "a", "output": "b"}
    assert "old.jsonl" in note and note.endswith(": id (1 row), x (2 rows)")


def test_an_id_of_more_than_64_bits_is_null_in_a_column_of_whole_numbers(tmp_path):
    new = table(tmp_path / "new.parquet", [{"id": 1}], id=pa.int64())
    ids = ["9" * 20, "9" * 5000, str(2**63 - 1), "a"]
    old = lines(tmp_path / "old.jsonl", *(messages(f"a{id[:3]}", "b", id=id) for id in ids))
    rows, (note,) = mixed(new, old, tmp_path / "mix.parquet")
    assert [row["id"] for row in rows[1:]] == [None, None, 2**63 - 1, None]
    assert note.endswith(": id (3 rows)")


def test_rows_of_one_instruction_share_it_after_the_mix(tmp_path):
    new = lines(tmp_path / "new.jsonl", ASKED | {"input": ""})
    asked = [("Name its colour.", text) for text in ("A fig.", "A\n\nlime.", "Soot.")]
    old = lines(
        tmp_path / "old.jsonl",
        *(messages("\n\n".join(pair), "?", instruction=pair[0]) for pair in asked),
        messages("Why?", "So.", instruction="Answer."),
    )
    rows, notes = mixed(new, old, tmp_path / "mix.jsonl")
    assert [(row["instruction"], row["input"]) for row in rows[1:]] == [*asked, ("Why?", "")]
    back = Pool.read(tmp_path / "mix.jsonl")
    assert [one.turns for one in back] == [one.turns for one in [*new, *old]] and not notes


def test_without_an_input_column_the_instruction_is_the_whole_question(tmp_path):
    new = lines(tmp_path / "new.jsonl", ASKED)
    old = lines(tmp_path / "old.jsonl", {"instruction": "a", "context": "b", "response": "c"})
    rows, _ = mixed(new, old, tmp_path / "mix.jsonl")
    assert rows[1] == {"instruction": "a\n\nb", "output": "c"}


@pytest.mark.parametrize(("column", "fields"), [("instruction", {}), ("q", {"instruction": "q"})])
def test_the_instruction_is_written_where_the_new_file_has_it_in_a_column(tmp_path, column, fields):
    path = tmp_path / "new.jsonl"
    path.write_text(json.dumps(messages("Add.\n\n1 2", "3", **{column: "Add."})) + "\n")
    old = lines(tmp_path / "old.jsonl", {"instruction": "Sort.", "input": "b a", "output": "a b"})
    rows, _ = mixed(Pool.read(path, **fields), old, tmp_path / "mix.jsonl")
    assert rows[1] == messages("Sort.\n\nb a", "a b", **{column: "Sort."})
    back = Pool.read(tmp_path / "mix.jsonl", **fields)
    assert [one.instruction for one in back] == ["Add.", "Sort."]


def test_a_column_called_instruction_that_holds_no_text_is_left_alone(tmp_path):
    new = lines(tmp_path / "new.jsonl", messages("a", "b", instruction=["a"]))
    old = lines(tmp_path / "old.jsonl", ASKED)
    assert mixed(new, old, tmp_path / "mix.jsonl")[0][1] == messages("Add.", "4")


# The new file's own rows in another kind of file

OWN = {"id": 7, "score": 0.5, "sure": True, "kinds": ["a"], "about": {"x": 1}, "none": None}


@pytest.mark.parametrize(
    ("ending", "expected", "left"),
    [
        (".parquet", OWN, ""),
        (".csv", {"id": "7", "score": "0.5", "sure": "true"}, "about (1 row), kinds (1 row)"),
    ],
)
def test_further_columns_of_the_new_rows_go_along(tmp_path, ending, expected, left):
    new = lines(tmp_path / "new.jsonl", ASKED | OWN)
    old = lines(tmp_path / "old.jsonl", messages("a", "b", id="8"))
    rows, notes = mixed(new, old, tmp_path / f"mix{ending}")
    assert rows[0] == ASKED | {name: held for name, held in expected.items() if held is not None}
    said = sorted(note.rpartition(": ")[2] for note in notes)
    assert [", ".join(sorted(one.split(", "))) for one in said] == [left] * bool(left)
    assert str(rows[1]["id"]) == "8" and not rows[1]["score"]


def test_what_json_cannot_hold_of_a_table_is_null_and_said(tmp_path):
    types = {"when": pa.timestamp("us"), "score": pa.float64(), "far": pa.time64("ns")}
    held = [{"when": 10**18, "score": math.nan, "far": 1}, {"score": 0.5, "far": None}]
    rows, (note,) = mixed(
        table(tmp_path / "new.parquet", held, **types),
        lines(tmp_path / "old.jsonl", ASKED | {"instruction": "a"}),
        tmp_path / "mix.jsonl",
    )
    assert [row.get("score") for row in rows] == [None, 0.5, None]
    assert rows[0]["when"] is rows[0]["far"] is None
    assert note.endswith(": when (1 row), score (1 row), far (1 row)")


def test_a_column_of_values_of_several_types_is_left_out_of_a_table_and_said(tmp_path):
    rows = [ASKED | {"instruction": str(x), "x": x, "y": y} for x, y in [(1, 1), ("a", 2**70)]]
    new = lines(tmp_path / "new.jsonl", *rows)
    made, (note,) = mixed(new, new.take([]), tmp_path / "mix.parquet")
    assert set(made[0]) == {"instruction", "output"} and note.endswith(": x (2 rows), y (2 rows)")


def test_half_a_surrogate_pair_and_nul_stay_out_of_a_csv_file_and_are_said(tmp_path):
    new = lines(tmp_path / "new.jsonl", ASKED | {"x": "\ud800", "y": "a\0", "z": "b"})
    rows, (note,) = mixed(new, new.take([]), tmp_path / "mix.csv")
    assert rows == [ASKED | {"z": "b"}] and note.endswith(": x (1 row), y (1 row)")


def test_new_rows_fit_as_they_are_and_are_asked_about_for_another_ending(tmp_path):
    marked = messages("a", "b")
    marked["messages"] = [*marked["messages"], *messages("c", "d")["messages"]]
    marked["messages"][1] = marked["messages"][1] | {"weight": 0}
    new = lines(tmp_path / "new.jsonl", marked, messages("e", "f"))
    assert unfit(new, new, ".jsonl") == unfit(new, new, ".json.gz") == {}
    assert list(unfit(new, new, ".parquet")) == list(unfit(new, new, ".csv")) == [0]
