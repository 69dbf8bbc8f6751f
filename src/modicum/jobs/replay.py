"""`modicum replay`: from old files and a new one to one mixed file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modicum.errors import InputError, ModicumError, OptionError
from modicum.held import held
from modicum.jobs.folders import shared
from modicum.jobs.reading import Reading
from modicum.pool import Pool
from modicum.readers.sources import find as find_inputs
from modicum.runs import inputs, read_object

if TYPE_CHECKING:
    from modicum.models import Model
    from modicum.tags import Tagger


@dataclass(frozen=True)
class Mixed:
    """A finished mixed file."""

    path: Path
    manifest: dict[str, Any]
    again: bool = False  # it was finished before, and nothing was done

    def to_json(self) -> dict[str, Any]:
        """The counts, the quotas, where the file lies, and what it cost."""
        kept = ("tasks", "notes", "ledger")
        about = {key: self.manifest[key] for key in kept}
        return {**self.manifest["counts"], **about, "file": str(self.path), "again": self.again}


def run_replay(
    old: Reading,
    new: Sequence[str],
    out: Path,
    *,
    method: str,
    budget: str,
    per_task: bool,
    settings: Mapping[str, str],
    seed: int,
    model: Model,
    tagger: Tagger | None,
    too_long: Any,
    max_tokens: int | None,
) -> Mixed:
    """`modicum replay`."""
    from modicum.mixed import give_up_mix, manifest_of, open_mix, write_mixed
    from modicum.mixing import mix
    from modicum.parts import build, code_of, find
    from modicum.question import rests_on
    from modicum.readers.sources import ending_of
    from modicum.selection.budget import Budget
    from modicum.tags import about

    limit, part = Budget.parse(budget), build(find("modicum.replay", method), settings)
    ending = "".join(ending_of(out))
    # The new rows are one task, whatever column names the old ones.
    fields = {field: column for field, column in (old.fields or {}).items() if field != "task"}
    old_pool, new_pool = old.read(), replace(old, paths=tuple(new), fields=fields).read()
    tasks, new_task = tasks_of(old_pool, old), find_inputs(new)[0].source
    command = {
        "command": "replay",
        "method": method,
        "code": code_of(method),
        "rests_on": rests_on(part, model),
        "budget": budget,
        "per_task": per_task,
        "settings": dict(sorted(settings.items())),
        "seed": seed,
        "tagger": None if tagger is None else about(tagger),
        "new": inputs(new_pool),
        "new_task": new_task,
        **shared(old, old_pool, model, too_long, max_tokens),
    }
    how: dict[str, Any] = {"per_task": per_task, "ending": ending, "tagger": tagger}
    how |= {"tasks": tasks, "too_long": too_long, "max_tokens": max_tokens}

    def work() -> None:
        made = mix(old_pool, new_pool, part, limit, model, seed, new_task=new_task, **how)
        write_mixed(made, out, command)

    with held(out):
        again = open_mix(out, command)
        if not again:
            try:
                work()
            except ModicumError:
                give_up_mix(out)
                raise
    return Mixed(out, read_object(manifest_of(out)), again)


def tasks_of(pool: Pool, reading: Reading) -> list[str]:
    """The task of every row: its `task` where that was asked for (`--fields task=COLUMN`), or where
    all rows of a single file without a given name have one; otherwise its file's name.
    """
    named = [(one.source, one.named) for one in find_inputs(list(reading.paths))]
    alone = len(named) == 1 and not named[0][1] and all(task is not None for task in pool.tasks)
    if alone or "task" in (reading.fields or {}):
        return by_column(pool)
    for place, (name, given) in enumerate(named):
        if not given and any(name == other for other, _ in named[:place]):
            raise OptionError(
                f"two files are called {name!r}; name the tasks: NAME={pool.files[place].path}"
            )
    return [named[file][0] for file in pool.table["file"].to_pylist()]


def by_column(pool: Pool) -> list[str]:
    """The rows' own `task`; a row without one is an `InputError`."""
    tasks = [task for task in pool.tasks if task is not None]
    if len(tasks) < len(pool):
        first = pool.tasks.index(None)
        raise InputError(
            f"{len(pool) - len(tasks):,} of {len(pool):,} rows have no task; the first is "
            f"{pool.where(first)}; give them one, or one file to each task"
        )
    return tasks
