"""A row written anew for the mixed file, or why it does not fit there."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from modicum.pool import Example
from modicum.readers.lines import LINE_LIMIT
from modicum.readers.shape import misfit, read_back, row_of
from modicum.readers.target import Target


def fitted(example: Example, into: Target) -> dict[str, Any] | str:
    """A row's columns as the mixed file will hold them, or why it cannot, and what to do.

    What fits gives the very turns when it is read.
    """
    if reason := misfit(example.turns, into.shape):
        return reason
    row = row_of(example.id, example.turns, into.shape)
    stored = row if into.columnar is None else _stored(row, into.columnar.schema, into)
    if isinstance(stored, str):
        return stored
    if read_back(stored, into.shape) != example.turns:
        return f"as {into.shape.format} it would not be read back as it is; leave this row out"
    return stored if into.columnar else _too_much(row, into) or stored


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
    """The row as the table's types hold it; what is blank, and an id, may be left out."""
    stored: dict[str, Any] = {}
    for field in schema:
        given = row.get(field.name)
        value = _cast(given, field.type)
        spare = given in (None, "", []) or field.name == into.shape.columns.get("id")
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
        return pa.array([value], type).to_pylist()[0]
    except pa.ArrowException:
        return None
