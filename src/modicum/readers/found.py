"""A row as it lies in its file: where it is, and its value or what kept it from being read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from modicum.visible import visible

_LONGEST = 60  # characters of a name in a message


class Fault(NamedTuple):
    """Why a row cannot be used: a reason to count by, and what exactly is wrong."""

    reason: str
    detail: str = ""


class Found(NamedTuple):
    """One row of an input, before its format is known."""

    row: int  # as messages name it: line of a .jsonl, otherwise 1 for the first row
    start: int  # decompressed bytes of a text format; row index of a columnar one
    end: int
    value: object  # a mapping from column to value where the row is one; a Fault if unreadable


def some(names: Iterable[str], most: int = 20) -> str:
    """Names for a message: the first ones, and how many more there are."""
    listed = [" ".join(visible(name).split("\n"))[:_LONGEST] for name in names]
    more = f" and {len(listed) - most:,} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + more


def ends_early(row: int, complete: int) -> Found:
    """The row that a cut file lost; the `complete` rows before it stay."""
    return Found(row, 0, 0, Fault("file ends early", f"{complete} complete rows were read"))
