"""A command's folder: the work is done once, and what is refused leaves nothing."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modicum import durable
from modicum.errors import ModicumError, OptionError
from modicum.held import held
from modicum.jobs.reading import Reading
from modicum.pool import Pool
from modicum.readers.sources import find
from modicum.runs import check_files, give_up, inputs, open_run, read_object, run_name, whole_object
from modicum.training.together import Processes, launched

if TYPE_CHECKING:
    from modicum.models import Model


@dataclass(frozen=True)
class Done:
    """A finished run folder."""

    folder: Path
    manifest: dict[str, Any]
    again: bool = False  # it was finished before, and nothing was done

    def to_json(self) -> dict[str, Any]:
        """The counts, where the result lies, and what it cost."""
        return {
            **self.manifest["counts"],
            "folder": str(self.folder),
            "subset": [str(self.folder / name) for name in self.manifest.get("subset", [])],
            "again": self.again,
            "ledger": self.manifest["ledger"],
        }


def once(
    out: Path | None,
    command: dict[str, Any],
    words: str,
    work: Callable[[Path], None],
    processes: Processes | None = None,
) -> Done:
    """Do the work unless this very command has finished in the folder before.

    Of several processes the first decides; the work is for all of them to do together.
    """
    folder = out or Path("runs") / run_name(command, _plain(words))
    if processes is None and launched():
        raise OptionError(f"{command['command']} runs in one process: only train takes several")
    first = processes is None or processes.first
    with held(folder) if first else nullcontext():
        made = not folder.exists()
        again = open_run(folder, command) if first else False
        if processes is not None:
            again = processes.told(again)
        if not again:
            if first:
                durable.clear_half_written(folder)
            try:
                work(folder)
            except ModicumError:  # put right, the line is another command: let it have the folder
                if first:
                    give_up(folder, made)
                raise
    manifest = read_object(folder / "manifest.json")
    if again and first:
        check_files(folder, manifest)
        check_files(folder, whole_object(folder / "training.json") or {})
    return Done(folder, manifest, again)


def shared(
    reading: Reading, pool: Pool, model: Model, too_long: str, max_tokens: int | None
) -> dict[str, Any]:
    """What decides every command's result: inputs and how they are read, model, limits."""
    return {
        "inputs": inputs(pool),
        "names": [one.source for one in find(list(reading.paths))],
        "format": reading.format,
        "fields": dict(reading.fields or {}),
        "skip_bad": reading.skip_bad,
        "model": model.fingerprint,
        "precision": model.precision,
        "too_long": too_long,
        "max_tokens": max_tokens,
    }


def plan(predicted: dict[str, Any], pool: Pool) -> dict[str, Any]:
    """What --dry-run prints."""
    return {"kept": len(pool), "rejected": len(pool.rejected), **predicted}


def stem(pool: Pool) -> str:
    """What a folder without a given name is called by: the first input."""
    return Path(pool.files[0].path).name.partition(".")[0]


def _plain(words: str) -> str:
    return "".join(c if c.isalnum() or c in "-_.%" else "-" for c in words)
