"""`modicum compare`: from files to a folder that says which choice beat chance."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modicum.errors import OptionError
from modicum.jobs.folders import Done, once, plan, shared, stem
from modicum.jobs.reading import Reading, read_other
from modicum.lineup import all_that_apply, lineup
from modicum.parts import describe
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
from modicum.scale import Engine, engine_of
from modicum.selection.budget import Budget
from modicum.training.record import PACKAGES
from modicum.usable import kinds, meter_of

if TYPE_CHECKING:
    from modicum.comparing import Comparison, Rules
    from modicum.evidence import Compared
    from modicum.models import Model

RECORD = "compare.json"


@dataclass(frozen=True)
class Wanted:
    """What a comparison is to be, as the command line has it."""

    methods: str
    budgets: Sequence[str]
    evaluation: Reading
    target: Sequence[str]
    settings: Mapping[str, str]
    rules: Rules
    max_tokens: int | None
    seconds: float | None = None  # that the whole comparison may take


def run_compare(
    reading: Reading,
    out: Path | None,
    wanted: Wanted,
    model: Model,
    say: Callable[[str], None],
    dry: bool = False,
    engine: str | Engine = "local",
) -> Done | dict[str, Any]:
    """`modicum compare`; with `dry` only the plan of it, and nothing is written.

    `say` is told what the user should know before anything is trained.
    """
    rules, max_tokens = wanted.rules, wanted.max_tokens
    line, applied = all_that_apply(wanted.methods, bool(wanted.target))
    methods = lineup("modicum.methods", line, wanted.settings)
    for budget in wanted.budgets:
        Budget.parse(budget)
    rules.check()
    pool, evaluation = reading.read(), wanted.evaluation.read()
    target = read_other(wanted.target, reading)
    command = {
        **_command(wanted, methods, evaluation, target),
        "rests_on": {label: rests_on(part, model) for label, part in methods.items()},
        **shared(reading, pool, model, rules.too_long, max_tokens),
    }
    runner = engine_of(engine)
    meter = meter_of(
        model,
        too_long=rules.too_long,
        max_tokens=max_tokens,
        precision=model.precision,
        store=None,
        engine=runner,
    )

    def prepared(folder: Path) -> Comparison:
        from modicum.comparing import prepare

        made = prepare(pool, methods, wanted.budgets, evaluation, meter, folder, rules, target)
        if applied or wanted.seconds is not None:
            made = made.within(wanted.seconds, applied)
        if applied and folder.parts:
            made = made.able(applied)
        for note in made.told():
            say(note)
        return made

    def work(folder: Path) -> None:
        clear_unfinished(folder)
        comparison = prepared(folder)
        _write(folder, comparison, comparison.run())

    if dry:
        from modicum.evidence.foretold import foretold

        asked = prepared(Path())
        return plan(foretold(asked.contest, asked.methods, rules.seeds, rules.whole), pool)
    with closing(runner):
        return once(out, command, f"{stem(pool)}-compare-{'-'.join(wanted.budgets)}", work)


def measures_of(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Measures on the held-out rows, and tasks of the harness; the loss is in bits as well."""
    from modicum.evidence.exam import HARNESS

    tasks = [word.removeprefix(HARNESS) for word in words if word.startswith(HARNESS)]
    if "" in tasks:
        raise OptionError(f"--measure {HARNESS}: name the task, as {HARNESS}arc_easy")
    measures = [word for word in words if not word.startswith(HARNESS)]
    if "loss" in measures and "bits" not in measures:
        measures.insert(measures.index("loss") + 1, "bits")
    return measures or ["loss", "bits"], tasks


def _command(
    wanted: Wanted, methods: Mapping[str, Any], evaluation: Pool, target: Pool | None
) -> dict[str, Any]:
    """All that decides what a comparison makes, beside pool and model."""
    from modicum.evaluation.harness import code_of_task
    from modicum.question import identity

    rules = wanted.rules
    return {
        "command": "compare",
        "methods": {label: describe(part) for label, part in methods.items()},
        "code": {label: identity(part) for label, part in methods.items()},
        "budgets": list(wanted.budgets),
        "evaluation": inputs(evaluation),
        "evaluation_fields": dict(wanted.evaluation.fields or {}),
        "target": target and inputs(target),
        "measures": list(rules.measures),
        "tasks": {task: code_of_task(task) for task in rules.tasks},
        "judge": rules.judge and rules.judge.asked,
        "seeds": list(rules.seeds),
        "full_seeds": list(rules.whole),
        "match": rules.match,
        "train": rules.train.to_json(),
        "max_new_tokens": rules.max_new_tokens,
        "keep_models": rules.keep_models,
        "choose_once": rules.choose_once,
        **({} if wanted.seconds is None else {"budget_seconds": wanted.seconds}),
    }


def _write(folder: Path, comparison: Comparison, compared: Compared) -> None:
    """`compare.json`, rows that were set aside, and the manifest last."""
    pools, contest = comparison.given, comparison.contest
    model = contest.base.model
    if rejected := tuple(bad for pool in pools for bad in pool.rejected):
        write_rejected(rejected, folder / "rejected.jsonl")
    pool, evaluation = pools
    write_json(folder / RECORD, compared.record)
    manifest = {
        "counts": {
            "kept": len(pool),
            "rejected": len(rejected),
            "left_out": kinds(comparison.left_out.values()),
            "arms": len(compared.record["arms"]),
        },
        "inputs": [each for pool in pools for each in inputs(pool)],
        "left_out": [
            {"id": rows.ids[i], "where": rows.where(i), "reason": why}
            for rows, left in ((pool, comparison.left_out), (evaluation, comparison.not_examined))
            for i, why in sorted(left.items())
        ],
        "model": {"name": model.name, "fingerprint": model.fingerprint},
        "training": contest.recipe.to_json(),
        "ledger": compared.ledger.to_json(),
        "versions": versions(PACKAGES),
    }
    add_report(folder, manifest)
    write_manifest(folder, manifest)
