"""What a model replied when it was asked for tags: read strictly, kept line by line."""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
from pathlib import Path
from typing import Any, NamedTuple

from modicum.readers.inputs import valid

_OPENING = re.compile(r"[\[{]")
_LIKE_JSON = re.compile(r"[\[{]\s*[\[{\"]")


class Reply(NamedTuple):
    """One reply, as it is kept: a line of JSON."""

    key: str  # `key_of` the instruction
    text: str | None  # None: the endpoint refused this instruction
    tokens: int
    fault: str  # why it is of no use although it came; "" for none

    @property
    def tags(self) -> tuple[str, ...] | None:
        """Its tags; None where it cannot be read."""
        return None if self.fault or self.text is None else tags_in(self.text)

    @property
    def why(self) -> str:
        """What is wrong with a reply without tags."""
        return self.fault or f"no JSON list of tags in the reply {(self.text or '')[:60]!r}"


def key_of(instruction: str) -> str:
    """A hash of an instruction."""
    return hashlib.blake2b(instruction.encode(), digest_size=16).hexdigest()


def tags_in(reply: str) -> tuple[str, ...] | None:
    """The tags of a reply: a JSON list of objects with a text `tag`, or of texts.

    The list may stand in a fence, among words, or after `</think>`. None for anything else: no
    such list, two that differ, an item without a tag, or JSON that breaks off. An empty list is a
    reply without tags. Repeats are dropped, upper and lower case being the same, and half a
    surrogate pair becomes U+FFFD.
    """
    lists = _lists(reply.rpartition("</think>")[2])
    if not lists or any(other != lists[0] for other in lists):
        return None
    tags: dict[str, str] = {}
    for item in lists[0]:
        tag = item.get("tag") if isinstance(item, dict) else item
        if not isinstance(tag, str) or not tag.strip():
            return None
        name = valid(tag.strip())
        tags.setdefault(name.casefold(), name)
    return tuple(tags.values())


def _lists(text: str) -> list[list[Any]]:
    """The outermost JSON lists in a text, but for lists of whole numbers, which are references.

    There are none if something begins like JSON and breaks off: no part of it can be trusted.
    """
    decoder, found, place = json.JSONDecoder(), list[list[Any]](), 0
    while opening := _OPENING.search(text, place):
        place = opening.start()
        try:
            value, place = decoder.raw_decode(text, place)
        except (ValueError, RecursionError):
            if _LIKE_JSON.match(text, place):
                return []
            place += 1
            continue
        if isinstance(value, list) and not (value and all(type(v) is int for v in value)):
            found.append(value)
    return found


class Replies:
    """A file of replies, one a line, each on the disk before the next is waited for.

    A line that a broken run left half written is passed over; of two with one key the later holds.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()

    def read(self) -> dict[str, Reply]:
        """What has been kept, by key."""
        if not self._path.exists():
            return {}
        lines = self._path.read_bytes().split(b"\n")
        return {reply.key: reply for line in lines if (reply := _read(line)) is not None}

    def keep(self, reply: Reply) -> None:
        """Append a reply durably. Several threads may."""
        line = json.dumps(reply._asdict()).encode() + b"\n"
        with self._lock:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("ab+", buffering=0) as file:
                if end := file.seek(0, os.SEEK_END):
                    file.seek(end - 1)
                    if file.read(1) != b"\n":
                        line = b"\n" + line  # after a half line, which then stands alone
                file.write(line)
                os.fsync(file.fileno())


def _read(line: bytes) -> Reply | None:
    try:
        return Reply(**json.loads(line))
    except (ValueError, TypeError):
        return None
