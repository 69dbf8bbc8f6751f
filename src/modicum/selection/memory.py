"""How much memory selectors may take: read, said, and shared out before anything is taken.

The module of every selector that holds vectors has a function `needs(rows, width, …, memory=)`:
the bytes that the selector takes at most beside the vectors it is given, if it may take `memory`
bytes. It works in smaller blocks where that is little, picks the same rows, and is refused where
even the smallest blocks do not fit. None: as much as is of use.
"""

from __future__ import annotations

import math
import re
from typing import NamedTuple

from modicum.errors import OptionError

_WRITTEN = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,9})?) ?(?:([KMGT])(i?B)?|B)?", re.IGNORECASE)
_POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}
_FORMS = "write 4GiB, 512MB, 2G or plain bytes"
_ORDER = 200  # bytes a row: a few sorted columns, and lists of Python's numbers


class Need(NamedTuple):
    """What a selector will take at most beside its vectors, and what those take, in bytes."""

    selector: str
    beside: int
    vectors: int

    def to_json(self) -> dict[str, str | int]:
        """As a plan has it."""
        return {"selector": self.selector, "bytes": self.beside, "vectors_bytes": self.vectors}


def parse(text: str | int) -> int:
    """Bytes, of `4GiB`, `512MB`, `2G` (GiB) or a plain number; an `OptionError` otherwise."""
    found = None if isinstance(text, bool) else _WRITTEN.fullmatch(str(text).strip())
    if found is None:
        raise OptionError(f"memory {text!r} cannot be read; {_FORMS}")
    prefix, ending = (found[2] or "").upper(), (found[3] or "").upper()
    size = int(float(found[1]) * (1000 if ending == "B" else 1024) ** _POWERS[prefix])
    if size < 1:
        raise OptionError(f"memory {text!r} is nothing to work in; {_FORMS}")
    return size


def shown(size: int) -> str:
    """Bytes for people: `640 B`, `3.5 KiB`, `12 MiB`."""
    power = min(4, int(math.log2(max(1, size))) // 10)
    amount = size / 1024**power
    return f"{amount:.4g} {('B', 'KiB', 'MiB', 'GiB', 'TiB')[power]}"


def spare(selector: str, fixed: int, least: int, memory: int | None, out: str) -> float:
    """What a selector may take beyond its `fixed` bytes, at least `least`; infinity for None.

    If memory holds less than that, an `OptionError` names the selector, what it needs, the limit
    and, as `out`, a way to need less.
    """
    if memory is None:
        return math.inf
    if fixed + least > memory:
        raise OptionError(
            f"{selector} needs {shown(fixed + least)} beside the vectors and may take "
            f"{shown(memory)}; give more --memory, or {out}"
        )
    return float(memory - fixed)


def needs(rows: int) -> int:
    """Bytes at most of a selector that holds no vectors: an order of so many rows."""
    return _ORDER * rows + 4096
