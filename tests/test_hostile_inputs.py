"""Inputs made to do harm: each gives rows, or is set aside, or refused in one line."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from modicum.errors import InputError
from modicum.pool import Pool
from modicum.readers import read, streams
from modicum.readers.hub import address

GOOD = {"instruction": "Say hello.", "output": "Hello."}
Write = Callable[[pa.Table, Path], None]


def parquet(table: pa.Table, path: Path) -> None:
    pq.write_table(table, path)


def arrow(table: pa.Table, path: Path) -> None:
    with pa.ipc.new_stream(path, table.schema) as writer:
        writer.write_table(table)


@pytest.fixture(params=[parquet, arrow])
def written(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[pa.Table], Path]:
    def write(table: pa.Table) -> Path:
        path = tmp_path / f"pool.{request.param.__name__}"
        request.param(table, path)
        return path

    return write


def table(**columns: pa.Array) -> pa.Table:
    rows = len(next(iter(columns.values())))
    return pa.table({name: [text] * rows for name, text in GOOD.items()} | columns)


def reasons(pool: Pool) -> list[tuple[int, str]]:
    return [(bad.row, bad.reason) for bad in pool.rejected]


def test_text_that_is_not_utf_8_costs_its_row(written: Callable[[pa.Table], Path]):
    data = pa.array([b"fine", b"\xff\xfe", b"as well"]).view(pa.string())
    pool = read([str(written(table(output=data)))])
    assert reasons(pool) == [(2, "not UTF-8")]
    assert [example.turns[1].content for example in pool] == ["fine", "as well"]


TURNS = pa.list_(pa.struct([("role", pa.string()), ("content", pa.binary())]))
AS_TEXT = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))


def turns(answer: bytes) -> list[dict[str, object]]:
    return [{"role": "user", "content": b"Hello?"}, {"role": "assistant", "content": answer}]


def test_text_within_turns_that_is_not_utf_8_costs_its_row(written: Callable[[pa.Table], Path]):
    rows = [turns(b"fine"), turns(b"\xff"), *[turns(b"as well")] * 3000]
    pool = read([str(written(pa.table({"messages": pa.array(rows, TURNS).view(AS_TEXT)})))])
    assert reasons(pool) == [(2, "not UTF-8")]
    assert len(pool) == 3001


def test_a_column_whose_name_is_not_utf_8_is_refused(written: Callable[[pa.Table], Path]):
    path = written(table(unlikely=["a"]))
    path.write_bytes(path.read_bytes().replace(b"unlikely", b"unlikel\xff"))
    with pytest.raises(InputError, match="is not a readable"):
        read([str(path)])


def test_lengths_that_point_outside_are_refused_before_they_are_followed(tmp_path):
    path = tmp_path / "pool.arrow"
    offsets = pa.py_buffer(np.array([0, 3, 1 << 30, 6], np.int32))
    texts = pa.StringArray.from_buffers(3, offsets, pa.py_buffer(b"abcdef"))
    for column in (texts, pa.StructArray.from_arrays([texts], ["content"])):
        arrow(table(other=column), path)
        with pytest.raises(InputError, match="is not a readable Arrow file"):
            read([str(path)])


def test_a_time_that_python_cannot_hold_costs_its_row(written: Callable[[pa.Table], Path]):
    late = pa.array([0, 400_000_000_000, 1], pa.timestamp("s"))
    pool = read([str(written(table(id=late)))])
    assert reasons(pool) == [(1, "not text"), (2, "cannot be read"), (3, "not text")]


def test_a_column_that_is_there_twice_is_refused(written: Callable[[pa.Table], Path]):
    twice = pa.Table.from_arrays([pa.array(["a"])] * 3, ["instruction", "output", "output"])
    with pytest.raises(InputError, match="has several columns named output; leave one"):
        read([str(written(twice))])


def test_a_column_that_is_there_twice_and_not_read_is_no_matter(
    written: Callable[[pa.Table], Path],
):
    arrays = [pa.array(["a"])] * 4
    twice = pa.Table.from_arrays(arrays, ["instruction", "output", "other", "other"])
    assert len(read([str(written(twice))])) == 1


@pytest.mark.parametrize(
    ("ending", "compress"),
    [
        (".gz", gzip.compress),
        (".bz2", bz2.compress),
        (".xz", lzma.compress),
        (".zst", zstandard.compress),
    ],
)
@pytest.mark.parametrize("what", ["blank lines", "one line", "rows", "array"])
def test_a_file_that_expands_without_end_is_refused_on_the_way(
    ending: str, compress: Callable[[bytes], bytes], what: str, tmp_path, monkeypatch
):
    monkeypatch.setattr(streams, "MOST_BYTES", 1 << 20)
    monkeypatch.setattr(streams, "MOST_TIMES", 10)
    row = json.dumps(GOOD).encode() + b"\n"
    data = {
        "blank lines": b"\n" * (4 << 20),
        "one line": b"a" * (4 << 20),
        "rows": row * 80_000,
        "array": b"[" + b" " * (4 << 20) + row + b"]",
    }[what]
    path = tmp_path / f"pool.jsonl{ending}"
    path.write_bytes(compress(data))
    with pytest.raises(InputError, match=r"pool\.jsonl\.\w+ expands beyond 10 times its size"):
        read([str(path)])


def test_a_compressed_parquet_file_that_expands_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(streams, "MOST_BYTES", 1 << 20)
    monkeypatch.setattr(streams, "MOST_TIMES", 10)
    pq.write_table(table(other=[b"\0" * (4 << 20)]), tmp_path / "a", compression="none")
    path = tmp_path / "pool.parquet.gz"
    path.write_bytes(gzip.compress((tmp_path / "a").read_bytes()))
    with pytest.raises(InputError, match="expands beyond"):
        read([str(path)])


def test_what_compresses_well_is_read(tmp_path):
    row = json.dumps(GOOD).encode() + b"\n"
    path = tmp_path / "pool.jsonl.gz"
    path.write_bytes(gzip.compress(row * 2000))
    assert len(read([str(path)])) == 2000


def test_a_row_of_a_million_columns_is_read(tmp_path):
    path = tmp_path / "pool.jsonl"
    wide = {f"{i:x}": 0 for i in range(1_000_000)}
    path.write_text(json.dumps(wide | GOOD) + "\n" + json.dumps(GOOD) + "\n")
    pool = read([str(path)])
    assert len(pool) == 2
    path.write_text(json.dumps(wide) + "\n")
    with pytest.raises(InputError) as refused:
        read([str(path)])
    assert len(str(refused.value)) < 1000
    assert "and 9,980 more" in str(refused.value)


def test_names_that_are_half_a_surrogate_pair_are_no_matter(tmp_path):
    path = tmp_path / "pool.jsonl"
    path.write_text(json.dumps(GOOD | {"\ud800": 1}) + "\n")
    pool = read([str(path)])
    assert len(pool) == 1
    path.write_text('{"\\ud800": 1}\n')
    with pytest.raises(InputError, match="the keys \ufffd;"):
        read([str(path)])


@pytest.mark.parametrize("depth", [500, 100_000])
def test_deep_nesting_costs_its_row(depth: int, tmp_path):
    path = tmp_path / "pool.jsonl"
    deep = '{"instruction": "a", "output": ' + "[" * depth + "]" * depth + "}"
    path.write_text(f"{deep}\n{json.dumps(GOOD)}\n")
    pool = read([str(path)])
    assert len(pool) == 1
    assert [bad.row for bad in pool.rejected] == [1]


@pytest.mark.parametrize(
    "name",
    [
        *("../../etc", "/etc/passwd", "./data", "~/data", "json", "parquet", "org/../x", "org/.."),
        *("org/name/more", "org//name", "", "org/", "/name", "C:\\data/x", "or\u0261/name"),
    ],
)
def test_only_names_of_the_hub_go_to_it(name: str):
    with pytest.raises(InputError, match="is not an address; write hf://org/name"):
        address(f"hf://{name}")


@pytest.mark.parametrize("name", ["org/name", "a-b/c.d_e", "0x/1-2"])
def test_names_of_the_hub_are_taken_apart(name: str):
    assert address(f"hf://{name}:easy@test") == (name, "easy", "test")


def test_dates_are_no_surprise(written: Callable[[pa.Table], Path]):
    pool = read([str(written(table(id=[datetime(2026, 1, 1), None, datetime(1, 1, 1)])))])
    assert len(pool) + len(pool.rejected) == 3
