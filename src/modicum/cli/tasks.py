"""Commands on several tasks: replay and stream."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from modicum.cli.options import (
    TOO_LONG,
    DryRun,
    Fields,
    Format,
    Json,
    MaxTokens,
    ModelName,
    NewTokens,
    Out,
    PerTask,
    Precision,
    Seed,
    Seeds,
    Settings,
    SkipBad,
    TaggerModel,
    TaggerUrl,
    TooLong,
    Train,
    Trust,
    model_of,
    one_of,
    pairs,
    print_json,
    reading_of,
    show_done,
    tagger_of,
)

Old = Annotated[
    list[str], typer.Option("--old", help="Rows of old tasks, a file each; may be repeated.")
]
New = Annotated[list[str], typer.Option("--new", help="The next task's rows.")]
Method = Annotated[str, typer.Option("-m", "--method", help="inscl, random, balanced, …")]
Budget = Annotated[str, typer.Option("-k", "--budget", help="500, 5% or 200ktok of old rows.")]
Mixed = Annotated[Path, typer.Option("-o", "--out", help="The mixed file.")]
Tasks = Annotated[
    list[str],
    typer.Argument(
        metavar="DIR|FILE...",
        help="A file for each task, or one file whose rows have a task.",
        show_default=False,
    ),
]
Methods = Annotated[
    str, typer.Option("-m", "--method", help="inscl,random,none; or inscl(which=random),…")
]
Orders = Annotated[
    str, typer.Option("--order", help="given, random, easy-hard, hard-easy; commas between.")
]
HeldOut = Annotated[
    list[str] | None,
    typer.Option("--eval", help="Held-out rows of the same tasks; may be repeated."),
]
HoldOut = Annotated[
    str | None,
    typer.Option("--holdout", help="Without --eval: of each task, rows or a share (20%)."),
]
Generate = Annotated[bool, typer.Option(help="Let the model answer, for exact match and ROUGE-L.")]
KeepModels = Annotated[str, typer.Option("--keep-models", help="none, last (of each arm) or all.")]


def replay_command(
    old: Old,
    new: New,
    method: Method,
    budget: Budget,
    out: Mixed,
    per_task: PerTask = False,
    tagger: TaggerUrl = None,
    tagger_model: TaggerModel = None,
    model: ModelName = None,
    settings: Settings = None,
    seed: Seed = 0,
    too_long: TooLong = "drop",
    max_tokens: MaxTokens = None,
    precision: Precision = "auto",
    trust_remote_code: Trust = False,
    format: Format = None,
    fields: Fields = None,
    skip_bad: SkipBad = False,
    as_json: Json = False,
) -> None:
    """Mix rows of old tasks into the next one, so that a model does not forget them."""
    from modicum.jobs.replay import run_replay
    from modicum.show_tasks import mixed

    done = run_replay(
        reading_of(old, format, fields, skip_bad),
        new,
        out,
        method=method,
        budget=budget,
        per_task=per_task,
        settings=pairs("--set", settings),
        seed=seed,
        model=model_of(model, precision, trust_remote_code),
        tagger=tagger_of(tagger, tagger_model),
        too_long=one_of("--too-long", too_long, TOO_LONG),
        max_tokens=max_tokens,
    )
    print_json(done.to_json()) if as_json else mixed(done)


def stream_command(
    tasks: Tasks,
    method: Methods,
    budget: Budget,
    order: Orders = "given",
    seeds: Seeds = 1,
    evaluation: HeldOut = None,
    holdout: HoldOut = None,
    generate: Generate = True,
    max_new_tokens: NewTokens = 64,
    keep_models: KeepModels = "none",
    per_task: PerTask = False,
    tagger: TaggerUrl = None,
    tagger_model: TaggerModel = None,
    model: ModelName = None,
    settings: Settings = None,
    train: Train = None,
    seed: Seed = 0,
    out: Out = None,
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
    """Tune on one task after another with replay, and say what was forgotten."""
    from modicum.jobs.stream import Wanted, run_stream
    from modicum.show_tasks import streamed, told
    from modicum.stream.orders import ORDERS
    from modicum.training.options import Recipe

    wanted = Wanted(
        methods=method,
        budget=budget,
        per_task=per_task,
        orders=[one_of("--order", one.strip(), ORDERS) for one in order.split(",")],
        seeds=range(seed, seed + seeds),
        holdout=holdout,
        evaluation=evaluation or [],
        settings=pairs("--set", settings),
        recipe=Recipe.parse(train or []),
        tagger=tagger_of(tagger, tagger_model),
        generate=generate,
        max_new_tokens=max_new_tokens,
        keep_models=one_of("--keep-models", keep_models, ("none", "last", "all")),
        too_long=one_of("--too-long", too_long, TOO_LONG),
        max_tokens=max_tokens,
    )
    reading = reading_of(tasks, format, fields, skip_bad)
    found = model_of(model, precision, trust_remote_code)
    done = run_stream(reading, out, wanted, found, dry_run)
    if isinstance(done, dict) or not as_json:
        show_done(done, as_json, streamed)
    else:
        print_json(told(done))
