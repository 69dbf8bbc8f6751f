"""What a text file turns out to be: its encoding, and JSON lines or one JSON array."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from modicum.errors import InputError
from modicum.readers.found import Fault, some
from modicum.readers.lines import LINE_LIMIT, lines, parse
from modicum.readers.streams import open_bytes, skip

_CHUNK = 1 << 16
_OTHER_ENCODINGS = (  # the longer marks first: UTF-32 LE begins as UTF-16 LE does
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)


class Layout(NamedTuple):
    """How the text of a file begins."""

    start: int  # of its content: 3 after a UTF-8 byte order mark
    array: bool  # one JSON array rather than JSON lines


def layout(path: str) -> Layout:
    """Look at the beginning of a text file; one that is not UTF-8 by its mark is refused.

    A file that begins with "[" is an array, unless its first line is a whole list of something
    other than objects and more lines follow: those are JSON lines, the first not an object. An
    object spread over lines is refused: each of its lines would count as a broken row.
    """
    start = text_start(path)
    first = _first_byte(path, start)
    if first == b"{":
        _refuse_spread_object(path, start)
    return Layout(start, first == b"[" and not _list_then_more(path, start))


def text_start(path: str) -> int:
    """Where the text begins: after a UTF-8 byte order mark if there is one."""
    with open_bytes(path) as stream:
        head = _head(stream, 4)
    for mark, name in _OTHER_ENCODINGS:
        if head.startswith(mark):
            raise InputError(f"{path} is {name}, not UTF-8; save it as UTF-8")
    return len(codecs.BOM_UTF8) if head.startswith(codecs.BOM_UTF8) else 0


def _head(stream: BinaryIO, size: int) -> bytes:
    try:
        return stream.read(size)
    except EOFError:
        return b""


def _first_byte(path: str, start: int) -> bytes:
    with open_bytes(path) as stream:
        skip(stream, start)
        while data := _head(stream, _CHUNK):
            if text := data.lstrip():
                return text[:1]
    return b""


def _refuse_spread_object(path: str, start: int) -> None:
    with open_bytes(path) as stream:
        try:
            first = next(_full_lines(stream, start))
        except (EOFError, StopIteration):
            return
        if first is None or not isinstance(parse(first.decode(errors="replace")), Fault):
            return
        rest = _head(stream, LINE_LIMIT)
    text = (first + rest).decode(errors="replace").lstrip()
    try:
        value, end = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        value, end = {}, len(text) if first.strip() == b"{" else 0
    if "\n" not in text[:end]:
        return
    keys = f" with the keys {some(value)}" if value else ""
    raise InputError(
        f"{path} is an object over several lines{keys}; rows are read from a top-level array or "
        "one object a line"
    )


def _full_lines(stream: BinaryIO, start: int) -> Iterator[bytes | None]:
    """The lines that are not blank; None for one that is too long."""
    return (x.data for x in lines(stream, start) if x.data is None or not x.data.isspace())


def _list_then_more(path: str, start: int) -> bool:
    with open_bytes(path) as stream:
        full = _full_lines(stream, start)
        try:
            first = next(full)
            row = None if first is None else parse(first.decode())
            # A list of objects is an array of rows, and what follows it a mistake.
            if not isinstance(row, list) or any(isinstance(one, dict) for one in row):
                return False
            return next(full, b"") != b""
        except (UnicodeDecodeError, EOFError, StopIteration):
            return False
