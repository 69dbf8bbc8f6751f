"""The rows of an input once more, as it holds them: every column, whether it was read or not."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import pyarrow as pa

from modicum.pool import SourceFile
from modicum.readers.back import Part, opened_columnar, row_bytes
from modicum.readers.columnar import taken
from modicum.readers.layout import text_start
from modicum.readers.sources import ending_of
from modicum.readers.streams import open_bytes
from modicum.readers.tables import csv_header

KINDS = {".jsonl": "json", ".json": "json", ".csv": "csv", ".parquet": "table", ".arrow": "table"}


def kind_of(file: SourceFile) -> str:
    """`json`, `csv` or `table`."""
    return KINDS[ending_of(file.ending)[0]]


def header_of(file: SourceFile) -> tuple[str, ...]:
    """The header of a CSV input; nothing of any other."""
    if kind_of(file) != "csv":
        return ()
    with open_bytes(file.path) as stream:
        return tuple(csv_header(stream, file.path, text_start(file.path)).columns)


def schema_of(file: SourceFile) -> pa.Schema:
    """The schema of a Parquet or Arrow input, or of a data set of the hub."""
    with ExitStack() as opened:
        return opened_columnar(file, opened).schema


def raw_rows(file: SourceFile, spans: Sequence[tuple[int, int]]) -> Iterator[dict[str, Any]]:
    """The rows at these spans, which ascend, each as a mapping from column to value."""
    if kind_of(file) == "table":
        with ExitStack() as opened:
            for table in taken(opened_columnar(file, opened), [start for start, _ in spans]):
                cells = [_cells(column) for column in table.columns]
                for row in zip(*cells, strict=True):
                    yield dict(zip(table.column_names, row, strict=True))
        return
    header = header_of(file)
    for data in row_bytes(Part(file, list(spans))):
        if header:
            record = next(csv.reader(io.StringIO(data.decode(), newline="")))
            yield dict(zip(header, record, strict=True))
        else:
            yield json.loads(data)


def _cells(column: pa.ChunkedArray) -> list[Any]:
    try:
        return list(column.to_pylist())
    except (ValueError, OverflowError):  # a time that Python has no object for
        return [cell if cell.is_valid else None for cell in column]
