"""What commands share: their options, and how those are read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modicum.errors import OptionError
from modicum.visible import as_json, visible

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from modicum.jobs.folders import Done
    from modicum.jobs.reading import Reading
    from modicum.models import Model
    from modicum.scale import Engine
    from modicum.tags import Tagger

TOO_LONG = ("drop", "truncate-prompt", "error")
PRECISIONS = ("auto", "bfloat16", "float32")

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
EvalFields = Annotated[
    list[str] | None,
    typer.Option("--eval-fields", help="As --fields, of the held-out rows.", metavar="A=B"),
]
SkipBad = Annotated[
    bool, typer.Option("--skip-bad", help="Set bad rows aside in rejected.jsonl, and go on.")
]
Target = Annotated[
    list[str] | None,
    typer.Option("--target", help="Rows of the task in view; may be repeated."),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="An option of the method.", metavar="KEY=VALUE"),
]
Seeds = Annotated[int, typer.Option("--seeds", min=1, help="So many, from --seed on.")]
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
NewTokens = Annotated[
    int, typer.Option("--max-new-tokens", min=1, help="The longest answer that is written.")
]
PerTask = Annotated[
    bool, typer.Option("--per-task", help="The budget is of each old task on average, not of all.")
]
TaggerUrl = Annotated[
    str | None,
    typer.Option("--tagger", help="OpenAI-compatible endpoint that tags instructions, for inscl."),
]
TaggerModel = Annotated[
    str | None, typer.Option("--tagger-model", help="What the endpoint calls its model.")
]
Memory = Annotated[
    str | None,
    typer.Option(
        "--memory",
        help="What selectors may take beside their vectors: 4GiB, 512MB; half of what is free.",
        show_default=False,
    ),
]
EngineName = Annotated[
    str, typer.Option("--engine", help="Who measures: local, or ray (workers of a cluster).")
]
RayAddress = Annotated[
    str | None,
    typer.Option("--ray-address", help="A running cluster; else RAY_ADDRESS, or a Ray of its own."),
]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Say what it would take, by a short calibration, and stop."),
]


def model_of(name: str | None, precision: str = "auto", trust_remote_code: bool = False) -> Model:
    from modicum.models import find_model

    chosen = one_of("--precision", precision, PRECISIONS)
    return find_model(name, precision=chosen, trust_remote_code=trust_remote_code)


def reading_of(
    paths: Sequence[str], format: str | None, fields: list[str] | None, skip_bad: bool = False
) -> Reading:
    from modicum.jobs.reading import Reading

    return Reading(tuple(paths), format, pairs("--fields", fields), skip_bad)


def held_out_of(paths: Sequence[str] | None, fields: list[str] | None, skip_bad: bool) -> Reading:
    from modicum.jobs.reading import Reading

    named = pairs("--eval-fields", fields)
    return Reading(tuple(paths or ()), None, named, skip_bad, option="--eval-fields")


def tagger_of(url: str | None, name: str | None) -> Tagger | None:
    if (url is None) != (name is None):
        raise OptionError("--tagger URL and --tagger-model NAME belong together; give both")
    if url is None or name is None:
        return None
    from modicum.tags.endpoint import Endpoint

    return Endpoint(url, name)


def pairs(option: str, given: list[str] | None) -> dict[str, str]:
    """`KEY=VALUE` words; several may share one, with commas between, for --fields."""
    words = [w for text in given or [] for w in (text.split(",") if "fields" in option else [text])]
    pairs: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not (key and equals):
            raise OptionError(f"{option} {word}: write KEY=VALUE")
        if key in pairs:
            raise OptionError(f"{option} {key} is given twice")
        pairs[key] = value
    return pairs


def memory_of(given: str | None) -> int | None:
    from modicum.selection.memory import parse

    return None if given is None else parse(given)


def engine_of(name: str, ray_address: str | None) -> Engine:
    from modicum import scale

    return scale.engine_of(one_of("--engine", name, ("local", "ray")), ray_address)


def say(note: str) -> None:
    """What the user should know before anything is trained."""
    typer.echo(f"note: {visible(note)}", err=True)


def show_done(done: Done | dict[str, Any], as_json: bool, shown: Callable[[Done], None]) -> None:
    from modicum import show

    if isinstance(done, dict):
        print_json(done) if as_json else show.plan(done)
    elif as_json:
        print_json(done.to_json())
    else:
        shown(done)


def one_of(option: str, value: str, allowed: tuple[str, ...]) -> Any:
    if value not in allowed:
        raise OptionError(f"{option} {value}: choose {', '.join(allowed)}")
    return value


def print_json(result: Any) -> None:
    print(as_json(result))
