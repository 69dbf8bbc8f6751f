"""Where Modicum keeps what it can make again: converted models and measurements."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4


def cache_folder() -> Path:
    """`$MODICUM_CACHE`, or `modicum` in the user's cache folder."""
    if chosen := os.environ.get("MODICUM_CACHE"):
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base).expanduser() / "modicum"


def write_durably(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file whole or not at all: beside its place, flushed to the disk, then renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{uuid4().hex[:8]}.part")
    try:
        write(beside)
        with beside.open("rb") as written:
            os.fsync(written.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def file_hash(path: Path) -> str:
    """blake2b of a file's bytes, remembered for as long as its size and time stay the same."""
    real = path.resolve()
    seen = real.stat()
    key = hashlib.blake2b(
        f"{real}\0{seen.st_size}\0{seen.st_mtime_ns}".encode(), digest_size=16
    ).hexdigest()
    remembered = cache_folder() / "hashes" / key
    if remembered.exists():
        return remembered.read_text().strip()
    with real.open("rb") as data:
        made = hashlib.file_digest(data, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    write_durably(remembered, lambda beside: beside.write_text(made + "\n"))
    return made
