"""Commands that weigh evidence: compare."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

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
    NewTokens,
    Out,
    Paths,
    Precision,
    RayAddress,
    Seed,
    Seeds,
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
from modicum.errors import OptionError

if TYPE_CHECKING:
    from modicum.evaluation.judge import Judge


Methods = Annotated[
    str,
    typer.Option(
        "-m", "--method", help="k-center,lobass; k-center(view=lexical),…; or applicable: all."
    ),
]
Budgets = Annotated[
    str, typer.Option("-k", "--budget", help="500, 5% or 200ktok; several, commas between.")
]
HeldOut = Annotated[list[str], typer.Option("--eval", help="Held-out rows; may be repeated.")]
Measures = Annotated[
    str,
    typer.Option(
        "--measure", help="loss, choice, exact, rouge, judge, lm-eval:TASK; commas between."
    ),
]
Full = Annotated[bool, typer.Option("--full/--no-full", help="Tune on the whole pool as well.")]
FullSeeds = Annotated[
    int | None,
    typer.Option("--full-seeds", min=1, help="Seeds of the whole pool; as many as --seeds."),
]
Alike = Annotated[str, typer.Option("--match", help="What all arms have alike: epochs or steps.")]
JudgeUrl = Annotated[
    str | None, typer.Option("--judge", help="OpenAI-compatible endpoint of the judge.")
]
JudgeModel = Annotated[
    str | None, typer.Option("--judge-model", help="What the endpoint calls its model.")
]
KeepModels = Annotated[str, typer.Option("--keep-models", help="none or all of the tuned models.")]
ChooseOnce = Annotated[
    bool, typer.Option("--choose-once", help="All but random choose under the first seed alone.")
]

BudgetSeconds = Annotated[
    float | None,
    typer.Option(
        "--budget-seconds", min=1, help="Compare what fits into so many, the cheapest first."
    ),
]


def compare_command(
    pool: Paths,
    method: Methods,
    budget: Budgets,
    evaluation: HeldOut,
    eval_fields: EvalFields = None,
    measure: Measures = "loss",
    seeds: Seeds = 3,
    full: Full = True,
    full_seeds: FullSeeds = None,
    match: Alike = "epochs",
    judge: JudgeUrl = None,
    judge_model: JudgeModel = None,
    max_new_tokens: NewTokens = 64,
    keep_models: KeepModels = "none",
    choose_once: ChooseOnce = False,
    budget_seconds: BudgetSeconds = None,
    target: Target = None,
    model: ModelName = None,
    settings: Settings = None,
    train: Train = None,
    seed: Seed = 0,
    out: Out = None,
    dry_run: DryRun = False,
    memory: Memory = None,
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
    """Tune on what each method picks, and say which beats chance on held-out rows."""
    from modicum.comparing import Rules
    from modicum.jobs.compare import Wanted, measures_of, run_compare
    from modicum.show_evidence import compared, told
    from modicum.training.options import Recipe

    measures, tasks = measures_of(_words(measure))
    rules = Rules(
        seeds=range(seed, seed + seeds),
        full_seeds=_full(full, range(seed, seed + (full_seeds or seeds)), full_seeds),
        measures=measures,
        tasks=tasks,
        judge=_judge(judge, judge_model),
        max_new_tokens=max_new_tokens,
        match=one_of("--match", match, ("epochs", "steps")),
        train=Recipe.parse(train or []),
        choose_once=choose_once,
        keep_models=one_of("--keep-models", keep_models, ("none", "all")),
        too_long=one_of("--too-long", too_long, TOO_LONG),
        memory=memory_of(memory),
    )
    held_out = held_out_of(evaluation, eval_fields, skip_bad)
    given = pairs("--set", settings)
    wanted = Wanted(
        method, _words(budget), held_out, target or [], given, rules, max_tokens, budget_seconds
    )
    reading = reading_of(pool, format, fields, skip_bad)
    found = model_of(model, precision, trust_remote_code)
    runner = engine_of(engine, ray_address)
    done = run_compare(reading, out, wanted, found, say, dry_run, runner)
    if isinstance(done, dict) or not as_json:
        show_done(done, as_json, compared)
    else:
        print_json(told(done))


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",")]


def _full(full: bool, seeds: range, given: int | None) -> Sequence[int]:
    """The seeds under which the whole pool is an arm."""
    if given is not None and not full:
        raise OptionError("--full-seeds and --no-full are given; leave one of them out")
    return seeds if full else []


def _judge(url: str | None, name: str | None) -> Judge | None:
    if (url is None) != (name is None):
        raise OptionError("--judge URL and --judge-model NAME belong together; give both")
    if url is None or name is None:
        return None
    from modicum.evaluation.judge import Judge

    return Judge(url, name)
