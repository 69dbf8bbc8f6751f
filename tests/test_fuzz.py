"""Any bytes give rows, rows set aside with a reason, or one line that says why not: never less.

10,000 cases in all; `make fuzz` tries twenty times as many.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from fuzzing import COLUMNS, GOOD, ROWS, TEXTS, TURNS, VALUES, as_lines, cases, mutated
from modicum.errors import ModicumError
from modicum.pool import Pool, RawRow, Turn
from modicum.readers import read, write_back
from modicum.render import render
from tiny_tokenizers import SHAPES, byte_level

COMPRESSED: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstandard.compress,
}


def tried(data: bytes, ending: str, **how: Any) -> Pool | None:
    """What a file of these bytes gives; None if it is refused in one line."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"pool{ending}"
        path.write_bytes(data)
        try:
            pool = read([str(path)], **how)
        except ModicumError as error:
            assert str(error) and "\n" not in str(error).strip()
            return None
        (file,) = pool.files
        assert len(pool) + len(pool.rejected) == file.rows > 0
        assert all(bad.reason and bad.row > 0 for bad in pool.rejected)
        assert len(set(pool.ids)) == len(pool)
        for example in pool:
            example.instruction.encode()
            assert example.turns
        if len(pool):
            _comes_back(pool, Path(folder), how)
    return pool


def _comes_back(pool: Pool, folder: Path, how: dict[str, Any]) -> None:
    """The rows that were kept, written back and read again, are the same rows."""
    (subset,) = write_back(pool, range(len(pool)), folder / "out")
    again = read([str(subset)], **how)
    assert again.digests == pool.digests
    assert not again.rejected


ENDINGS = [".jsonl", ".json", ".csv", ".parquet", ".arrow", ".jsonl.gz", ".jsonl.zst"]


@cases(1500)
@given(st.binary(max_size=300), st.sampled_from(ENDINGS))
def test_any_bytes(data: bytes, ending: str):
    tried(data, ending)


@cache
def written(ending: str) -> bytes:
    """A good file of every kind."""
    rows = [{"input": None, "task": None, "source": None, **row} for row in GOOD]
    rows = json.loads(json.dumps(rows))  # pairs of surrogates are one character
    if ending == ".jsonl":
        return as_lines(rows)
    if ending == ".json":
        return json.dumps(rows, indent=1).encode()
    if ending == ".csv":
        return b'id,instruction,output\na,"Say, ""hello"".",Hello.\nb,Count.,"1\n2"\n'
    made, table = io.BytesIO(), pa.Table.from_pylist(rows)
    if ending == ".parquet":
        pq.write_table(table, made)
    else:
        with pa.ipc.new_file(made, table.schema) as writer:
            writer.write_table(table)
    return made.getvalue()


@pytest.mark.parametrize("ending", [".jsonl", ".json", ".csv", ".parquet", ".arrow"])
def test_a_good_file_is_read(ending: str):
    pool = tried(written(ending), ending)
    assert pool is not None and len(pool) >= 2 and not pool.rejected


@cases(600)
@given(st.data())
@pytest.mark.parametrize("ending", [".jsonl", ".json", ".csv", ".parquet", ".arrow"])
def test_a_good_file_with_a_few_bytes_changed(ending: str, data: st.DataObject):
    tried(data.draw(mutated(written(ending))), ending)


@cases(250)
@given(st.data())
@pytest.mark.parametrize("kind", [".gz", ".bz2", ".xz", ".zst"])
def test_a_compressed_file_with_a_few_bytes_changed(kind: str, data: st.DataObject):
    tried(data.draw(mutated(COMPRESSED[kind](written(".jsonl")))), f".jsonl{kind}")


@cases(1500)
@given(st.lists(ROWS | VALUES, min_size=1, max_size=4), st.sampled_from([".jsonl", ".json"]))
def test_any_rows_of_json(rows: list[Any], ending: str):
    tried(as_lines(rows) if ending == ".jsonl" else json.dumps(rows).encode(), ending)


FIELDS = st.dictionaries(
    st.sampled_from(["instruction", "output", "messages", "id", "task", "tags", "choices"]),
    COLUMNS,
    max_size=3,
)


@cases(1000)
@given(
    st.lists(ROWS, min_size=1, max_size=3),
    FIELDS,
    st.none() | st.sampled_from(["alpaca", "sharegpt", "messages", "prompt-completion"]),
)
def test_any_rows_under_any_names(rows: list[Any], fields: dict[str, str], format: str | None):
    tried(as_lines(rows), ".jsonl", fields=fields, format=format)


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    """Columns of any type that Arrow can make of some values, under names that mean something."""
    rows = draw(st.integers(1, 3))
    texts = st.text(max_size=20)
    kinds: list[tuple[pa.DataType | None, st.SearchStrategy[Any]]] = [
        (pa.string(), texts),
        (pa.large_string(), texts),
        (pa.binary(), st.binary(max_size=8)),
        (None, st.binary(max_size=8)),  # texts that may not be UTF-8
        (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
        (pa.float32(), st.floats(width=32)),
        (pa.bool_(), st.booleans()),
        (pa.timestamp("s"), st.integers(-(2**62), 2**62)),
        (pa.time64("ns"), st.integers(0, 86_399_999_999_999)),
        (pa.duration("us"), st.integers(-(2**62), 2**62)),
        (pa.decimal128(10, 2), st.decimals(-1000, 1000, places=2)),
        (pa.list_(pa.string()), st.lists(texts, max_size=3)),
        (pa.map_(pa.string(), pa.int64()), st.dictionaries(texts, st.integers(0, 9), max_size=2)),
        (pa.dictionary(pa.int8(), pa.string()), texts),
        (
            pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())])),
            st.lists(st.fixed_dictionaries({"role": st.text(max_size=9), "content": texts})),
        ),
    ]
    names = draw(st.lists(COLUMNS, min_size=1, max_size=5))
    arrays = []
    for _ in names:
        kind, values = draw(st.sampled_from(kinds))
        cells = draw(st.lists(st.none() | values, min_size=rows, max_size=rows))
        if isinstance(kind, pa.MapType):
            cells = [cell and list(cell.items()) for cell in cells]
        if isinstance(kind, pa.TimestampType | pa.Time64Type | pa.DurationType):
            arrays.append(pa.array(cells, pa.int64()).view(kind))
        elif kind is None:
            arrays.append(pa.array(cells, pa.binary()).view(pa.string()))
        else:
            arrays.append(pa.array(cells, kind))
    return pa.Table.from_arrays(arrays, names)


@cases(1000)
@given(tables(), st.sampled_from([".parquet", ".arrow"]))
def test_any_columns_of_any_type(table: pa.Table, ending: str):
    made = io.BytesIO()
    try:
        if ending == ".parquet":
            pq.write_table(table, made)
        else:
            with pa.ipc.new_stream(made, table.schema) as writer:
                writer.write_table(table)
    except (pa.ArrowException, ValueError):
        return  # Parquet has no such type
    tried(made.getvalue(), ending)


SIGNS = st.sampled_from(["<|im_end|>", "<s>", "</think>", "[INST]", "{{", "{% if %}", "\ufffd", "​"])
WORDS = st.lists(SIGNS | st.text(max_size=12), max_size=4).map("".join)
MADE_TURNS = st.lists(
    st.builds(Turn, st.sampled_from(["user", "assistant", "system"]), WORDS, st.booleans()),
    max_size=5,
)


@cache
def tokenizer(shape: str) -> Any:
    return byte_level(shape)


@cases(1000)
@given(
    st.lists(MADE_TURNS, min_size=1, max_size=3),
    st.sampled_from(sorted(SHAPES)),
    st.none() | st.integers(1, 40),
)
def test_any_turns_are_rendered_or_have_a_reason(
    conversations: list[list[Turn]], shape: str, limit: int | None
):
    rows = [RawRow(f"r{i}", "", "", tuple(t), 0, i, 0, 0) for i, t in enumerate(conversations)]
    pool = Pool.build(rows)
    made = render(pool, tokenizer(shape), limit=limit, truncate=limit is not None)
    assert len(made) == len(pool)
    for i, turns in enumerate(conversations):
        assert (made.lengths_N[i] == 0) == (i in made.errors), turns
        assert made.errors.get(i, "a reason")
        learned = any(turn.train for turn in turns)
        assert (made.answer_lengths_N[i] > 0) <= learned


@cases(500)
@given(st.lists(TURNS, min_size=1, max_size=3), TEXTS)
def test_any_conversation_from_file_to_tokens(conversations: list[Any], asked: str):
    rows = [{"messages": turns} for turns in conversations]
    pool = tried(as_lines([*rows, {"messages": [{"role": "user", "content": asked}]}]), ".jsonl")
    if pool is not None and len(pool):
        made = render(pool, tokenizer("chatml"))
        assert all(made.answer_lengths_N[i] > 0 or i in made.errors for i in range(len(pool)))
