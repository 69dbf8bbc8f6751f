"""Run folders: everything that one command made, and which command that was.

`command.json` is written first: it says whose folder this is, so that the same line goes on in
it and another line is refused. `manifest.json` is written last: a folder without one is not
finished.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from modicum import durable
from modicum.cache import file_hash
from modicum.durable import half_written
from modicum.errors import RunError
from modicum.pool import Pool, Rejected

_SHOWN = 60  # characters of an option in a message
PACKAGES = ("modicum", "numpy", "pyarrow", "scikit-learn", "torch", "tokenizers", "transformers")


_SUBSET = re.compile(r"subset(-[^.]+)?\.(jsonl|json|csv|parquet|arrow)(\.(gz|bz2|xz|zst))?")
_LEFT = {
    *("rows.parquet", "texts.parquet", "map.parquet", "spread.json", "rejected.jsonl"),
    *("report.html", "report.json", "rounds.json", "auto.json"),
}


# What is ours in a finished folder, but the report, which can be made again.
_OURS = {"command.json", "plan.json", "compare.json", "stream.json", "training.json", *_LEFT}
_OURS -= {"report.html", "report.json"}


def open_run(folder: Path, command: Mapping[str, Any]) -> bool:
    """Make the folder this command's own. True if the command has already finished in it.

    `command` is what decides the result: options and the hashes of the inputs.
    """
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder} is a file, not a folder; choose another -o")
    about = folder / "command.json"
    if not about.exists():
        if folder.exists() and any(not half_written(path) for path in folder.iterdir()):
            raise RunError(f"{folder} is not empty and is no run folder; choose another -o")
        write_json(about, command)
        return False
    if said := difference(read_object(about), command):
        raise RunError(f"{folder} belongs to another command: {said}; choose another -o")
    return (folder / "manifest.json").exists()


def give_up(folder: Path, made: bool = False) -> None:
    """Take back `open_run` for a command that was refused before it made anything.

    The folder goes with it if it was `made` for this command.
    """
    if [path.name for path in folder.iterdir()] == ["command.json"]:
        durable.remove(folder / "command.json")
        if made:
            with suppress(OSError):  # somebody put a file there meanwhile
                folder.rmdir()


def clear_unfinished(folder: Path) -> None:
    """Remove what a killed run of the same command left: subsets and records.

    Whatever else lies in the folder is not ours to remove, and a finished run has a manifest.
    """
    for path in folder.iterdir():
        if path.is_file() and (path.name in _LEFT or _SUBSET.fullmatch(path.name)):
            durable.remove(path)
    durable.clear_half_written(folder)


def run_name(command: Mapping[str, Any], words: str) -> str:
    """A folder name that is the same whenever the command is, and else differs."""
    made = hashlib.blake2b(json.dumps(command, sort_keys=True).encode(), digest_size=3)
    return f"{words}-{made.hexdigest()}"


def write_json(path: Path, content: Any) -> None:
    """Write JSON durably. NaN is not JSON, and is refused."""
    durable.write_text(
        path, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    )


def write_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Write `manifest.json`: with it the run is finished, and its files are as they should be."""
    paths = [p for p in folder.iterdir() if p.name in _OURS or _SUBSET.fullmatch(p.name)]
    write_json(folder / "manifest.json", {**manifest, "files": hashes(folder, paths)})


def hashes(folder: Path, paths: Iterable[Path]) -> dict[str, str]:
    """blake2b of those of the paths that are files, by their names below the folder."""
    files = sorted(path for path in paths if path.is_file())
    return {path.relative_to(folder).as_posix(): file_hash(path) for path in files}


def check_files(folder: Path, record: Mapping[str, Any]) -> None:
    """Refuse a finished folder if one of the `files` of its record is gone or another.

    A file is read again only if its size or its time is not what it was.
    """
    for name, made in written_files(record).items():
        path = folder / name
        if not path.exists() or (made and file_hash(path) != made):
            how = "not as it was written" if path.exists() else "missing"
            raise RunError(
                f"{folder} holds a finished run, but {name} is {how}; put it back, or remove the "
                "folder and run the same line again"
            )


def written_files(record: Mapping[str, Any]) -> dict[str, str | None]:
    """The files of a finished folder, with their hashes; None where an older version kept none.

    Raises `RunError` if the record holds something else there.
    """
    files = record.get("files") or dict.fromkeys(record.get("subset", ()))
    hashes = isinstance(files, dict) and all(
        made is None or isinstance(made, str) for made in files.values()
    )
    if not hashes:
        raise RunError("its `files` are no hashes")
    return dict(files)


def write_rejected(rejected: tuple[Rejected, ...], path: Path) -> None:
    """One JSON line for each row that was set aside: file, row, reason, detail."""
    rows = (
        {"file": r.path, "row": r.row, "reason": r.reason, "detail": r.detail} for r in rejected
    )
    durable.write_text(path, "".join(json.dumps(row) + "\n" for row in rows))


def inputs(pool: Pool) -> list[dict[str, Any]]:
    """Each input file with its format, rows and hash."""
    return [
        {"path": f.path, "format": f.format, "rows": f.rows, "blake2b": f.hash} for f in pool.files
    ]


def versions(more: Sequence[str] = ()) -> dict[str, str]:
    """Python and the packages that decide a result, and `more` of them."""
    return {"python": platform.python_version()} | {
        package: importlib.metadata.version(package) for package in (*PACKAGES, *more)
    }


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object that a command left; a `RunError` if this is none."""
    if (found := whole_object(path)) is None:
        raise RunError(
            f"{path} is damaged, or was not written by Modicum; remove it, or choose another -o"
        )
    return found


def whole_object(path: Path) -> dict[str, Any] | None:
    """The JSON object in a file; None if there is no file, or something else in it."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):  # ValueError: no JSON, or no text at all
        return None
    return found if isinstance(found, dict) else None


def difference(before: Mapping[str, Any], command: Mapping[str, Any]) -> str:
    """The first thing that another command has otherwise; empty if it is the same."""
    now = json.loads(json.dumps(command))
    changed = [key for key in {**now, **before} if before.get(key) != now.get(key)]
    return _difference(changed[0], before, now) if changed else ""


def _difference(key: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    was, given = (json.dumps(each.get(key), ensure_ascii=False) for each in (before, now))
    if max(len(was), len(given)) > _SHOWN:
        return f"its {key} changed"
    return f"its {key} was {was}, here it is {given}"
