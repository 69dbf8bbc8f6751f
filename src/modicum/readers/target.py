"""The file that rows are mixed into: what its rows look like, and whose rows stand there as is."""

from __future__ import annotations

import csv
import io
import json
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import pyarrow as pa

from modicum.errors import InputError
from modicum.pool import Pool, SourceFile
from modicum.readers.back import (
    Part,
    check_unchanged,
    ending_base,
    opened_columnar,
    row_bytes,
)
from modicum.readers.columnar import Columnar, taken
from modicum.readers.formats import NEEDED
from modicum.readers.layout import text_start
from modicum.readers.shape import LISTS, Shape, shape_of
from modicum.readers.streams import open_bytes
from modicum.readers.tables import csv_header

_KINDS = {".jsonl": "json", ".json": "json", ".csv": "csv", ".parquet": "table", ".arrow": "table"}
_SPOKEN = {  # the fields that turns are read from
    "messages": ("messages", "system"),
    "sharegpt": ("conversations", "system"),
    "alpaca": ("instruction", "input", "output", "system", "history"),
    "prompt-completion": ("prompt", "completion", "system"),
}


@dataclass(frozen=True)
class Target:
    """What the mixed file is, and the new file that it is made like."""

    ending: str  # without the compression
    like: SourceFile
    shape: Shape
    header: tuple[str, ...] = ()  # of CSV
    columnar: Columnar | None = None  # of Parquet and Arrow; it has no batches

    @property
    def kind(self) -> str:
        """`json`, `csv` or `table`."""
        return _KINDS[self.ending]


def target(new: Pool, ending: str) -> Target:
    """The mixed file of this ending for the rows of `new`, whose files must be alike."""
    if not len(new) or not new.files:
        raise InputError("the new file has no rows that can be used; there is nothing to mix into")
    number_N = new.table["file"].to_numpy()
    like, *others = files = [new.files[number] for number in np.unique(number_N).tolist()]
    for file in files:
        check_unchanged(file)
    if "+" in like.format:
        raise InputError(f"{like.path} holds rows of {like.format}; write them in one format first")
    for other in others:
        if _signature(other) != _signature(like):
            raise InputError(
                f"{like.path} and {other.path} are not alike ({like.format} in {like.ending}, "
                f"{other.format} in {other.ending}, or other columns); mix into one of them at a "
                "time"
            )
    fields = [field for field in ("id", *_SPOKEN[like.format]) if field in like.columns]
    columns = {field: like.columns[field][0] for field in fields}
    at = int(np.argmin(number_N))
    kind = _KINDS[ending]
    if kind == "csv":
        columns.pop("history", None)  # a list, which CSV has not
        _refuse_several(like)
    shape = _reshaped(shape_of(_first(new, at, like), like.format, columns), like, kind)
    header = _columns(like) or tuple(dict.fromkeys(columns.values()))
    made = Target(ending, like, shape, header if kind == "csv" else ())
    return replace(made, columnar=_columnar(made)) if kind == "table" else made


def as_it_is(file: SourceFile, into: Target) -> bool:
    """Whether rows of a file stand in the mixed file as they are."""
    like = into.like
    if (
        _kind(file) != into.kind
        or file.format != like.format
        or _spoken(file) != _spoken(like)
        or not _complete(file) <= _complete(like)
    ):
        return False
    if into.kind == "csv":
        return _columns(file) == into.header
    return into.columnar is None or _fits(_schema(file), into.columnar.schema, into)


def _kind(file: SourceFile) -> str:
    return _KINDS[ending_base(file.ending)]


def _spoken(file: SourceFile) -> dict[str, tuple[str, ...]]:
    return {f: file.columns[f] for f in _SPOKEN[file.format] if f in file.columns}


def _complete(file: SourceFile) -> set[str]:
    """The formats that its columns make whole."""
    return {name for name, fields in NEEDED.items() if all(f in file.columns for f in fields)}


def _signature(file: SourceFile) -> object:
    """What two new files must share."""
    if file.format not in _SPOKEN:
        return file.format
    schema = _schema(file).remove_metadata() if _kind(file) == "table" else None
    return file.format, _kind(file), _spoken(file), _columns(file), schema


def _refuse_several(like: SourceFile) -> None:
    if len(both := _complete(like)) > 1:
        raise InputError(
            f"{like.path} has the columns of {' and '.join(sorted(both))}, and CSV cannot leave "
            "one of them null; write the mix as .jsonl"
        )


def _columns(file: SourceFile) -> tuple[str, ...]:
    """The header of a CSV file."""
    if _kind(file) != "csv":
        return ()
    with open_bytes(file.path) as stream:
        return tuple(csv_header(stream, file.path, text_start(file.path)).columns)


def _schema(file: SourceFile) -> pa.Schema:
    with ExitStack() as opened:
        return opened_columnar(file, opened).schema


def _fits(theirs: pa.Schema, ours: pa.Schema, into: Target) -> bool:
    """Whether the columns of the turns are of the same type, and none is missing that must be."""
    spoken = {column for field, column in into.shape.columns.items() if field != "id"}
    for field in ours:
        place = theirs.get_field_index(field.name)
        same = place >= 0 and theirs.field(place).type == field.type
        if field.name in spoken and not same:
            return False
        if not field.nullable and (not same or theirs.field(place).nullable):
            return False
    return True


def _first(new: Pool, at: int, like: SourceFile) -> dict[str, Any]:
    """The columns of the row at this position, as its file has them."""
    start, end = (new.table[name][at].as_py() for name in ("start", "end"))
    if _kind(like) == "table":
        with ExitStack() as opened:
            table = next(taken(opened_columnar(like, opened), [start]))
            wanted = {name for names in like.columns.values() for name in names}
            names = [name for name in table.schema.names if name in wanted]
            return cast(dict[str, Any], table.select(names).to_pylist()[0])
    (row,) = row_bytes(Part(like, [(start, end)]))
    if _kind(like) == "json":
        return cast(dict[str, Any], json.loads(row))
    record = next(csv.reader(io.StringIO(row.decode(), newline="")))
    return dict(zip(_columns(like), record, strict=True))


def _reshaped(shape: Shape, like: SourceFile, kind: str) -> Shape:
    """The shape of the new file's rows in another kind of file; CSV holds nothing but text."""
    written = dict(shape.written)
    for field, held in shape.written.items():
        if kind == "csv":
            written[field] = held._replace(kind="text", parts=False)
        elif _kind(like) == "csv" and field in LISTS:
            written[field] = held._replace(kind="list")
    return replace(shape, written=written, whole_ids=shape.whole_ids and kind != "csv")


def _columnar(made: Target) -> Columnar:
    """The schema of the new file where it is a table, otherwise one made for its columns."""
    if _kind(made.like) != "table":
        schema = pa.schema([(c, _type(f, made.shape)) for f, c in made.shape.columns.items()])
        like = Columnar(schema, iter(()), "file", "snappy")
    else:
        with ExitStack() as opened:
            like = opened_columnar(made.like, opened)._replace(batches=iter(()))
    if made.ending == ".parquet":
        return like._replace(kind="parquet", codec=like.codec or "snappy")
    return like._replace(kind="file" if like.kind == "parquet" else like.kind)


def _type(field: str, shape: Shape) -> pa.DataType:
    text = pa.string()
    if field == "id" and shape.whole_ids:
        return pa.int64()
    if field == "history":
        return pa.list_(pa.list_(text))
    if field not in shape.written or (written := shape.written[field]).kind == "text":
        return text
    part = pa.list_(pa.struct([("type", text), ("text", text)]))
    content = part if written.parts else text
    turn = pa.struct([(written.role, text), (written.content, content)])
    return turn if written.kind == "object" else pa.list_(turn)
