"""Rows from CSV, each with the bytes of its record."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from modicum.errors import InputError
from modicum.readers.found import Fault, Found, ends_early
from modicum.readers.lines import LINE_LIMIT, lines


class Header(NamedTuple):
    """The first record: its columns and the bytes it stands in."""

    columns: list[str]
    start: int
    end: int


class _Record(NamedTuple):
    fields: list[str] | None
    problem: str
    start: int
    end: int


def csv_header(stream: BinaryIO, path: str, start: int = 0) -> Header:
    """The header of a CSV file; one without any is refused."""
    for record in _records(stream, path, start):
        if record.fields is None:
            raise InputError(f"{path}: its header is not CSV: {record.problem}")
        return Header(record.fields, record.start, record.end)
    raise InputError(f"{path} has no rows; leave it out, or put rows in")


def csv_rows(stream: BinaryIO, path: str, start: int = 0) -> Iterator[Found]:
    """Records after the header, as a mapping from column to text. Of two equal columns the last
    counts. A file that is not UTF-8 is refused: what its bytes mean cannot be known.
    """
    columns: list[str] | None = None
    row = complete = 0
    try:
        for record in _records(stream, path, start):
            if columns is None:
                columns = record.fields or []
                continue
            row += 1
            value = _value(record, columns)
            complete += not isinstance(value, Fault)
            yield Found(row, record.start, record.end, value)
    except EOFError:
        yield ends_early(row + 1, complete)


def _value(record: _Record, columns: list[str]) -> object:
    if record.fields is None:
        return Fault("not CSV", record.problem)
    if len(record.fields) != len(columns):
        wanted = f"{len(record.fields)} fields, the header has {len(columns)}"
        return Fault("wrong number of fields", wanted)
    if any("\0" in field for field in record.fields):
        return Fault("NUL bytes")
    return dict(zip(columns, record.fields, strict=True))


def _records(stream: BinaryIO, path: str, start: int) -> Iterator[_Record]:
    # The reader asks for a line only when a record needs it, so what was handed out by the time
    # a record is there ends where the record ends. Its limit on a field is one for the process.
    csv.field_size_limit(max(csv.field_size_limit(), min(LINE_LIMIT, sys.maxsize)))
    text = _Text(stream, path, start)
    reader = csv.reader(text, strict=True)
    while True:
        begin = text.end
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield _Record(None, str(error), begin, text.end)
            continue
        if any(field.strip() for field in fields) or len(fields) > 1:
            yield _Record(fields, "", begin, text.end)


class _Text:
    """Lines of text for the CSV reader, and the byte where the last one ends."""

    def __init__(self, stream: BinaryIO, path: str, start: int) -> None:
        self._lines, self._path, self.end = lines(stream, start), path, start
        self._header = ""

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        if line.data is None:
            raise InputError(f"{self._path}:{line.number}: line longer than {LINE_LIMIT >> 20} MiB")
        self.end = line.end
        self._header = self._header or line.data.decode(errors="backslashreplace").strip()
        try:
            return line.data.decode()
        except UnicodeDecodeError as error:
            raise InputError(
                f"{self._path} is not UTF-8: byte 0x{line.data[error.start]:02x} at offset "
                f"{line.start + error.start} (line {line.number}); its header reads "
                f"{self._header!r}; save it as UTF-8 with commas between the fields"
            ) from error
