"""Commands on one pool: select, score, train, check; and methods."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modicum.cli.options import (
    TOO_LONG,
    DryRun,
    EngineName,
    EvalFields,
    Fields,
    Format,
    Json,
    MaxTokens,
    Memory,
    ModelName,
    Out,
    Paths,
    Precision,
    RayAddress,
    Seed,
    Settings,
    SkipBad,
    Target,
    TooLong,
    Train,
    Trust,
    engine_of,
    held_out_of,
    memory_of,
    model_of,
    one_of,
    pairs,
    print_json,
    reading_of,
    say,
    show_done,
)
from modicum.cli.plan import read_plan, resolved

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modicum.jobs.folders import Done

Method = Annotated[
    str, typer.Option("-m", "--method", help="See `modicum methods`; `-m 'lobass(folds=2)'`.")
]
Budget = Annotated[
    str, typer.Option("-k", "--budget", help="500, 5%, 200ktok; or auto, with --eval.")
]
HeldOut = Annotated[
    list[str] | None, typer.Option("--eval", help="For -k auto: held-out rows; may be repeated.")
]
Measure = Annotated[
    str | None, typer.Option("--measure", help="For -k auto: loss, choice, exact or rouge.")
]
Epsilon = Annotated[
    float | None,
    typer.Option("--epsilon", help="For -k auto: share of the gain that may be missing; 0.05."),
]
Seeds = Annotated[
    int | None,
    typer.Option("--seeds", min=1, help="For -k auto: so many, from --seed on; 2."),
]
Chosen = Annotated[
    list[str] | None, typer.Option("--chosen", help="Rows already taken; may be repeated.")
]
Decontaminate = Annotated[
    list[str] | None, typer.Option("--decontaminate", help="Evaluation rows; may be repeated.")
]
Filters = Annotated[
    list[str] | None,
    typer.Option(
        "--filter", help="Rows offered at all: duplicates, 'between(most=512)', …; may be repeated."
    ),
]
PlanFile = Annotated[
    Path | None,
    typer.Option(
        "--plan",
        help="YAML of this command's options, or the manifest of a selection.",
        is_eager=True,
        callback=read_plan,
    ),
]
Export = Annotated[
    list[str] | None,
    typer.Option("--export", help="Ready for axolotl, llama-factory or trl; may be repeated."),
]
Scores = Annotated[
    list[str],
    typer.Option(
        "--with", help="length, loss, 'ask-llm(judge=FOLDER)', …; commas between, or repeated."
    ),
]


def select_command(
    context: typer.Context,
    pool: Paths,
    budget: Budget,
    method: Method = "random",  # nothing was shown to beat it on open answers: docs/results.md
    evaluation: HeldOut = None,
    eval_fields: EvalFields = None,
    measure: Measure = None,
    epsilon: Epsilon = None,
    seeds: Seeds = None,
    model: ModelName = None,
    target: Target = None,
    chosen: Chosen = None,
    decontaminate: Decontaminate = None,
    filters: Filters = None,
    settings: Settings = None,
    train: Train = None,
    seed: Seed = 0,
    out: Out = None,
    dry_run: DryRun = False,
    memory: Memory = None,
    engine: EngineName = "local",
    ray_address: RayAddress = None,
    export: Export = None,
    too_long: TooLong = "drop",
    max_tokens: MaxTokens = None,
    precision: Precision = "auto",
    trust_remote_code: Trust = False,
    format: Format = None,
    fields: Fields = None,
    skip_bad: SkipBad = False,
    plan: PlanFile = None,
    as_json: Json = False,
) -> None:
    """Pick rows of a pool by a method, within a budget."""
    from modicum.jobs.select import Auto, run_select, wanted_of
    from modicum.lineup import named
    from modicum.training.options import Recipe

    trainers = wanted_of(export or [])
    name, options = named(method)
    asked = {"measure": measure, "epsilon": epsilon, "seeds": seeds}
    auto = Auto.of(budget, held_out_of(evaluation, eval_fields, skip_bad), asked)
    done = run_select(
        reading_of(pool, format, fields, skip_bad),
        out,
        method=name,
        budget=budget,
        settings={**pairs("--set", settings), **options},
        seed=seed,
        model=model_of(model, precision, trust_remote_code),
        target=target or [],
        chosen=chosen or [],
        decontaminate=decontaminate or [],
        filters=filters or [],
        plan_of=resolved(context),
        auto=auto,
        train=Recipe.parse(train or []),
        too_long=one_of("--too-long", too_long, TOO_LONG),
        max_tokens=max_tokens,
        memory=memory_of(memory),
        engine=engine_of(engine, ray_address),
        say=say,
        dry=dry_run,
    )
    _show_selection(done, trainers, as_json)


def _show_selection(done: Done | dict[str, Any], trainers: Sequence[str], as_json: bool) -> None:
    """What was chosen, and what `--export` makes of it; or the plan of a dry run."""
    from modicum.jobs.select import exported
    from modicum.show_selection import selection

    if isinstance(done, dict):
        show_done(done, as_json, selection)
        return
    left = exported(done, trainers)
    if as_json:
        print_json({**done.to_json(), "exports": [str(path) for path in left]})
    else:
        selection(done, left)


def score_command(
    pool: Paths,
    scores: Scores,
    model: ModelName = None,
    out: Out = None,
    engine: EngineName = "local",
    ray_address: RayAddress = None,
    too_long: TooLong = "drop",
    max_tokens: MaxTokens = None,
    precision: Precision = "auto",
    trust_remote_code: Trust = False,
    format: Format = None,
    fields: Fields = None,
    skip_bad: SkipBad = False,
    as_json: Json = False,
) -> None:
    """Measure every row, and write rows.parquet."""
    from modicum import show
    from modicum.jobs.score import run_score

    done = run_score(
        reading_of(pool, format, fields, skip_bad),
        out,
        scores=scores,
        model=model_of(model, precision, trust_remote_code),
        too_long=one_of("--too-long", too_long, TOO_LONG),
        max_tokens=max_tokens,
        engine=engine_of(engine, ray_address),
    )
    print_json(done.to_json()) if as_json else show.scores(done)


def train_command(
    files: Paths,
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder of the tuned model.")],
    model: ModelName = None,
    lora: Annotated[bool, typer.Option("--lora", help="Tune an adapter, and merge it.")] = False,
    train: Train = None,
    seed: Seed = 0,
    dry_run: DryRun = False,
    too_long: TooLong = "drop",
    max_tokens: MaxTokens = None,
    precision: Precision = "auto",
    trust_remote_code: Trust = False,
    format: Format = None,
    fields: Fields = None,
    skip_bad: SkipBad = False,
    as_json: Json = False,
) -> None:
    """Tune a model on rows, on the tokens that are scored."""
    from modicum import show
    from modicum.jobs.train import run_train
    from modicum.training.options import Recipe
    from modicum.training.together import Processes

    done = run_train(
        reading_of(files, format, fields, skip_bad),
        out,
        recipe=Recipe.parse(train or [], lora=lora),
        seed=seed,
        model=model_of(model, precision, trust_remote_code),
        too_long=one_of("--too-long", too_long, TOO_LONG),
        max_tokens=max_tokens,
        dry=dry_run,
    )
    if Processes().first:  # one of several speaks for all
        show_done(done, as_json, show.training)


def check_command(
    pool: Paths,
    model: ModelName = None,
    max_tokens: MaxTokens = None,
    format: Format = None,
    fields: Fields = None,
    as_json: Json = False,
) -> None:
    """Say what is in a pool: formats, tokens, duplicates, bad rows."""
    from modicum import show
    from modicum.jobs.check import run_check

    report = run_check(reading_of(pool, format, fields), model_of(model), max_tokens)
    print_json(report.to_json()) if as_json else show.report(report)
    raise typer.Exit(0 if report.ok else 1)


def methods_command(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", show_default=False)] = None,
    as_json: Json = False,
) -> None:
    """Say what each method needs and costs, and when it fails."""
    from modicum import show
    from modicum.catalogue import about

    found = about(name)
    print_json(found) if as_json else show.methods(found)
