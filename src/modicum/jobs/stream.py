"""`modicum stream`: from task files to a folder with what was learned and forgotten."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modicum.errors import BudgetError, OptionError
from modicum.jobs.folders import Done, once, plan, shared, stem
from modicum.jobs.reading import Reading
from modicum.jobs.replay import tasks_of
from modicum.lineup import lineup
from modicum.parts import code_of, describe
from modicum.pool import Pool
from modicum.question import rests_on
from modicum.report import add_report
from modicum.runs import (
    clear_unfinished,
    inputs,
    versions,
    write_json,
    write_manifest,
    write_rejected,
)
from modicum.selection.budget import Budget
from modicum.tags import about
from modicum.training.record import PACKAGES
from modicum.usable import check_seed, kinds, meter_of

if TYPE_CHECKING:
    from modicum.models import Model
    from modicum.replay import Replay
    from modicum.stream import Course, Streamed, Tasks
    from modicum.tags import Tagger
    from modicum.training.options import Recipe

RECORD = "stream.json"


@dataclass(frozen=True)
class Wanted:
    """What a stream is to be, as the command line has it."""

    methods: str
    budget: str
    per_task: bool
    orders: Sequence[str]
    seeds: Sequence[int]
    holdout: str | None  # None: 20 %
    evaluation: Sequence[str]
    settings: Mapping[str, str]
    recipe: Recipe
    tagger: Tagger | None
    generate: bool
    max_new_tokens: int
    keep_models: Any
    too_long: Any
    max_tokens: int | None


def run_stream(
    reading: Reading, out: Path | None, wanted: Wanted, model: Model, dry: bool = False
) -> Done | dict[str, Any]:
    """`modicum stream`; with `dry` only the plan of it, and nothing is written."""
    parts, limit = (
        lineup("modicum.replay", wanted.methods, wanted.settings),
        Budget.parse(wanted.budget),
    )
    share = _share(wanted)
    for seed in wanted.seeds:
        check_seed(seed)
    if len(set(wanted.orders)) < len(wanted.orders):
        raise OptionError(f"--order {','.join(wanted.orders)}: name every order once")
    wanted.recipe.check()
    pool, labels = _labelled(reading)
    tests = replace(reading, paths=tuple(wanted.evaluation))
    test = _labelled(tests) if wanted.evaluation else None
    command = _command(wanted, parts, reading, pool, test, model)

    def course_in(folder: Path) -> Course:
        from modicum.mixing import own_tags
        from modicum.stream import Bench, Course, split

        meter = meter_of(
            model,
            too_long=wanted.too_long,
            max_tokens=wanted.max_tokens,
            precision=model.precision,
            store=None,
        )
        tasks = split(pool, labels, test, share, wanted.seeds[0], meter, wanted.too_long)
        told = json.dumps(command, sort_keys=True, default=str).encode()
        made_from = hashlib.blake2b(told, digest_size=16).hexdigest()
        measures = ("loss", "exact", "rouge") if wanted.generate else ("loss",)
        return Course(
            folder,
            tasks,
            meter,
            Bench(folder / "scores", made_from, tasks.test, measures, wanted.max_new_tokens),
            wanted.recipe,
            limit,
            wanted.per_task,
            wanted.tagger or own_tags(tasks.rows),
            wanted.keep_models,
        )

    def work(folder: Path) -> None:
        from modicum.stream import stream

        course = course_in(folder)
        clear_unfinished(folder)
        streamed = stream(course, parts, wanted.orders, wanted.seeds)  # type: ignore[arg-type]
        pools = [pool, *([test[0]] if test else [])]
        _write(folder, streamed, course.tasks, pools, model, wanted)

    if dry:
        from modicum.stream.foretold import foretold

        return plan(foretold(course_in(Path()), parts, wanted.orders, wanted.seeds), pool)
    return once(out, command, f"{stem(pool)}-stream-{wanted.budget}", work)


def _share(wanted: Wanted) -> Budget:
    """What is held out of each task; with --eval it plays no part."""
    given = wanted.holdout or "20%"
    if wanted.holdout and wanted.evaluation:
        raise OptionError("--holdout and --eval are given; leave one of them out")
    try:
        share = Budget.parse(given)
    except BudgetError as error:
        raise OptionError(f"--holdout {given}: give rows of each task, or a share: 20%") from error
    if share.unit == "tokens" or (share.amount == 100 and share.unit == "percent"):
        raise OptionError(f"--holdout {given}: give rows of each task, or a share below 100%")
    return share


def _labelled(reading: Reading) -> tuple[Pool, list[str]]:
    pool = reading.read()
    return pool, tasks_of(pool, reading)


def _command(
    wanted: Wanted,
    parts: Mapping[str, Replay],
    reading: Reading,
    pool: Pool,
    test: tuple[Pool, list[str]] | None,
    model: Model,
) -> dict[str, Any]:
    """All that decides what a stream makes."""
    held_out = None if test is None else {"inputs": inputs(test[0]), "tasks": _names(test[1])}
    return {
        "command": "stream",
        "methods": {label: describe(part) for label, part in parts.items()},
        "code": {label: code_of(label.partition("(")[0]) for label in parts},
        "rests_on": {label: rests_on(part, model) for label, part in parts.items()},
        "budget": wanted.budget,
        "per_task": wanted.per_task,
        "orders": list(wanted.orders),
        "seeds": list(wanted.seeds),
        "holdout": held_out or wanted.holdout,
        "train": wanted.recipe.to_json(),
        "tagger": None if wanted.tagger is None else about(wanted.tagger),
        "generate": wanted.generate,
        "max_new_tokens": wanted.max_new_tokens,
        "keep_models": wanted.keep_models,
        **shared(reading, pool, model, wanted.too_long, wanted.max_tokens),
    }


def _names(labels: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(labels))


def _write(
    folder: Path,
    streamed: Streamed,
    tasks: Tasks,
    pools: Sequence[Pool],
    model: Model,
    wanted: Wanted,
) -> None:
    """`stream.json`, rows that were set aside, and the manifest last."""
    if rejected := tuple(bad for pool in pools for bad in pool.rejected):
        write_rejected(rejected, folder / "rejected.jsonl")
    write_json(folder / RECORD, streamed.record)
    manifest = {
        "counts": {
            "kept": sum(map(len, pools)),
            "rejected": len(rejected),
            "left_out": kinds(why for _, _, why in tasks.left_out),
            "tasks": len(tasks),
            "arms": len(streamed.record["arms"]),
        },
        "inputs": [each for pool in pools for each in inputs(pool)],
        "left_out": [
            {"id": pool.ids[i], "where": pool.where(i), "reason": why}
            for pool, i, why in tasks.left_out
        ],
        "model": {"name": model.name, "fingerprint": model.fingerprint},
        "training": wanted.recipe.to_json(),
        "ledger": streamed.ledger.to_json(),
        "versions": versions((*PACKAGES, "POT", "rouge-score")),
    }
    add_report(folder, manifest)
    write_manifest(folder, manifest)
