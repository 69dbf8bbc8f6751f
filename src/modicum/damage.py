"""What is wrong with a folder that Modicum wrote: a run, a tuned model, or a store."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from modicum.cache import cache_folder, hash_of
from modicum.durable import half_written
from modicum.errors import RunError
from modicum.held import in_use
from modicum.readers.sources import HUB
from modicum.runs import whole_object, written_files
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
    if (folder / "command.json").exists() or (folder / "manifest.json").exists():
        return _written(folder, "run")
    if (folder / "training.json").exists():
        return _written(folder, "model")
    store = folder / "measured" if (folder / "measured").is_dir() else folder
    if any(Store(store).shards()) or folder.resolve() == cache_folder().resolve():
        return _store(store)
    raise RunError(
        f"{folder} is no run, no tuned model and no store: nothing here has a record; give the "
        "folder of a command (-o), of a model that `modicum train` left, or a cache"
    )


def _written(folder: Path, kind: str) -> Looked:
    """A run or a model: its own record, and those of the models below it."""
    if in_use(folder):
        said = Finding(False, str(folder), "a process is working on it", "look when it is done")
        return Looked(kind, 0, (said,))
    finished = folder / ("manifest.json" if kind == "run" else "training.json")
    found, files = [], 0
    if not finished.exists():
        found.append(Finding(False, str(folder), "the run is not finished", _AGAIN))
    records = [finished] if finished.exists() else []
    records += (path for path in sorted(folder.rglob("training.json")) if path != finished)
    for record in records:
        one = _record(record)
        found, files = [*found, *one.found], files + one.files
    return Looked(kind, files, (*found, *_leftovers(folder, finished.exists())))


def _record(record: Path) -> Looked:
    """What one record says of the files beside it."""
    if (told := whole_object(record)) is None:
        return Looked("", 0, (Finding(True, str(record), "cannot be read", _ANEW),))
    try:
        files = written_files(told)
    except RunError as error:
        return Looked("", 0, (Finding(True, str(record), str(error), _ANEW),))
    found = [*_files(record.parent, files), *_inputs(told)]
    if None in files.values() or not files:
        older = "holds no hashes, for an older version wrote it: its files were not compared"
        found.append(Finding(False, str(record), older, "run its line in another folder to know"))
    return Looked("", sum(made is not None for made in files.values()), tuple(found))


def _files(folder: Path, files: Mapping[str, str | None]) -> Iterator[Finding]:
    for name, made in files.items():
        path = folder / name
        if what := _wrong(path, made):
            yield Finding(True, str(path), what, f"put it back, or {_ANEW}")


def _wrong(path: Path, made: str | None) -> str:
    """What is wrong with a file that was left with this hash; nothing, mostly."""
    try:
        if not path.is_file():
            return "missing"
        return "not as it was written" if made and hash_of(path) != made else ""
    except OSError as error:
        return f"cannot be read: {error.strerror}"


def _inputs(record: Mapping[str, Any]) -> Iterator[Finding]:
    """Pools that are other files now: the run is whole, and its line would refuse them."""
    given = [record, *(each for each in record.values() if isinstance(each, dict))]
    rows = [each.get("inputs") for each in given]
    for one in (one for some in rows if isinstance(some, list) for one in some):
        if not isinstance(one, dict) or str(one.get("path")).startswith(HUB):
            continue
        path = str(one.get("path"))
        match _wrong(Path(path), str(one.get("blake2b"))):
            case "not as it was written":
                way_out = "the run is of the file as it was; for the new one choose another -o"
                yield Finding(False, path, "changed since it was read", way_out)
            case "missing":
                way_out = "if it is a relative path, ask in the folder that the line was run in"
                yield Finding(False, path, "not found from here, so not compared", way_out)
            case "":
                pass
            case what:
                yield Finding(False, path, what, "see to the file")


def _leftovers(folder: Path, finished: bool) -> Iterator[Finding]:
    way_out = "harmless; remove it" if finished else "harmless; the run clears it when it goes on"
    for path in sorted(folder.rglob("*")):
        if half_written(path):
            yield Finding(False, str(path), "half written when a run was stopped", way_out)


def _store(folder: Path) -> Looked:
    whole, damaged = Store(folder).checked()
    way_out = "remove it; its rows are measured again"
    found = [
        Finding(True, path, "damaged, or written for another block", way_out) for path in damaged
    ]
    return Looked("store", whole + len(damaged), (*found, *_leftovers(folder, True)))
