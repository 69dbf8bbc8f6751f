"""A row written anew for the mixed file and what it leaves behind, or why it does not fit."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from modicum.pool import Example, SourceFile
from modicum.readers.further import carried, spoken
from modicum.readers.lines import LINE_LIMIT
from modicum.readers.shape import misfit, read_back, row_of
from modicum.readers.target import Target


def fitted(example: Example, into: Target, own: Mapping[str, Any] | None) -> dict[str, Any] | str:
    """A row's columns as the mixed file will hold them, or why it cannot, and what to do.

    `own` is the row as its file holds it where that is a new file: its further columns go along.
    What fits gives the very turns when it is read.
    """
    if reason := misfit(example.turns, into.shape):
        return reason
    row = row_of(example, into.shape)
    if own is not None:
        told = {name: value for name, value in row.items() if name in into.turns}
        row = told | carried(own, into.turns, into.kind)
    stored = row if into.columnar is None else _stored(row, into.columnar.schema, into)
    if isinstance(stored, str):
        return stored
    if read_back(stored, into.shape) != example.turns:
        return f"as {into.shape.format} it would not be read back as it is; leave this row out"
    return stored if into.columnar else _too_much(row, into) or stored


def left_behind(
    row: Mapping[str, Any], made: Mapping[str, Any], file: SourceFile, into: Target
) -> list[str]:
    """Columns in which a row holds something that `made`, written anew from it, does not."""
    held = [name for name, value in row.items() if value not in (None, "", [])]
    if file in into.new:
        return [name for name in held if name not in into.turns and made.get(name) is None]
    along = {
        name
        for field in ("id", "instruction")
        if made.get(into.shape.columns.get(field, "")) is not None
        for name in file.columns.get(field, ())
    }
    return [name for name in held if name not in spoken(file) | along]


def encoded(row: Mapping[str, Any], into: Target) -> bytes:
    """A row as a line of JSON or a record of CSV."""
    if into.kind == "json":
        return json.dumps(row, ensure_ascii=False).encode() + b"\n"
    text = io.StringIO(newline="")
    # Only with this line end does the writer quote both of its characters.
    csv.writer(text, lineterminator="\r\n").writerow(
        ["" if row.get(name) is None else row[name] for name in into.header]
    )
    return text.getvalue().removesuffix("\r\n").encode() + b"\n"


def _too_much(row: Mapping[str, Any], into: Target) -> str:
    line = encoded(row, into)
    if len(line) > LINE_LIMIT:
        return f"written it is longer than {LINE_LIMIT >> 20} MiB; leave this row out"
    if b"\0" in line:
        return "it holds NUL bytes, which CSV cannot; write the mix as .jsonl"
    return ""


def _stored(row: Mapping[str, Any], schema: pa.Schema, into: Target) -> dict[str, Any] | str:
    """The row as the table's types hold it; what is blank or says no turn may be left out."""
    stored: dict[str, Any] = {}
    for field in schema:
        given = row.get(field.name)
        value = _cast(given, field.type)
        spare = given in (None, "", []) or field.name not in into.turns
        if value is None and not spare:
            return (
                f"column {field.name} of {into.like.path} holds {field.type}, which this row does "
                "not fit; give the new file text there, or leave this row out"
            )
        if value is None and not field.nullable:
            return (
                f"column {field.name} of {into.like.path} cannot be null, and this row has nothing "
                "for it; allow null there, or leave this row out"
            )
        stored[field.name] = value
    return stored


def _cast(value: object, type: pa.DataType) -> Any:
    try:
        cast = pa.array([value], type).to_pylist()[0]
    except (pa.ArrowException, OverflowError):
        return None
    # Arrow makes 7 of 7.5.
    return None if isinstance(value, float) and cast != value else cast
