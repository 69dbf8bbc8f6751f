"""`modicum stream`: from task files to a folder with what was learned and forgotten."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modicum.errors import OptionError
from modicum.jobs.folders import Done, once, shared, stem
from modicum.jobs.reading import Reading
from modicum.jobs.replay import by_column, tasks_of
from modicum.parts import build, code_of, describe, find, option_names
from modicum.pool import Pool
from modicum.runs import clear_unfinished, inputs, versions, write_json, write_rejected

if TYPE_CHECKING:
    from modicum.models import Model
    from modicum.replay import Replay
    from modicum.tags import Tagger
    from modicum.training.options import Recipe

_METHOD = re.compile(r"([^(),]+)(?:\(([^()]*)\))?")
RECORD = "stream.json"


def run_stream(
    reading: Reading,
    out: Path | None,
    *,
    methods: str,
    budget: str,
    per_task: bool,
    orders: Sequence[str],
    seeds: Sequence[int],
    held_out: str,
    tested_on: Sequence[str],
    settings: Mapping[str, str],
    recipe: Recipe,
    model: Model,
    tagger: Tagger | None,
    generate: bool,
    max_new_tokens: int,
    keep_models: Any,
    too_long: Any,
    max_tokens: int | None,
) -> Done:
    """`modicum stream`."""
    from modicum.selection.budget import Budget
    from modicum.usable import check_seed

    parts, limit, share = (
        parse_methods(methods, settings),
        Budget.parse(budget),
        Budget.parse(held_out),
    )
    for seed in seeds:
        check_seed(seed)
    if share.unit == "tokens":
        raise OptionError(f"--holdout {held_out}: give rows of each task, or a share of them")
    recipe.check()
    pool = reading.read()
    tests = Reading(tuple(tested_on), reading.format, reading.fields, reading.skip_bad)
    test = tests.read() if tested_on else None
    command = {
        "command": "stream",
        "methods": {label: describe(part) for label, part in parts.items()},
        "code": {label: code_of(label.partition("(")[0]) for label in parts},
        "budget": budget,
        "per_task": per_task,
        "orders": list(orders),
        "seeds": list(seeds),
        "holdout": held_out if test is None else inputs(test),
        "train": recipe.to_json(),
        "tagger": None if tagger is None else repr(tagger),
        "generate": generate,
        "max_new_tokens": max_new_tokens,
        "keep_models": keep_models,
        **shared(reading, pool, model, too_long, max_tokens),
    }

    def work(folder: Path) -> None:
        from modicum.mixing import own_tags
        from modicum.stream import Bench, Course, split, stream
        from modicum.usable import meter_of

        meter = meter_of(
            model, too_long=too_long, max_tokens=max_tokens, precision=model.precision, store=None
        )
        other = None if test is None else (test, _tasks(test, tests))
        tasks = split(pool, _tasks(pool, reading), other, share, seeds[0], meter, too_long)
        clear_unfinished(folder)
        told = json.dumps(command, sort_keys=True, default=str).encode()
        made_from = hashlib.blake2b(told, digest_size=16).hexdigest()
        bench = Bench(folder / "scores", made_from, tasks.test, generate, max_new_tokens)
        course = Course(
            folder,
            tasks,
            meter,
            bench,
            recipe,
            limit,
            per_task,
            tagger or own_tags(pool),
            keep_models,
        )
        streamed = stream(course, parts, orders, seeds)  # type: ignore[arg-type]
        if pool.rejected:
            write_rejected(pool.rejected, folder / "rejected.jsonl")
        write_json(folder / RECORD, streamed.record)
        counts = {
            "kept": len(pool),
            "rejected": len(pool.rejected),
            "left_out": tasks.left_out,
            "tasks": len(tasks),
            "arms": len(streamed.record["arms"]),
        }
        about = {
            "counts": counts,
            "inputs": inputs(pool),
            "model": {"name": model.name, "fingerprint": model.fingerprint},
            "training": recipe.to_json(),
            "ledger": streamed.ledger.to_json(),
            "versions": versions(("trl", "peft", "POT", "rouge-score")),
        }
        write_json(folder / "manifest.json", about)

    return once(out, command, f"{stem(pool)}-stream-{budget}", work)


def parse_methods(text: str, settings: Mapping[str, str]) -> dict[str, Replay]:
    """`inscl,inscl(which=random),none` as methods by label; `settings` go to all that take them."""
    parts: dict[str, Replay] = {}
    taken: set[str] = set()
    text = re.sub(r"\s*([(),=])\s*", r"\1", text.strip())
    for name, inner in _METHOD.findall(text):
        kind = find("modicum.replay", name)
        known = option_names(build(kind, {}))
        mine = {key: value for key, value in settings.items() if key in known}
        taken |= mine.keys()
        label = f"{name}({inner})" if inner else name
        if label in parts:
            raise OptionError(f"-m {label} is given twice")
        parts[label] = build(kind, {**mine, **_options(inner)})
    if left := settings.keys() - taken:
        raise OptionError(f"--set {min(left)}: none of {', '.join(parts)} has this option")
    if not parts or ",".join(parts) != text:
        raise OptionError(f"-m {text}: write METHOD,METHOD(option=value),…")
    return parts


def _options(inner: str) -> dict[str, str]:
    pairs = [word.partition("=") for word in inner.split(",") if word]
    return {key: value for key, _, value in pairs}


def _tasks(pool: Pool, reading: Reading) -> list[str]:
    """The task of every row: its column where that was asked for, or where there is one file."""
    one = len(pool.files) == 1 and all(task is not None for task in pool.tasks)
    return by_column(pool) if one else tasks_of(pool, reading)
