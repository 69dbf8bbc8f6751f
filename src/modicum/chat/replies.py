"""What a model replied, kept line by line."""

from __future__ import annotations

import hashlib
import json
import threading
from pathlib import Path
from typing import NamedTuple

from modicum import durable
from modicum.cache import cache_folder
from modicum.chat.access import Access


class Reply(NamedTuple):
    """One reply, as it is kept: a line of JSON."""

    key: str  # a hash of what was asked about
    text: str | None  # None: the endpoint refused to answer this
    tokens: int
    fault: str  # what is wrong with it whatever it says: refused, broken, cut; "" for nothing
    chances: dict[str, float] | None = None  # of its likeliest beginnings


def hashed(text: str) -> str:
    """A hash of a text, as keys and file names use it."""
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


class Replies:
    """A file of replies, one a line, each on the disk before the next is waited for.

    A line that a broken run left half written is passed over; of two with one key the later holds.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()

    @classmethod
    def of(cls, access: Access, prompt: str) -> Replies:
        """Where the cache keeps them: another file for everything that can change a reply."""
        told = [access.url.rstrip("/"), access.model, prompt, access.max_tokens]
        asked = json.dumps([*told, access.top] if access.top else told)
        return cls(cache_folder() / access.role.folder / f"{hashed(asked)}.jsonl")

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
            durable.append(self._path, line)


def _read(line: bytes) -> Reply | None:
    try:
        return Reply(**json.loads(line))
    except (ValueError, TypeError):
        return None
