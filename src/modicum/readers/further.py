"""The columns of a row beside those of its turns, on their way into the mixed file.

A row of the new file takes them along as far as the other kind of file can hold them. A row of an
old file that is written anew leaves them behind.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import pyarrow as pa

from modicum.pool import SourceFile
from modicum.readers.turns import BadRow, as_text

SPOKEN = {  # the fields that turns are read from
    "messages": ("messages", "system"),
    "sharegpt": ("conversations", "system"),
    "alpaca": ("instruction", "input", "output", "system", "history"),
    "prompt-completion": ("prompt", "completion", "system"),
}


def spoken(file: SourceFile) -> frozenset[str]:
    """The columns that a file's turns were read from."""
    fields = {field for format in file.format.split("+") for field in SPOKEN.get(format, ())}
    return frozenset(name for field in fields for name in file.columns.get(field, ()))


def carried(row: Mapping[str, Any], turns: Collection[str], kind: str) -> dict[str, Any]:
    """The columns of a row beside its turns, as a `json`, `csv` or `table` file can hold them.

    Null stands for what it cannot hold.
    """
    return {name: _held(value, kind) for name, value in row.items() if name not in turns}


def types_of(
    rows: Iterable[Mapping[str, Any]], turns: Collection[str], kind: str
) -> dict[str, pa.DataType]:
    """The further columns in which a row holds something, and each one's type in a table.

    A table has one type for a column: one that has values of several is left out.
    """
    found: dict[str, list[Any]] = {}
    for row in rows:
        for name, value in carried(row, turns, kind).items():
            if value is not None and _is_utf8(name):
                found.setdefault(name, []).append(value)
    types = {name: _type_of(values) for name, values in found.items()}
    return {name: type for name, type in types.items() if type is not None}


def _held(value: Any, kind: str) -> Any:
    if isinstance(value, str):
        fine = kind == "json" or (_is_utf8(value) and not (kind == "csv" and "\0" in value))
        return value if fine else None
    if kind == "table":
        return value
    try:
        # JSON has neither NaN nor dates, CSV neither lists nor objects.
        json.dumps(value, allow_nan=False)
        return as_text(value, "") if kind == "csv" else value
    except (TypeError, ValueError, RecursionError, BadRow):
        return None


def _type_of(values: list[Any]) -> pa.DataType | None:
    try:
        return pa.array(values).type
    except (pa.ArrowException, OverflowError, UnicodeError):
        return None


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
