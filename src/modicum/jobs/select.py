"""`modicum select`: from files to a run folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modicum.errors import OptionError
from modicum.jobs.folders import Done, once, plan, shared, stem
from modicum.jobs.reading import Reading, read_other
from modicum.runs import inputs

if TYPE_CHECKING:
    from modicum.comparing import Rules
    from modicum.models import Model
    from modicum.pool import Pool
    from modicum.question import Question
    from modicum.scale import Engine
    from modicum.training.options import Recipe


AUTO_MEASURES = ("loss", "choice", "exact", "rouge")


@dataclass(frozen=True)
class Auto:
    """How many rows are enough is to be found out, by these held-out rows."""

    evaluation: Reading
    measure: str = "loss"
    epsilon: float = 0.05
    seeds: int = 2
    max_new_tokens: int = 64

    @staticmethod
    def of(budget: str, held_out: Reading, asked: Mapping[str, Any]) -> Auto | None:
        """What is asked of `-k auto`; None for another budget, which none of it goes with."""
        given = {key: value for key, value in asked.items() if value is not None}
        if budget != "auto":
            said = [*(["eval"] if held_out.paths else []), *given]
            if said:
                raise OptionError(
                    f"--{said[0]} belongs to -k auto; -k {budget} takes no such thing"
                )
            return None
        if not held_out.paths:
            raise OptionError("-k auto tunes and measures: give held-out rows, --eval FILE")
        if given.get("measure", "loss") not in AUTO_MEASURES:
            names = ", ".join(AUTO_MEASURES)
            raise OptionError(f"--measure {given['measure']}: -k auto takes one of {names}")
        return Auto(held_out, **given)

    def told(self, held_out: Pool | None) -> dict[str, Any]:
        """What decides how many rows are enough, as the command has it."""
        how = {"measure": self.measure, "epsilon": self.epsilon, "seeds": self.seeds}
        rows = held_out and inputs(held_out)
        named = dict(self.evaluation.fields or {})
        return {"evaluation": rows, "fields": named, **how, "max_new_tokens": self.max_new_tokens}

    def rules(self, seed: int, **how: Any) -> Rules:
        """How the sizes are compared."""
        from modicum.comparing import Rules

        return Rules(
            seeds=range(seed, seed + self.seeds),
            full_seeds=[],
            measures=[self.measure],
            max_new_tokens=self.max_new_tokens,
            **how,
        )


def check_auto(budget: str, auto: Auto | None, others: Sequence[str], dry: bool) -> None:
    """Refuse a budget that cannot be read, and what does not go with `auto`, or lacks it."""
    from modicum.selection.budget import Budget

    if auto is None:
        Budget.parse(budget)
        return
    if others:
        raise OptionError("-k auto takes no --chosen, --decontaminate or --filter; leave them out")
    if dry:
        raise OptionError(
            "-k auto finds out as it goes what it costs; compare -k 1%,5%,20% --dry-run says what "
            "so many rows take"
        )


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
    filters: Sequence[str] = (),
    plan_of: Mapping[str, Any] | None = None,
    memory: int | None = None,
    auto: Auto | None = None,
    engine: str | Engine = "local",
    say: Callable[[str], None],
    dry: bool = False,
) -> Done | dict[str, Any]:
    """`modicum select`; with `dry` only the plan of it, and nothing is written.

    `plan_of` is the line as the manifest keeps it; `say` is told what to know before any tuning.
    """
    from modicum.choose import answer
    from modicum.lineup import filters_of
    from modicum.output import write_selection
    from modicum.parts import build, find
    from modicum.question import ask
    from modicum.scale import engine_of
    from modicum.usable import meter_of

    # Before the pool is read: a slip in the command should not cost the reading of millions.
    check_auto(budget, auto, [*chosen, *decontaminate, *filters], dry)
    sieves = filters_of(filters)
    part = build(find("modicum.methods", method), settings)
    if train.given:
        train.check()
    pool = reading.read()
    others = _others(reading, target, chosen, decontaminate)
    held_out = auto.evaluation.read() if auto else None
    command = {"command": "select", "budget": budget, "seed": seed, "train": train.to_json()}
    command |= {"auto": auto and auto.told(held_out)}
    command |= {name: other and inputs(other) for name, other in others.items()}
    command |= _method(method, settings, part, sieves, model)
    command |= shared(reading, pool, model, too_long, max_tokens)
    runner = engine_of(engine)
    limits: dict[str, Any] = {"too_long": too_long, "max_tokens": max_tokens}
    meter = meter_of(model, **limits, precision="auto", store=None, engine=runner)
    how: dict[str, Any] = {"too_long": too_long, "train": train, "memory": memory}

    def asked() -> Question:
        return ask(pool, part, budget, meter, seed, **others, **how, filters=sieves)

    def work(folder: Path) -> None:
        if auto is None or held_out is None:
            made = answer(asked(), folder)
        else:
            from modicum.fewest import concluded, search

            aimed = (auto.rules(seed, **how), auto.epsilon, others["target"], say)
            made = concluded(search(pool, part, held_out, meter, folder, *aimed), folder)
        write_selection(made, folder, command, plan_of)

    if dry:
        return _foretold(asked())
    with closing(runner):
        return once(out, command, f"{stem(pool)}-{method}-{budget}-s{seed}", work)


def wanted_of(export: Sequence[str]) -> tuple[str, ...]:
    """The trainers of --export, refused before anything is read where there is none such."""
    from modicum.export import check_trainers

    return check_trainers(export) if export else ()


def exported(done: Done, trainers: Sequence[str]) -> list[Path]:
    """What a trainer needs, made from the finished folder: so it can be asked for later, too."""
    from modicum.export import export

    return export(done.folder, trainers) if trainers else []


def _foretold(question: Question) -> dict[str, Any]:
    told = {**question.predict(), "memory_limit_bytes": question.context.memory}
    return plan(told, question.pool)


def _others(
    reading: Reading, target: Sequence[str], chosen: Sequence[str], decontaminate: Sequence[str]
) -> dict[str, Any]:
    """The pools beside the one to choose from, as `ask` calls them; None where none is given."""
    return {
        "target": read_other(target, reading),
        "chosen": read_other(chosen, reading),
        "evaluation": read_other(decontaminate, reading, answers=False),
    }


def _method(
    method: str, settings: Mapping[str, str], part: Any, sieves: Sequence[Any], model: Model
) -> dict[str, Any]:
    """What decides what a method and the filters before it do."""
    from modicum.parts import code_of
    from modicum.question import decided_by, rests_on

    told: dict[str, Any] = {
        "method": method,
        "code": code_of(method),
        "settings": dict(sorted(settings.items())),
        "rests_on": rests_on(part, model),
    }
    if sieves:
        told["filters"] = [decided_by(each, model) for each in sieves]
    return told
