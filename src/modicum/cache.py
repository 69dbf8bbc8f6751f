"""Where Modicum keeps what it can make again: converted models and measurements."""

from __future__ import annotations

import hashlib
import os
import re
from contextlib import suppress
from pathlib import Path

from modicum import durable

_HASH = re.compile(rb"[0-9a-f]{32}\n")


def cache_folder() -> Path:
    """`$MODICUM_CACHE`, or `modicum` in the user's cache folder."""
    if chosen := os.environ.get("MODICUM_CACHE"):
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base).expanduser() / "modicum"


def hash_of(path: Path) -> str:
    """blake2b of a file's bytes."""
    with path.open("rb") as data:
        return hashlib.file_digest(data, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def file_hash(path: Path) -> str:
    """blake2b of a file's bytes, remembered for as long as its size and time stay the same."""
    real = path.resolve()
    seen = real.stat()
    key = hashlib.blake2b(
        f"{real}\0{seen.st_size}\0{seen.st_mtime_ns}".encode(), digest_size=16
    ).hexdigest()
    remembered = cache_folder() / "hashes" / key
    if remembered.exists() and _HASH.fullmatch(found := remembered.read_bytes()):
        return found.decode().strip()
    made = hash_of(real)
    with suppress(OSError):  # it was to save time
        durable.write_text(remembered, made + "\n")
    return made
