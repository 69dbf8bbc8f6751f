"""The command line: parse, call, print."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, cast

import typer

from modicum.errors import ModicumError, OptionError

if TYPE_CHECKING:
    from collections.abc import Callable

    from modicum.jobs.folders import Done
    from modicum.models import Model

TOO_LONG = ("drop", "truncate-prompt", "error")
PRECISIONS = ("auto", "bfloat16", "float32")
# Typer comes with a click of its own, or with click, by version: this is its UsageError.
_UsageError = cast("type[typer.BadParameter]", typer.BadParameter.__mro__[1])

app = typer.Typer(
    name="modicum",
    help="Choose the few examples worth tuning a language model on.",
    invoke_without_command=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Paths = Annotated[
    list[str],
    typer.Argument(
        metavar="POOL...",
        help="Files, folders, globs, name=path, or hf://org/name[:config][@split].",
        show_default=False,
    ),
]
ModelName = Annotated[
    str | None,
    typer.Option(
        "--model", help="Hub id, folder or .gguf file; by default the embedded SmolLM2-135M."
    ),
]
Format = Annotated[
    str | None, typer.Option("--format", help="alpaca, sharegpt, messages or prompt-completion.")
]
Fields = Annotated[
    list[str] | None,
    typer.Option("--fields", help="Which column holds what: instruction=COLUMN, …", metavar="A=B"),
]
SkipBad = Annotated[
    bool, typer.Option("--skip-bad", help="Set bad rows aside in rejected.jsonl, and go on.")
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="An option of the method.", metavar="KEY=VALUE"),
]
Seed = Annotated[int, typer.Option("--seed", help="Decides everything that is drawn.")]
Out = Annotated[
    Path | None, typer.Option("-o", "--out", help="Folder of the result; else one below runs/.")
]
Json = Annotated[bool, typer.Option("--json", help="Print the result for machines.")]
TooLong = Annotated[
    str, typer.Option("--too-long", help="Rows over the limit: drop, truncate-prompt or error.")
]
MaxTokens = Annotated[
    int | None,
    typer.Option("--max-tokens", min=1, help="The limit; the model's window if not given."),
]
Precision = Annotated[str, typer.Option("--precision", help="auto, bfloat16 or float32.")]
Trust = Annotated[
    bool, typer.Option("--trust-remote-code", help="Run code that comes with the model.")
]


Train = Annotated[
    list[str] | None,
    typer.Option(
        "--train", help="An option of TRL's trainer, or a file of them.", metavar="KEY=VALUE|YAML"
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Calibrate for ten seconds, print the plan, and stop.")
]


@app.callback()
def no_command(context: typer.Context) -> None:
    """Without a command, show the help."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command("select")
def select_command(
    pool: Paths,
    method: Annotated[str, typer.Option("-m", "--method", help="See `modicum methods`.")],
    budget: Annotated[str, typer.Option("-k", "--budget", help="500, 5% or 200ktok.")],
    model: ModelName = None,
    target: Annotated[
        list[str] | None,
        typer.Option("--target", help="Rows of the task in view; may be repeated."),
    ] = None,
    chosen: Annotated[
        list[str] | None, typer.Option("--chosen", help="Rows already taken; may be repeated.")
    ] = None,
    decontaminate: Annotated[
        list[str] | None,
        typer.Option("--decontaminate", help="Evaluation rows; may be repeated."),
    ] = None,
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
    """Pick rows of a pool by a method, within a budget."""
    from modicum import show
    from modicum.jobs.reading import Reading
    from modicum.jobs.select import run_select
    from modicum.training.options import Recipe

    done = run_select(
        Reading(tuple(pool), format, _pairs("--fields", fields), skip_bad),
        out,
        method=method,
        budget=budget,
        settings=_pairs("--set", settings),
        seed=seed,
        model=_model(model, precision, trust_remote_code),
        target=target or [],
        chosen=chosen or [],
        decontaminate=decontaminate or [],
        train=Recipe.parse(train or []),
        too_long=_one_of("--too-long", too_long, TOO_LONG),
        max_tokens=max_tokens,
        dry=dry_run,
    )
    _show(done, as_json, show.selection)


@app.command("score")
def score_command(
    pool: Paths,
    scores: Annotated[
        list[str],
        typer.Option("--with", help="length, loss, ifd, entropy, …; commas between, or repeated."),
    ],
    model: ModelName = None,
    out: Out = None,
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
    from modicum.jobs.reading import Reading
    from modicum.jobs.score import run_score

    done = run_score(
        Reading(tuple(pool), format, _pairs("--fields", fields), skip_bad),
        out,
        scores=tuple(name.strip() for name in ",".join(scores).split(",") if name.strip()),
        model=_model(model, precision, trust_remote_code),
        too_long=_one_of("--too-long", too_long, TOO_LONG),
        max_tokens=max_tokens,
    )
    _print(done.to_json()) if as_json else show.scores(done)


@app.command("train")
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
    from modicum.jobs.reading import Reading
    from modicum.jobs.train import run_train
    from modicum.training.options import Recipe
    from modicum.training.together import Processes

    done = run_train(
        Reading(tuple(files), format, _pairs("--fields", fields), skip_bad),
        out,
        recipe=Recipe.parse(train or [], lora=lora),
        seed=seed,
        model=_model(model, precision, trust_remote_code),
        too_long=_one_of("--too-long", too_long, TOO_LONG),
        max_tokens=max_tokens,
        dry=dry_run,
    )
    if Processes().first:  # one of several speaks for all
        _show(done, as_json, show.training)


@app.command("check")
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
    from modicum.jobs.reading import Reading

    report = run_check(
        Reading(tuple(pool), format, _pairs("--fields", fields)), _model(model), max_tokens
    )
    _print(report.to_json()) if as_json else show.report(report)
    raise typer.Exit(0 if report.ok else 1)


@app.command("methods")
def methods_command(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", show_default=False)] = None,
    as_json: Json = False,
) -> None:
    """Say what each method needs and costs, and when it fails."""
    from modicum import show
    from modicum.catalogue import about

    found = about(name)
    _print(found) if as_json else show.methods(found)


def main() -> NoReturn:
    """Run the command line: 0 done, 1 the answer is no, 2 wrong input, 130 interrupted."""
    # Before torch is imported. By default its threads spin while they wait, and where another
    # program wants a core they spin its turn away: measuring was 6 times slower beside one.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if not sys.stderr.isatty():  # before any library that draws bars of its own is imported
        os.environ.setdefault("TQDM_DISABLE", "1")
    sys.path.append(str(Path.cwd()))  # for -m module:Object; last, so that it shadows nothing
    try:
        status = app(standalone_mode=False, prog_name="modicum")
    except ModicumError as error:
        _complain(str(error))
        status = 2
    except OSError as error:
        _complain(f"{error.filename}: {error.strerror}" if error.filename else str(error))
        status = 2
    except _UsageError as error:
        if said := error.format_message():  # empty where the help was shown instead
            _complain(f"{said} (see --help)")
        status = 2
    except (KeyboardInterrupt, typer.Abort):
        status = 130
    if status == 130:  # newer versions of Typer return it, older ones raise
        _complain("interrupted; run the same line again to go on")
    sys.exit(status)


def _complain(what: str) -> None:
    typer.echo(f"modicum: {' '.join(what.split())}", err=True)


def _model(name: str | None, precision: str = "auto", trust_remote_code: bool = False) -> Model:
    from modicum.models import find_model

    chosen = _one_of("--precision", precision, PRECISIONS)
    return find_model(name, precision=chosen, trust_remote_code=trust_remote_code)


def _pairs(option: str, given: list[str] | None) -> dict[str, str]:
    """`KEY=VALUE` words; several may share one, with commas between, for --fields."""
    words = [
        w for text in given or [] for w in (text.split(",") if option == "--fields" else [text])
    ]
    pairs: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not (key and equals):
            raise OptionError(f"{option} {word}: write KEY=VALUE")
        if key in pairs:
            raise OptionError(f"{option} {key} is given twice")
        pairs[key] = value
    return pairs


def _show(done: Done | dict[str, Any], as_json: bool, shown: Callable[[Done], None]) -> None:
    from modicum import show

    if isinstance(done, dict):
        _print(done) if as_json else show.plan(done)
    elif as_json:
        _print(done.to_json())
    else:
        shown(done)


def _one_of(option: str, value: str, allowed: tuple[str, ...]) -> Any:
    if value not in allowed:
        raise OptionError(f"{option} {value}: choose {', '.join(allowed)}")
    return value


def _print(result: Any) -> None:
    print(json.dumps(result, ensure_ascii=False, allow_nan=False, indent=1))
