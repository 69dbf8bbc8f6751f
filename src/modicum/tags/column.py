"""Tags that the rows bring with them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from modicum.ledger import Ledger


@dataclass(frozen=True)
class Column:
    """The tags of a column (`--fields tags=COLUMN`), looked up by instruction."""

    found: Mapping[str, tuple[str, ...]] = field(default_factory=dict, repr=False)

    name: ClassVar[str] = "column"

    @staticmethod
    def of(pairs: Iterable[tuple[str, tuple[str, ...] | None]]) -> Column:
        """From the instruction and the tags of each row: rows of one instruction add theirs up."""
        found: dict[str, dict[str, str]] = {}
        for instruction, tags in pairs:
            known = found.setdefault(instruction, {})
            for tag in tags or ():
                known.setdefault(tag.casefold(), tag)
        return Column({text: tuple(known.values()) for text, known in found.items()})

    def __call__(self, instructions: Sequence[str], ledger: Ledger) -> list[tuple[str, ...]]:
        return [self.found.get(text, ()) for text in instructions]
