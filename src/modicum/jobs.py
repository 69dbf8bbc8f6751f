"""What a command does from files to a run folder: read, do the work once, leave the result."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modicum.errors import InputError, ModicumError, OptionError, RunError
from modicum.pool import Pool
from modicum.runs import give_up, inputs, open_run, run_name
from modicum.training.together import Processes, launched

if TYPE_CHECKING:
    from modicum.check import Report
    from modicum.models import Model
    from modicum.question import Question
    from modicum.training.options import Recipe
    from modicum.tuning import Training

_SHOWN = 3  # bad rows named in an error


@dataclass(frozen=True)
class Reading:
    """Which inputs, and how they are to be understood."""

    paths: tuple[str, ...]
    format: str | None = None
    fields: Mapping[str, str] | None = None
    skip_bad: bool = False
    answers: bool = True  # False: questions alone will do

    def read(self) -> Pool:
        """The pool. Bad rows are refused, or with `skip_bad` left in `Pool.rejected`."""
        from modicum.readers import read

        pool = read(self.paths, format=self.format, fields=self.fields, answers=self.answers)
        bad = len(pool.rejected)
        if not len(pool):
            raise InputError(f"none of the {bad:,} rows can be used; the first: {pool.rejected[0]}")
        if bad and not self.skip_bad:
            shown = "; ".join(str(row) for row in pool.rejected[:_SHOWN])
            more = f"; and {bad - _SHOWN:,} more" if bad > _SHOWN else ""
            raise InputError(
                f"{bad:,} of {len(pool) + bad:,} rows cannot be used: {shown}{more}. "
                "`modicum check` counts them by reason; --skip-bad sets them aside"
            )
        return pool


@dataclass(frozen=True)
class Done:
    """A finished run folder."""

    folder: Path
    manifest: dict[str, Any]
    again: bool = False  # it was finished before, and nothing was done

    def to_json(self) -> dict[str, Any]:
        """The counts, where the result lies, and what it cost."""
        return {
            **self.manifest["counts"],
            "folder": str(self.folder),
            "subset": [str(self.folder / name) for name in self.manifest.get("subset", [])],
            "again": self.again,
            "ledger": self.manifest["ledger"],
        }


def run_select(
    reading: Reading,
    out: Path | None,
    *,
    method: str,
    budget: str,
    settings: Mapping[str, str],
    seed: int,
    model: Model,
    target: Sequence[str],
    chosen: Sequence[str],
    decontaminate: Sequence[str],
    train: Recipe,
    too_long: Any,
    max_tokens: int | None,
    dry: bool = False,
) -> Done | dict[str, Any]:
    """`modicum select`; with `dry` only the plan of it, and nothing is written."""
    from modicum.choose import answer
    from modicum.output import write_selection
    from modicum.parts import build, code_of, find
    from modicum.question import ask
    from modicum.selection.budget import Budget

    # Before the pool is read: a slip in the command should not cost the reading of millions.
    limit, part = Budget.parse(budget), build(find("modicum.methods", method), settings)
    if train.given:
        train.check()
    pool = reading.read()
    others = {
        "target": _read_other(target, reading),
        "chosen": _read_other(chosen, reading),
        "evaluation": _read_other(decontaminate, reading, answers=False),
    }
    command = {
        "command": "select",
        "method": method,
        "code": code_of(method),
        "budget": budget,
        "settings": dict(sorted(settings.items())),
        "seed": seed,
        "train": train.to_json(),
        "reference": _reference(part, model),
        **{name: other and inputs(other) for name, other in others.items()},
        **_shared(reading, pool, model, too_long, max_tokens),
    }

    def asked() -> Question:
        return ask(
            pool,
            part,
            limit,
            model,
            seed,
            **others,
            too_long=too_long,
            max_tokens=max_tokens,
            precision="auto",
            store=None,
            train=train,
        )

    def work(folder: Path) -> None:
        write_selection(answer(asked(), folder), folder, command)

    if dry:
        return _plan(asked().predict(), pool)
    return _once(out, command, f"{_stem(pool)}-{method}-{budget}-s{seed}", work)


def run_train(
    reading: Reading,
    out: Path,
    *,
    recipe: Recipe,
    seed: int,
    model: Model,
    too_long: Any,
    max_tokens: int | None,
    dry: bool = False,
) -> Done | dict[str, Any]:
    """`modicum train`, in one process or as one of several that train together."""
    from modicum.tuning import prepare

    recipe.check()
    pool = reading.read()
    command = {
        "command": "train",
        "train": recipe.to_json(),
        "seed": seed,
        **_shared(reading, pool, model, too_long, max_tokens),
    }

    def prepared() -> Training:
        return prepare(
            pool,
            model,
            train=recipe,
            lora=False,
            seed=seed,
            too_long=too_long,
            max_tokens=max_tokens,
        )

    processes = Processes()

    def work(folder: Path) -> None:
        prepared().finish(folder, processes)

    if dry:
        return _plan(prepared().predict(), pool)
    return _once(out, command, "", work, processes)


def run_score(
    reading: Reading,
    out: Path | None,
    *,
    scores: tuple[str, ...],
    model: Model,
    too_long: Any,
    max_tokens: int | None,
) -> Done:
    """`modicum score`."""
    from modicum.output import write_scores
    from modicum.scoring import score, scorers

    scorers(scores)
    pool = reading.read()
    command = {
        "command": "score",
        "scores": list(scores),
        **_shared(reading, pool, model, too_long, max_tokens),
    }

    def work(folder: Path) -> None:
        scored = score(pool, scores, model, too_long=too_long, max_tokens=max_tokens)
        write_scores(scored, folder, command)

    return _once(out, command, f"{_stem(pool)}-scores", work)


def check(reading: Reading, model: Model, max_tokens: int | None) -> Report:
    """`modicum check`."""
    from modicum.check import Lengths
    from modicum.check import check as check_pool
    from modicum.meter import Meter
    from modicum.readers import read

    pool = read(reading.paths, format=reading.format, fields=reading.fields)
    meter = Meter(model, limit=max_tokens)
    rendered = meter.rendered(pool)
    lengths = Lengths(
        rendered.lengths_N, rendered.answer_lengths_N, meter.max_tokens, rendered.errors
    )
    return check_pool(pool, lengths)


def _once(
    out: Path | None,
    command: dict[str, Any],
    words: str,
    work: Callable[[Path], None],
    processes: Processes | None = None,
) -> Done:
    """Do the work unless this very command has finished in the folder before.

    Of several processes the first decides; the work is for all of them to do together.
    """
    folder = out or Path("runs") / run_name(command, _plain(words))
    if processes is None and launched():
        raise OptionError(f"{command['command']} runs in one process: only train takes several")
    first = processes is None or processes.first
    again = open_run(folder, command) if first else False
    if processes is not None:
        again = processes.told(again)
    if not again:
        try:
            work(folder)
        except ModicumError:  # put right, the line is another command: let it have the folder
            if first:
                give_up(folder)
            raise
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    for name in manifest.get("subset", []):
        if not (folder / name).exists():
            raise RunError(
                f"{folder} holds a finished run, but {name} is missing; "
                "remove the folder and run the same line again"
            )
    return Done(folder, manifest, again)


def _reference(part: Any, model: Model) -> str | None:
    """Which model a method measures with besides the one given, as it lies there now."""
    from modicum.models import find_model

    named = getattr(part, "reference", None)
    if not isinstance(named, str | Path):
        return None
    return find_model(named, trust_remote_code=model.trust_remote_code).fingerprint


def _plan(predicted: dict[str, Any], pool: Pool) -> dict[str, Any]:
    return {"kept": len(pool), "rejected": len(pool.rejected), **predicted}


def _shared(
    reading: Reading, pool: Pool, model: Model, too_long: str, max_tokens: int | None
) -> dict[str, Any]:
    return {
        "inputs": inputs(pool),
        "format": reading.format,
        "fields": dict(reading.fields or {}),
        "skip_bad": reading.skip_bad,
        "model": model.fingerprint,
        "precision": model.precision,
        "too_long": too_long,
        "max_tokens": max_tokens,
    }


def _read_other(paths: Sequence[str], reading: Reading, answers: bool = True) -> Pool | None:
    """Rows beside the pool. They may lie in another format, so only `skip_bad` holds for both."""
    if not paths:
        return None
    return Reading(tuple(paths), skip_bad=reading.skip_bad, answers=answers).read()


def _stem(pool: Pool) -> str:
    return Path(pool.files[0].path).name.partition(".")[0]


def _plain(words: str) -> str:
    return "".join(c if c.isalnum() or c in "-_.%" else "-" for c in words)
