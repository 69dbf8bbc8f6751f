"""What is wrong with a folder that Modicum wrote: a run, a tuned model, or a store."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from modicum.cache import hash_of
from modicum.durable import half_written
from modicum.errors import RunError
from modicum.runs import whole_object
from modicum.store import Store

_AGAIN = "run its line again: it goes on where it stopped"
_ANEW = "remove the folder and run its line again"


class Finding(NamedTuple):
    """One thing that is not as it was left, and what to do about it."""

    damaged: bool  # False: worth knowing, and no fault of the folder
    where: str
    what: str
    way_out: str


class Looked(NamedTuple):
    """What a folder is, how many files were read to their end, and what was found."""

    kind: str
    files: int
    found: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        return not any(one.damaged for one in self.found)


def look(folder: Path) -> Looked:
    """Read every file of a folder that has a hash, and say what is not as it was written.

    Nothing is written and nothing removed. A folder that is neither a run nor a tuned model nor a
    store (nor a cache folder, which holds one) raises `RunError`.
    """
    if not folder.is_dir():
        raise RunError(f"{folder} is no folder; give a run, a tuned model, a store or a cache")
    store = folder / "measured" if (folder / "measured").is_dir() else folder
    kinds: dict[str, tuple[bool, Callable[[], Looked]]] = {
        "run": ((folder / "command.json").exists(), lambda: _written(folder, "run")),
        "model": ((folder / "training.json").exists(), lambda: _written(folder, "model")),
        "store": (any(store.glob("*/*/*.safetensors")), lambda: _store(store)),
    }
    for is_one, looked in kinds.values():
        if is_one:
            return looked()
    raise RunError(f"{folder} is no run, no tuned model and no store: nothing here has a record")


def _written(folder: Path, kind: str) -> Looked:
    record = folder / ("manifest.json" if kind == "run" else "training.json")
    left = tuple(_leftovers(folder))
    if not record.exists():
        said = Finding(False, str(folder), "the run is not finished", _AGAIN)
        return Looked(kind, 0, (said, *left))
    if (told := whole_object(record)) is None:
        return Looked(kind, 0, (Finding(True, str(record), "cannot be read", _ANEW), *left))
    files = told.get("files") or {}
    if not (isinstance(files, dict) and all(isinstance(made, str) for made in files.values())):
        return Looked(
            kind, 0, (Finding(True, str(record), "its `files` are no hashes", _ANEW), *left)
        )
    found = [*_files(folder, files), *_inputs(told), *left]
    if not files:
        older = "holds no hashes, for an older version wrote it: its files were not compared"
        found.append(Finding(False, str(record), older, "run its line in another folder to know"))
    return Looked(kind, len(files), tuple(found))


def _files(folder: Path, files: Mapping[str, str]) -> Iterator[Finding]:
    for name, made in files.items():
        path = folder / name
        if not path.is_file():
            yield Finding(True, str(path), "missing", f"put it back, or {_ANEW}")
        elif hash_of(path) != made:
            yield Finding(True, str(path), "not as it was written", f"put it back, or {_ANEW}")


def _inputs(record: Mapping[str, Any]) -> Iterator[Finding]:
    """Pools that are other files now: the run is whole, and its line would refuse them."""
    given = record.get("inputs")
    for one in given if isinstance(given, list) else ():
        if not isinstance(one, dict):
            continue
        path = Path(str(one.get("path")))
        if path.is_file() and hash_of(path) != one.get("blake2b"):
            way_out = "the run is of the file as it was; for the new one choose another -o"
            yield Finding(False, str(path), "changed since it was read", way_out)


def _leftovers(folder: Path) -> Iterator[Finding]:
    for path in sorted(folder.rglob("*")):
        if half_written(path):
            what = "half written when a run was stopped"
            yield Finding(False, str(path), what, "harmless; the run clears it when it goes on")


def _store(folder: Path) -> Looked:
    whole, damaged = Store(folder).checked()
    way_out = "remove it; its rows are measured again"
    found = [
        Finding(True, path, "damaged, or written for another block", way_out) for path in damaged
    ]
    return Looked("store", whole + len(damaged), tuple(found))
