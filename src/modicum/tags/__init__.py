"""Tags: an instruction as a few words.

A tagger is called with instructions and a ledger and returns one tuple of tags for each, in order,
an empty one where it found none. The tags of an instruction do not depend on the others; no tag is
blank, and none stands twice in a tuple, upper and lower case being the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

from modicum.errors import AlignmentError, InputError
from modicum.ledger import Ledger

_SHOWN = 60  # characters of an instruction that reports give
_LISTED = 20  # unparsed replies that a manifest names


class Tagger(Protocol):
    """What every member of the room offers."""

    @property
    def name(self) -> str: ...

    def __call__(self, instructions: Sequence[str], ledger: Ledger) -> list[tuple[str, ...]]:
        """The tags of each instruction, in order; an empty tuple for none."""
        ...


@runtime_checkable
class Answering(Protocol):
    """What a tagger offers besides if it reads the replies of a model."""

    def unparsed(self, instructions: Sequence[str]) -> Mapping[str, str]:
        """Why, for each of these instructions whose reply held no tags that could be read."""
        ...


class Unparsed(NamedTuple):
    """An instruction, its first 60 characters, and what was wrong with its reply."""

    instruction: str
    why: str


@dataclass(frozen=True)
class Tagging:
    """The tags of some instructions, and what a reader should know of them."""

    tags: list[tuple[str, ...]]
    tagger: str
    options: dict[str, Any]
    per_instruction: float  # the mean
    distinct: int
    used_once: float  # share of the distinct tags that only one instruction has
    untagged: int
    unparsed: list[Unparsed]

    def to_json(self) -> dict[str, Any]:
        """Everything but the tags, and the first of the unparsed replies only."""
        return {
            "tagger": self.tagger,
            "options": self.options,
            "instructions": len(self.tags),
            "per_instruction": round(self.per_instruction, 4),
            "distinct": self.distinct,
            "used_once": round(self.used_once, 4),
            "untagged": self.untagged,
            "unparsed": len(self.unparsed),
            "unparsed_first": [each._asdict() for each in self.unparsed[:_LISTED]],
        }


def tagged(tagger: Tagger, instructions: Sequence[str], ledger: Ledger) -> Tagging:
    """Instructions tagged by a tagger; `tagging` says what is refused."""
    tags = tagger(instructions, ledger)
    options = dict[str, Any]()
    if is_dataclass(tagger) and not isinstance(tagger, type):
        shown = [field.name for field in fields(tagger) if field.repr]  # the rest is data
        options = {name: getattr(tagger, name) for name in shown}
    unparsed = tagger.unparsed(instructions) if isinstance(tagger, Answering) else {}
    return tagging(tagger.name, options, instructions, tags, unparsed)


def tagging(
    tagger: str,
    options: Mapping[str, Any],
    instructions: Sequence[str],
    tags: Sequence[tuple[str, ...]],
    unparsed: Mapping[str, str] | None = None,
) -> Tagging:
    """Tags that came from anywhere (a column, too), with their figures.

    Raises `InputError` if there are no instructions, or more than half of them have no tag:
    InsInfo would then be 0 nearly everywhere and choose nothing.
    """
    if len(tags) != len(instructions):
        raise AlignmentError(f"{tagger} gave {len(tags)} tags for {len(instructions)} instructions")
    if not instructions:
        raise InputError(f"there are no instructions for {tagger} to tag")
    without = [text for text, found in zip(instructions, tags, strict=True) if not found]
    if 2 * len(without) > len(instructions):
        raise InputError(_too_few(tagger, without, len(instructions), unparsed or {}))
    uses = Counter(tag for found in tags for tag in set(found))
    return Tagging(
        tags=list(tags),
        tagger=tagger,
        options=dict(options),
        per_instruction=sum(len(set(found)) for found in tags) / len(tags),
        distinct=len(uses),
        used_once=sum(count == 1 for count in uses.values()) / len(uses),
        untagged=len(without),
        unparsed=[Unparsed(text[:_SHOWN], why) for text, why in (unparsed or {}).items()],
    )


def _too_few(tagger: str, without: list[str], total: int, unparsed: Mapping[str, str]) -> str:
    first = without[0]
    why = f", {unparsed[first]}" if first in unparsed else ""
    return (
        f"{len(without)} of {total} instructions got no tag from {tagger} "
        f"(the first: {first[:_SHOWN]!r}{why}); take tags from a column with --fields tags=COLUMN, "
        "from a model with --tagger URL --tagger-model NAME, or set another language"
    )
