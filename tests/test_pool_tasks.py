"""The task and the tags of a row: where they are read from, and what they do not change."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from modicum.errors import OptionError
from modicum.pool import Pool, RawRow, Turn

ROW = {"instruction": "Add 2 and 2.", "output": "4"}
TURNS = (Turn("user", "Add 2 and 2.", False), Turn("assistant", "4", True))


@pytest.fixture
def pool_of(tmp_path):
    def made(*rows, **fields):
        path = tmp_path / "pool.jsonl"
        path.write_text("".join(json.dumps(ROW | row) + "\n" for row in rows))
        return Pool.read(path, **fields)

    return made


def test_a_task_column_is_read_as_text_and_what_is_no_text_is_none(pool_of):
    said = ["sums", 7, None, " ", ["sums"], {"name": "sums"}]
    pool = pool_of(*({"task": task} for task in said), {})
    assert pool.tasks == ["sums", "7", None, None, None, None, None]
    assert not pool.rejected


def test_space_around_a_task_does_not_make_it_another(pool_of):
    assert pool_of({"task": "sums"}, {"task": " sums\n"}).tasks == ["sums", "sums"]


def test_a_task_column_that_the_user_names_may_not_hold_lists(pool_of):
    pool = pool_of({"kind": "sums"}, {"kind": ["sums"]}, {"kind": None}, task="kind")
    assert pool.tasks == ["sums", None]
    assert [(bad.reason, bad.detail) for bad in pool.rejected] == [("not text", "kind is a list")]


def test_tags_are_read_only_from_a_column_that_the_user_names(pool_of):
    assert pool_of({"tags": ["a"]}).tags == [None]
    assert pool_of({"tags": ["a"]}, tags="tags").tags == [("a",)]


@pytest.mark.parametrize(
    ("given", "tags"),
    [
        (["sums", " small numbers ", "sums", ""], ("sums", "small numbers")),
        ('["sums", "small, numbers"]', ("sums", "small, numbers")),
        ("sums, small numbers,,sums", ("sums", "small numbers")),
        ([], None),
        (" ", None),
        (None, None),
    ],
)
def test_tags_are_a_list_or_text_and_each_is_kept_once(pool_of, given, tags):
    assert pool_of({"kinds": given}, tags="kinds").tags == [tags]


@pytest.mark.parametrize("given", [["a", 1], {"a": 1}, 7, "[1, 2]", "['a', 'b']", ["a", None]])
def test_what_is_no_list_of_texts_is_a_bad_row(pool_of, given):
    pool = pool_of({"kinds": given}, {"kinds": "a"}, tags="kinds")
    assert [bad.reason for bad in pool.rejected] == ["tags are not a list of texts"]
    assert pool.tags == [("a",)]


def test_a_column_of_tags_that_no_row_has_is_refused(pool_of):
    with pytest.raises(OptionError, match="no row has a column kinds"):
        pool_of({}, tags="kinds")


def test_tasks_and_tags_of_a_parquet_file_are_read(tmp_path):
    rows = [ROW | {"task": "a", "kinds": ["x", "y"]}, ROW | {"task": None, "kinds": None}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "x.parquet")
    pool = Pool.read(tmp_path / "x.parquet", tags="kinds")
    assert (pool.tasks, pool.tags) == (["a", None], [("x", "y"), None])


def test_ids_digests_and_fingerprint_know_nothing_of_tasks_and_tags():
    plain = Pool.build([RawRow(None, "s", "i", TURNS, 0, 1, 0, 0)])
    told = Pool.build([RawRow(None, "s", "i", TURNS, 0, 1, 0, 0, "sums", ("a", "b"))])
    assert (plain.tasks, plain.tags) == ([None], [None])
    assert (told.tasks, told.tags) == (["sums"], [("a", "b")])
    assert (told.ids, told.digests) == (plain.ids, plain.digests)
    assert told.fingerprint == plain.fingerprint


def test_taken_rows_keep_their_task_and_tags(pool_of):
    pool = pool_of({"task": "a", "k": "x"}, {"task": "b", "k": "y"}, tags="k").take([1])
    assert (pool.tasks, pool.tags) == (["b"], [("y",)])


def test_half_a_surrogate_pair_in_a_task_or_tag_is_replaced_and_counted(pool_of):
    pool = pool_of({"task": "a\ud800", "k": ["b\ud800"]}, tags="k")
    assert (pool.tasks, pool.tags) == (["a\ufffd"], [("b\ufffd",)])
    assert "lone surrogate" in pool.files[0].notes[0]
