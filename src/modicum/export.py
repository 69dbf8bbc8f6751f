"""Beside a subset, what makes a trainer train on it as it is: TRL, Axolotl, LLaMA-Factory.

A snippet names the subset itself where the trainer makes of each row the turns that were scored.
Where it would not, `messages.jsonl` is written beside it, the same rows as lists of turns, and
the snippet names that.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from modicum import durable
from modicum.errors import InputError, OptionError, RunError
from modicum.models import DEFAULT_HUB_ID
from modicum.pool import Pool
from modicum.readers.raw import raw_rows
from modicum.readers.turns import BadRow, turn_of
from modicum.runs import read_object
from modicum.snippets import ROLES, Tuned, Written, axolotl, llama_factory, reads, trl

MESSAGES = "messages.jsonl"
FILES = {"axolotl": "axolotl.yaml", "llama-factory": "dataset_info.json", "trl": "train_trl.py"}
_SNIPPETS: Mapping[str, Callable[[Written, Tuned], str]] = {
    "axolotl": axolotl,
    "llama-factory": llama_factory,
    "trl": trl,
}
# CSV is none of them: to trainers its columns are numbers, dates or nothing by what they look like.
_KINDS = {".jsonl": "json", ".json": "json", ".parquet": "parquet", ".arrow": "arrow"}
_FIELDS = {
    "messages": ("messages", "system"),
    "sharegpt": ("conversations", "system"),
    "alpaca": ("instruction", "input", "output", "system", "history"),
    "prompt-completion": ("prompt", "completion", "system"),
}
_MARKS = ("train", "weight", "loss_weight", "loss")


class _Keys(NamedTuple):
    """How turns are written."""

    role: str
    content: str
    names: Mapping[str, str]  # role → as written


def check_trainers(names: Sequence[str]) -> tuple[str, ...]:
    """The trainers asked for, each once; one that is unknown is refused with the list."""
    for name in names:
        if name not in FILES:
            raise OptionError(f"--export {name}: choose {', '.join(FILES)}")
    return tuple(dict.fromkeys(names))


def export(folder: Path, trainers: Sequence[str]) -> list[Path]:
    """Write a snippet for each trainer into a finished run folder; the paths of what it needs.

    A file that is there already stays as it is: a user may have changed it.
    """
    names = check_trainers(trainers)
    manifest, pool = _subset(folder)
    tuned = Tuned(folder.resolve(), _model(manifest), manifest["model"]["max_tokens"])
    as_it_lies = written(pool)
    chosen = {
        name: as_it_lies if as_it_lies and reads(name, as_it_lies) else _messages(pool)
        for name in names
    }
    if "llama-factory" in chosen and chosen["llama-factory"].marked:
        raise _unlearned(pool)
    left: dict[Path, None] = {}
    for name, rows in chosen.items():
        if rows.file == MESSAGES:
            left[_once(folder / MESSAGES, _lines(pool, rows.marked))] = None
        left[_once(folder / FILES[name], _SNIPPETS[name](rows, tuned))] = None
    return list(left)


def written(pool: Pool) -> Written | None:
    """How a subset's rows are written; None if not alike, or not as trainers would read them."""
    if len(pool.files) > 1 or pool.files[0].ending not in _KINDS:
        return None
    (file,) = pool.files
    if file.format not in _FIELDS:  # several formats in one file
        return None
    found = {name: file.columns[name] for name in _FIELDS[file.format] if name in file.columns}
    if any(len(columns) > 1 for columns in found.values()):
        return None
    spans = zip(pool.table["start"].to_pylist(), pool.table["end"].to_pylist(), strict=True)
    rows = list(raw_rows(file, list(spans)))
    if not _same_types(rows):
        return None
    columns = {name: column for name, (column,) in found.items() if _used(rows, name, column)}
    keys = _keys(rows, file.format, columns)
    if keys is None:
        return None
    further = frozenset(name for row in rows for name in row) - set(columns.values())
    kind = _KINDS[file.ending]
    return Written(Path(file.path).name, kind, file.format, columns, *keys, further=further)


def _subset(folder: Path) -> tuple[dict[str, Any], Pool]:
    """The manifest of a finished selection, and its subset, read as its inputs were."""
    from modicum.readers import read

    if not (folder / "manifest.json").exists():
        raise RunError(f"{folder} holds no finished selection; run its line again to go on")
    manifest, command = (read_object(folder / name) for name in ("manifest.json", "command.json"))
    paths = [str(folder / name) for name in manifest.get("subset", [])]
    if not paths:
        raise RunError(f"{folder} holds no subset, so there is nothing that a trainer could read")
    pool = read(paths, format=command.get("format"), fields=command.get("fields"))
    if pool.rejected:
        raise InputError(f"{pool.rejected[0]}; the subset was changed, so select again")
    return manifest, pool


def _model(manifest: Mapping[str, Any]) -> str:
    name = str(manifest["model"]["name"])
    if name.endswith("(embedded)"):
        return DEFAULT_HUB_ID
    return str(Path(name).resolve()) if Path(name).exists() else name


def _same_types(rows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether each column holds one type, without which `datasets` reads no JSON."""
    types: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        for name, value in row.items():
            if value is not None:
                number = isinstance(value, int | float) and not isinstance(value, bool)
                types[name].add("number" if number else type(value).__name__)
    return all(len(found) < 2 for found in types.values())


def _used(rows: Sequence[Mapping[str, Any]], field: str, column: str) -> bool:
    """Whether anything stands in a column that need not be filled."""
    needed = field not in ("input", "system", "history")
    return needed or any(row.get(column) not in (None, "", []) for row in rows)


def _keys(
    rows: Sequence[Mapping[str, Any]], format: str, columns: Mapping[str, str]
) -> _Keys | None:
    """How the turns of all rows are written; None where a trainer would not find them."""
    if format in ("messages", "sharegpt"):
        column = columns["messages" if format == "messages" else "conversations"]
        return _keys_of([turn for row in rows for turn in _listed(row[column])])
    texts = [row.get(column) for row in rows for f, column in columns.items() if f != "history"]
    fine = all(text is None or isinstance(text, str) for text in texts)
    return _Keys("role", "content", ROLES) if fine else None


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else [None]  # text that holds a list is none


def _keys_of(turns: Sequence[object]) -> _Keys | None:
    """The keys and the names of roles that all turns share; None if they share none."""
    used: set[tuple[str, str]] = set()
    names: dict[str, set[str]] = defaultdict(set)
    for turn in turns:
        if not isinstance(turn, dict) or any(turn.get(mark) is not None for mark in _MARKS):
            return None
        keys = [
            next((key for key in pair if turn.get(key) is not None), "")
            for pair in (("role", "from"), ("content", "value"))
        ]
        if not isinstance(turn.get(keys[1]), str):
            return None
        used.add((keys[0], keys[1]))
        try:
            names[turn_of(turn, "turn").role].add(turn[keys[0]])
        except BadRow:
            return None
    if len(used) != 1 or any(len(found) > 1 for found in names.values()):
        return None
    ((role, content),) = used
    usual = {"user": "human", "assistant": "gpt"} if role == "from" else {}
    return _Keys(role, content, ROLES | usual | {r: found.pop() for r, found in names.items()})


def _messages(pool: Pool) -> Written:
    """The subset as `messages.jsonl` holds it."""
    marked = any(turn.role == "assistant" and not turn.train for row in pool for turn in row.turns)
    return Written(MESSAGES, "json", "messages", {"messages": "messages"}, marked=marked)


def _lines(pool: Pool, marked: bool) -> str:
    """Each row's turns; where some answer is not to be learned, each turn says whether it is."""
    return "".join(
        json.dumps({"messages": turns}, ensure_ascii=False) + "\n"
        for turns in (
            [
                {"role": turn.role, "content": turn.content}
                | ({"train": turn.train} if marked else {})
                for turn in row.turns
            ]
            for row in pool
        )
    )


def _unlearned(pool: Pool) -> OptionError:
    at = next(
        place
        for place, row in enumerate(pool)
        if any(turn.role == "assistant" and not turn.train for turn in row.turns)
    )
    return OptionError(
        f"--export llama-factory: {pool.where(at)} has an answer that is not to be learned, and "
        "LLaMA-Factory learns every answer; export to axolotl or trl, or leave such rows out"
    )


def _once(path: Path, text: str) -> Path:
    if not path.exists():
        durable.write_text(path, text)
    return path
