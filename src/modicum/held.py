"""A folder or file that one process at a time works on."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from modicum.cache import cache_folder
from modicum.errors import RunError


def in_use(path: Path) -> bool:
    """Whether a process has this place, as far as this machine can say; nothing is written."""
    from filelock import FileLock, Timeout

    lock = FileLock(_lock_of(path), timeout=0)
    if not Path(lock.lock_file).exists():
        return False
    try:
        with lock:
            return False
    except Timeout:
        return True
    except (OSError, NotImplementedError):
        return False


@contextmanager
def held(path: Path, else_say: str = "choose another -o") -> Iterator[None]:
    """Keep a place to this process; `RunError` at once if another has it.

    The lock lies in the cache folder and goes with the process, however it dies. Two machines see
    each other only where they share that folder.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(_lock_of(path), timeout=0)
    try:
        Path(lock.lock_file).parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        raise RunError(
            f"another process is working on {path}; wait for it, or {else_say}"
        ) from error
    except (OSError, NotImplementedError) as error:  # a cache that is read only, or knows no locks
        warnings.warn(f"no lock can be had in {cache_folder()}: {error}", stacklevel=3)
    try:
        yield
    finally:
        lock.release()


def _lock_of(path: Path) -> Path:
    name = hashlib.blake2b(str(path.resolve()).encode(), digest_size=16).hexdigest()
    return cache_folder() / "locks" / name
