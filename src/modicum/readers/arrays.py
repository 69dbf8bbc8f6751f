"""Rows from one JSON array, element by element, each with the bytes it was written in."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from typing import BinaryIO, NoReturn

from modicum.errors import InputError
from modicum.readers.found import Fault, Found
from modicum.readers.lines import LINE_LIMIT
from modicum.readers.streams import skip

_CHUNK = 1 << 18
_SPACE = re.compile(r"[ \t\n\r]*")
_decode = json.JSONDecoder().raw_decode


def array_rows(stream: BinaryIO, path: str, start: int = 0) -> Iterator[Found]:
    """The elements of a top-level array. What does not parse is refused with line and column.

    An element is held whole, so one longer than LINE_LIMIT is refused too.
    """
    skip(stream, start)
    text = _Window(stream, path, start)
    text.expect("[")
    row = 0
    more = text.peek() != "]"
    while more:
        row += 1
        yield text.element(row)
        if text.peek() not in (",", "]"):
            text.refuse("expected ',' or ']'")
        more = text.peek() == ","
        if more:
            text.expect(",")
    text.expect("]")
    if text.peek():
        text.refuse("more text after the array")


class _Window:
    """The part of a text that is being parsed, and where in the file it begins."""

    def __init__(self, stream: BinaryIO, path: str, byte: int) -> None:
        self._stream, self._path = stream, path
        # Bytes that are not UTF-8 become lone surrogates, so that only their row is refused.
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self._text, self._at, self._ended = "", 0, False
        self._byte = byte  # of self._at
        self._line, self._column = 1, 1  # of the beginning of self._text

    def peek(self) -> str:
        """The next character that is not space, or nothing at the end of the text."""
        while True:
            match = _SPACE.match(self._text, self._at)
            end = match.end() if match else self._at
            self._byte += end - self._at  # JSON's space is one byte a character
            self._at = end
            if end < len(self._text) or not self._grow():
                return self._text[self._at : self._at + 1]

    def expect(self, character: str) -> None:
        """Pass over one character."""
        if self.peek() != character:
            self.refuse(f"expected {character!r}")
        self._at, self._byte = self._at + 1, self._byte + 1

    def element(self, row: int) -> Found:
        """Parse the value at this place, reading on while it may be unfinished."""
        self.peek()
        while True:
            problem, size = "", 0  # size: characters from here to the end of the value or the fault
            try:
                value, end = _decode(self._text, self._at)
                size = end - self._at
            except json.JSONDecodeError as error:
                problem, size = error.msg, error.pos - self._at
            except (RecursionError, ValueError) as error:
                problem = "nested too deep" if isinstance(error, RecursionError) else str(error)
            # A number at the end of the window may go on in the next one.
            after = self._text[self._at + size : self._at + size + 1]
            if not problem and after and after in ",] \t\r\n":
                break
            if len(self._text) - self._at > LINE_LIMIT or not self._grow():
                break
        if problem:
            self.refuse(problem, self._at + size)
        start, raw = self._byte, self._slice(size).encode("utf-8", "surrogateescape")
        self._at, self._byte = self._at + size, start + len(raw)
        return Found(row, start, self._byte, _utf8_fault(raw) or value)

    def _slice(self, size: int) -> str:
        return self._text[self._at : self._at + size]

    def refuse(self, problem: str, place: int | None = None) -> NoReturn:
        """Say where the text stops being a JSON array."""
        before = self._text[: self._at if place is None else place]
        breaks = before.count("\n")
        column = len(before) - before.rfind("\n") if breaks else self._column + len(before)
        raise InputError(
            f"{self._path} is not a JSON array: line {self._line + breaks}, column {column}: "
            f"{problem}; nothing was read from it"
        )

    def _grow(self) -> bool:
        """Forget what is parsed and read as much again as is left; False at the end."""
        if self._ended:
            return False
        gone, left = self._text[: self._at], self._text[self._at :]
        if breaks := gone.count("\n"):
            self._line, self._column = self._line + breaks, len(gone) - gone.rfind("\n")
        else:
            self._column += len(gone)
        try:
            data = self._stream.read(max(_CHUNK, len(left)))
        except EOFError as error:
            raise InputError(f"{self._path} ends early: its compressed data is cut off") from error
        self._ended = not data
        self._text, self._at = left + self._decoder.decode(data, final=not data), 0
        return not self._ended or len(self._text) > len(left)


def _utf8_fault(raw: bytes) -> Fault | None:
    try:
        raw.decode()
    except UnicodeDecodeError as error:
        return Fault("not UTF-8", f"byte 0x{raw[error.start]:02x} at byte {error.start + 1}")
    return None
