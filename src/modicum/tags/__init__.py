"""Tags: an instruction as a few words.

A tagger is called with instructions and a ledger and returns one tuple of tags for each, in order,
an empty one where it found none. The tags of an instruction do not depend on the others; no tag is
blank, and none stands twice in a tuple, upper and lower case being the same.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import Field, dataclass, fields, is_dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

from modicum.errors import AlignmentError, InputError, OptionError
from modicum.ledger import Ledger
from modicum.readers.inputs import valid

_SHOWN = 60  # characters of an instruction that reports give
_LISTED = 20  # unparsed replies that a manifest names
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")  # in what Python shows of an object


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


def about(tagger: Tagger) -> dict[str, Any]:
    """What a tagger says of itself, as JSON holds it: its name as `tagger`, and its `options`.

    The options are its `options`, if it has a mapping of that name, or else the fields that a
    dataclass shows. A value that JSON does not have becomes text, without its address in memory:
    two processes say the same.
    """
    options = getattr(tagger, "options", None)
    if not isinstance(options, Mapping):
        known: tuple[Field[Any], ...] = fields(tagger) if is_dataclass(tagger) else ()
        shown = [field.name for field in known if field.repr]  # the rest is data
        options = {name: getattr(tagger, name) for name in shown}
    return {
        "tagger": tagger.name,
        "options": {str(name): _plain(value) for name, value in options.items()},
    }


def _plain(value: Any) -> Any:
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError):
        return _ADDRESS.sub("", str(value))


def tagged(tagger: Tagger, instructions: Sequence[str], ledger: Ledger) -> Tagging:
    """Instructions tagged by a tagger; `tagging` says what is refused."""
    tags = tagger(instructions, ledger)
    unparsed = tagger.unparsed(instructions) if isinstance(tagger, Answering) else {}
    return tagging(tagger.name, about(tagger)["options"], instructions, tags, unparsed)


def tagging(
    tagger: str,
    options: Mapping[str, Any],
    instructions: Sequence[str],
    tags: Sequence[tuple[str, ...]],
    unparsed: Mapping[str, str] | None = None,
) -> Tagging:
    """Tags that came from anywhere (a column, too), with their figures.

    Raises `InputError` if there are no instructions, or more than half of them have no tag:
    InsInfo would then be 0 nearly everywhere and choose nothing. Raises `OptionError` for tags that
    are not what the room promises.
    """
    if len(tags) != len(instructions):
        raise AlignmentError(f"{tagger} gave {len(tags)} tags for {len(instructions)} instructions")
    if not instructions:
        raise InputError(f"there are no instructions for {tagger} to tag")
    for text, found in zip(instructions, tags, strict=True):
        if not _kept_promise(found):
            raise OptionError(
                f"{tagger} gave {repr(found)[:_SHOWN]} for {text[:_SHOWN]!r}; a tagger gives each "
                "instruction a tuple of texts, none blank, and none twice in upper or lower case"
            )
    without = [text for text, found in zip(instructions, tags, strict=True) if not found]
    if 2 * len(without) > len(instructions):
        raise InputError(_too_few(tagger, without, len(instructions), unparsed or {}))
    uses = Counter(tag for found in tags for tag in found)
    return Tagging(
        tags=list(tags),
        tagger=tagger,
        options=dict(options),
        per_instruction=sum(map(len, tags)) / len(tags),
        distinct=len(uses),
        used_once=sum(count == 1 for count in uses.values()) / len(uses),
        untagged=len(without),
        unparsed=[Unparsed(text[:_SHOWN], why) for text, why in (unparsed or {}).items()],
    )


def _kept_promise(found: object) -> bool:
    return (
        isinstance(found, tuple)
        and all(isinstance(tag, str) and tag.strip() and tag == valid(tag) for tag in found)
        and len({tag.casefold() for tag in found}) == len(found)
    )


def _too_few(tagger: str, without: list[str], total: int, unparsed: Mapping[str, str]) -> str:
    first = without[0]
    why = f", {unparsed[first]}" if first in unparsed else ""
    return (
        f"{len(without)} of {total} instructions got no tag from {tagger} "
        f"(the first: {first[:_SHOWN]!r}{why}); take tags from a column with --fields tags=COLUMN, "
        "from a model with --tagger URL --tagger-model NAME, or set another language"
    )
