"""Lines of bytes with their number and place, in bounded memory, and rows from JSON lines."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from modicum.readers.found import Fault, Found, ends_early
from modicum.readers.streams import skip

LINE_LIMIT = 16 << 20  # bytes; a longer line is never held in memory
_CHUNK = 1 << 18
_SPACE = re.compile(r"[ \t\n\r]*")


class Line(NamedTuple):
    """One line with its terminator. Of one longer than LINE_LIMIT `data` is a bare line break if
    it is blank, and None otherwise.
    """

    number: int
    start: int
    end: int
    data: bytes | None


def lines(stream: BinaryIO, start: int = 0) -> Iterator[Line]:
    r"""Every line of a stream from byte `start` on, ended by "\n" alone (U+2028 is text)."""
    skip(stream, start)
    number = 1
    while data := stream.readline(LINE_LIMIT + 1):
        size, long = len(data), len(data) > LINE_LIMIT and not data.endswith(b"\n")
        blank = data.isspace()
        while long and (more := stream.readline(_CHUNK)):
            size, blank = size + len(more), blank and more.isspace()
            if more.endswith(b"\n"):
                break
        kept = data if not long else b"\n" if blank else None
        yield Line(number, start, start + size, kept)
        number, start = number + 1, start + size


def json_lines(stream: BinaryIO, start: int = 0) -> Iterator[Found]:
    """One row a line; several objects on one line are several rows, each with its own bytes.

    Blank lines are passed over. Of a key given twice the last value counts, as in Python's json.
    """
    number = complete = 0
    try:
        for line in lines(stream, start):
            number = line.number
            for found in _rows_of(line):
                complete += not isinstance(found.value, Fault)
                yield found
    except EOFError:
        yield ends_early(number + 1, complete)


def _rows_of(line: Line) -> list[Found]:
    if line.data is not None and line.data.isspace():
        return []
    try:
        text = _text(line.data)
    except UnicodeDecodeError as error:
        bad = Fault(
            "not UTF-8", f"byte 0x{error.object[error.start]:02x} at byte {error.start + 1}"
        )
        return [Found(line.number, line.start, line.end, bad)]
    if isinstance(text, Fault):
        return [Found(line.number, line.start, line.end, text)]
    value = parse(text)
    if isinstance(value, Fault) and (several := _objects(text, line)):
        return several
    return [Found(line.number, line.start, line.end, value)]


def _text(data: bytes | None) -> str | Fault:
    if data is None:
        return Fault("line too long", f"more than {LINE_LIMIT >> 20} MiB")
    if b"\0" in data:
        return Fault("NUL bytes", f"the first at byte {data.index(0) + 1}")
    return data.decode()


def parse(text: str) -> object:
    """The JSON value that a text holds, or the Fault that says why it holds none."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        return Fault("not JSON", f"column {error.colno}: {error.msg}")
    except RecursionError:
        return Fault("nested too deep")
    except ValueError as error:  # a whole number of more digits than Python reads
        return Fault("not JSON", str(error))


def _objects(text: str, line: Line) -> list[Found]:
    """The objects of a line that holds nothing else; none if anything in it is not an object."""
    decode = json.JSONDecoder().raw_decode
    found: list[Found] = []
    at, byte = 0, line.start
    while (begin := _space_end(text, at)) < len(text):
        try:
            value, end = decode(text, begin)
        except (ValueError, RecursionError):
            return []
        if not isinstance(value, dict):
            return []
        start = byte + len(text[at:begin].encode())
        byte = start + len(text[begin:end].encode())
        found.append(Found(line.number, start, byte, value))
        at = end
    return found


def _space_end(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at
