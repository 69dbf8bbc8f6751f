"""The Arrow schema of a mixed file, and rows of other tables under it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack

import pyarrow as pa

from modicum.pool import SourceFile
from modicum.readers.back import opened_columnar
from modicum.readers.columnar import Columnar
from modicum.readers.raw import kind_of
from modicum.readers.shape import Shape


def columnar_like(
    like: SourceFile, ending: str, shape: Shape, further: Mapping[str, pa.DataType]
) -> Columnar:
    """The new file's own schema where it is a table, otherwise one made for its columns."""
    if kind_of(like) == "table":
        with ExitStack() as opened:
            made = opened_columnar(like, opened)._replace(batches=iter(()))
    else:
        types = {column: _type(field, shape) for field, column in shape.columns.items()}
        made = Columnar(pa.schema(list({**types, **further}.items())), iter(()), "file", "snappy")
    if ending == ".parquet":
        return made._replace(kind="parquet", codec=made.codec or "snappy")
    return made._replace(kind="file" if made.kind == "parquet" else made.kind)


def stands_in(theirs: pa.Schema, ours: pa.Schema, turns: frozenset[str]) -> bool:
    """Whether the columns of the turns are of the same type, and none is missing that must be."""
    for field in ours:
        place = theirs.get_field_index(field.name)
        same = place >= 0 and theirs.field(place).type == field.type
        if field.name in turns and not same:
            return False
        if not field.nullable and (not same or theirs.field(place).nullable):
            return False
    return True


def under(table: pa.Table, schema: pa.Schema) -> tuple[pa.Table, dict[str, int]]:
    """The table's columns under another schema, and in how many rows each of them is lost.

    A value of another type is kept where the schema's type holds the very same, and null otherwise.
    """
    made = []
    lost = {name: _filled(table[name]) for name in table.column_names if name not in schema.names}
    for field in schema:
        place = table.schema.get_field_index(field.name)
        if place < 0:
            made.append(pa.nulls(table.num_rows, field.type))
            continue
        made.append(_exactly(table.column(place), field.type))
        lost[field.name] = _filled(table.column(place)) - _filled(made[-1])
    return pa.Table.from_arrays(made, schema=schema), {name: n for name, n in lost.items() if n}


def _filled(column: pa.ChunkedArray) -> int:
    return len(column) - int(column.null_count)


def _exactly(column: pa.ChunkedArray, type: pa.DataType) -> pa.ChunkedArray:
    if column.type == type:
        return column
    if (whole := _cast(column, type)) is not None:
        return whole
    chunks: list[pa.Array] = []
    for place in range(len(column)):
        one = _cast(column.slice(place, 1), type)
        chunks += [pa.nulls(1, type)] if one is None else one.chunks
    return pa.chunked_array(chunks, type=type)


def _cast(column: pa.ChunkedArray, type: pa.DataType) -> pa.ChunkedArray | None:
    try:
        cast = column.cast(type)
        # Arrow itself makes true of 2, and drops the fields of a struct that another has not.
        same = cast.cast(column.type).equals(column)
    except pa.ArrowException:
        return None
    return cast if same else None


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
