"""How files come to lie on the disk and leave it: whole or not at all, whenever the process dies.

Everything is written beside its place, flushed, renamed, and then its folder is flushed too: of two
files written one after the other, no loss of power keeps the later and loses the earlier. All other
modules write and remove through this one.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Literal
from uuid import uuid4

from modicum.errors import InputError

# What a file system says that flushes no folders, and a folder that may be written, not listed.
_NO_FOLDERS = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EBADF, errno.EACCES, errno.EPERM)

Moment = Literal["begin", "written", "flushed", "in place", "kept", "removed"]


def step(moment: Moment, path: Path) -> None:
    """Does nothing: every write and removal passes here, so that tests can let it die there."""


def write(path: Path, put: Callable[[Path], object]) -> None:
    """Write one file, over an older one if there is one: `put` gets the path to write to."""
    with _beside(path) as beside:
        put(beside)
        _settle(beside, path)


def write_text(path: Path, text: str) -> None:
    """Write one file of UTF-8 text; lines end as they are given."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Write one file of these bytes."""
    write(path, lambda beside: beside.write_bytes(data))


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write bytes to, which appears when all is written; `InputError` if one exists."""
    if path.exists():
        raise InputError(f"{path} already exists; write to a new file or folder")
    with _beside(path) as beside:
        with beside.open("wb") as file:
            yield file
        _settle(beside, path)


def new_folder(path: Path, fill: Callable[[Path], object]) -> None:
    """A folder with all that `fill` puts into it; if another process was faster, its folder."""
    with _beside(path) as beside:
        beside.mkdir()
        fill(beside)
        step("written", path)
        flush_all(beside)
        step("flushed", path)
        try:
            beside.rename(path)
        except OSError:
            if not path.is_dir():
                raise
        _flush(path.parent)
        step("kept", path)


def move_files(aside: Path, into: Path) -> None:
    """Every file below one folder into the other, over older ones; the first folder is removed."""
    flush_all(aside)
    step("flushed", into)
    for path in sorted(aside.rglob("*")):
        if path.is_file():
            target = into / path.relative_to(aside)
            target.parent.mkdir(exist_ok=True)
            path.replace(target)
            step("in place", target)
    flush_folders(into)
    step("kept", into)
    remove(aside)


def move(path: Path, to: Path) -> None:
    """Give a file or folder another name; there is nothing under that name yet."""
    if path.is_dir():
        flush_all(path)
    step("begin", to)
    path.rename(to)
    _flush(to.parent)
    step("kept", to)


def append(path: Path, line: bytes) -> None:
    """Append a line, after the end of one that was left half written."""
    _make(path.parent)
    new = not path.exists()
    with path.open("ab+", buffering=0) as file:
        if end := file.seek(0, os.SEEK_END):
            file.seek(end - 1)
            if file.read(1) != b"\n":
                line = b"\n" + line
        step("begin", path)
        if file.write(line) < len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        step("written", path)
        os.fsync(file.fileno())
    if new:
        _flush(path.parent)
    step("kept", path)


def remove(path: Path) -> None:
    """Remove a file or a folder if it is there, as far as the system lets us."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(FileNotFoundError):
            path.unlink()
    step("removed", path)


def half_written(path: Path) -> bool:
    """Whether a file or folder is what a killed write left beside its place."""
    return path.name.startswith(".") and path.name.endswith(".part")


def clear_half_written(folder: Path) -> None:
    """Remove the files that killed writes left in a folder and below; nobody else writes there."""
    for path in [path for path in folder.rglob(".*.part") if path.is_file()]:
        remove(path)


def flush_all(folder: Path) -> None:
    """Flush every file and folder below, and the folder."""
    for path in folder.rglob("*"):
        if path.is_file():
            _flush(path)
    flush_folders(folder)


def flush_folders(folder: Path) -> None:
    """Flush a folder and the folders below: which names they hold."""
    for path in (*folder.rglob("*"), folder):
        if path.is_dir():
            _flush(path)


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """A name beside a path, with nothing left of it in the end, unless the process dies."""
    _make(path.parent)
    beside = path.with_name(f".{path.name}.{uuid4().hex[:8]}.part")
    step("begin", path)
    try:
        yield beside
    finally:
        remove(beside)


def _settle(beside: Path, path: Path) -> None:
    step("written", path)
    _flush(beside)
    step("flushed", path)
    beside.replace(path)
    step("in place", path)
    _flush(path.parent)
    step("kept", path)


def _make(folder: Path) -> None:
    """A folder and those it lies in, each new one flushed where it lies."""
    if folder.is_dir():
        return
    _make(folder.parent)
    folder.mkdir(exist_ok=True)
    _flush(folder.parent)


def _flush(path: Path) -> None:
    folder = path.is_dir()
    if folder and os.name == "nt":
        return  # Windows opens no folders
    try:
        opened = os.open(path, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)
    except OSError as error:
        if not folder or error.errno not in _NO_FOLDERS:
            raise
