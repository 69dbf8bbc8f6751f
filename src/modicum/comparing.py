"""Whether methods beat chance: pool, methods, budgets and held-out rows in, a comparison out."""

from __future__ import annotations

import json
import warnings
from collections.abc import Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from modicum.candidates import in_rows
from modicum.chat import hashed
from modicum.errors import InputError, OptionError
from modicum.evaluation.choices import unusable_choices
from modicum.evaluation.harness import installed
from modicum.evaluation.judge import Judge
from modicum.evaluation.measures import check_measures
from modicum.evidence import BASELINES, FULL, Compared, Contest, Exam, run
from modicum.evidence.affordable import able, affordable
from modicum.evidence.contest import Keep, Match
from modicum.evidence.twins import aimed_at, overlap_notes, the_same
from modicum.lineup import lineup
from modicum.meter import Meter
from modicum.models import Model, Precision
from modicum.overlap import Overlap, decontaminate
from modicum.parts import build, find
from modicum.pool import Pool
from modicum.question import check_aim, decided_by
from modicum.scale import Engine, engine_of
from modicum.selection.budget import Budget
from modicum.selection.memory import parse
from modicum.training import Recipe
from modicum.usable import TooLong, check_seed, kinds, meter_of, unusable

if TYPE_CHECKING:
    from modicum.methods import Method

LEAST = 2  # held-out rows
FEW = 100  # held-out rows: with 50, intervals covered 92.4 to 97.9 % (docs/evaluation.md)


@dataclass(frozen=True)
class Rules:
    """How methods are compared: alike for all of them."""

    seeds: Sequence[int] = (0, 1, 2)
    full_seeds: Sequence[int] | None = None  # of the whole pool; None: all seeds
    measures: Sequence[str] = ("loss", "bits")
    tasks: Sequence[str] = ()  # of EleutherAI's harness
    judge: Judge | None = None
    max_new_tokens: int = 64
    match: Match = "epochs"
    train: Recipe = field(default_factory=Recipe)
    choose_once: bool = False
    keep_models: Keep = "none"
    too_long: TooLong = "drop"
    memory: str | int | None = None

    @property
    def whole(self) -> Sequence[int]:
        """The seeds under which the whole pool is an arm."""
        return self.seeds if self.full_seeds is None else self.full_seeds

    def check(self) -> None:
        """Refuse what cannot be done, before anything is read or measured."""
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise OptionError(f"seeds {list(self.seeds)}: give at least one, and each once")
        for seed in self.seeds:
            check_seed(seed)
        if left := set(self.whole) - set(self.seeds):
            raise OptionError(
                f"--full-seeds asks for the whole pool under seed {min(left)}, and --seeds for no "
                f"other arm under it; give at most {len(self.seeds)}"
            )
        check_measures(self.measures)
        if ("judge" in self.measures) != (self.judge is not None):
            raise OptionError("the measure judge and --judge URL --judge-model NAME go together")
        self.train.check()

    @property
    def alike(self) -> Match:
        """What all arms have alike: steps as well where the training options say how many."""
        return "steps" if "max_steps" in self.train.given else self.match


@dataclass(frozen=True)
class Comparison:
    """Methods to compare, on what and how, everything in it checked; nothing measured yet."""

    contest: Contest
    methods: Mapping[str, Method]
    rules: Rules
    overlaps: Sequence[Overlap]  # of the pool as it was given, with the held-out rows
    left_out: Mapping[int, str]  # rows of that pool that no arm learns from
    not_examined: Mapping[int, str]  # held-out rows that cannot be measured
    notes: Sequence[str]  # what a reader should know before anything is trained
    given: tuple[Pool, Pool] = field(repr=False)  # pool and held-out rows, with all their rows

    def run(self) -> Compared:
        """Run what is not finished yet."""
        made = run(self.contest, self.methods, self.rules.seeds, self.rules.whole)
        return replace(made, record={**self.about, **made.record})

    def told(self) -> list[str]:
        """The notes, once no method lacks rows to aim at: what is refused is said alone."""
        for part in self.methods.values():
            check_aim(part, self.contest.target)
        return list(self.notes)

    def within(self, seconds: float | None, tolerant: Collection[str]) -> Comparison:
        """The same of the methods alone that fit into so many seconds, cheapest first.

        Of those that are `tolerant`, what cannot choose here is left out; of others it is an error.
        """
        rules, contest = self.rules, self.contest
        fit = affordable(contest, self.methods, rules.seeds, rules.whole, seconds, tolerant)
        return replace(self, methods=fit.methods, notes=[*self.notes, *fit.notes])

    def able(self, tolerant: Collection[str]) -> Comparison:
        """The same without those of the `tolerant` methods that cannot choose here; they try."""
        some = {label: part for label, part in self.methods.items() if label in tolerant}
        fit = able(self.contest, some, self.rules.seeds)
        kept = {k: part for k, part in self.methods.items() if k not in fit.left_out}
        return replace(self, methods=kept, notes=[*self.notes, *fit.notes])

    @property
    def about(self) -> dict[str, Any]:
        """What was compared on what, as `compare.json` has it."""
        contest, (pool, evaluation) = self.contest, self.given
        return {
            "pool": {
                "rows": len(contest.pool),
                "tokens": int(contest.lengths_N.sum()),
                "rejected": len(pool.rejected),
                "left_out": kinds(self.left_out.values()),
            },
            "evaluation": {
                "rows": len(contest.exam.rows),
                "ids": contest.exam.rows.ids,
                "rejected": len(evaluation.rejected),
                "left_out": kinds(self.not_examined.values()),
            },
            "overlaps": [
                {
                    "id": pool.ids[each.position],
                    "evaluation": evaluation.ids[each.evaluation],
                    "kind": each.kind,
                    "text": each.text,
                    "holders": each.holders,
                }
                for each in self.overlaps
            ],
            "notes": list(self.notes),
        }


def compare(
    pool: Pool,
    methods: str | Sequence[str] | Mapping[str, Method],
    budget: str | int | Sequence[str | int],
    evaluation: Pool,
    model: str | Path | Model | None = None,
    *,
    folder: str | Path,
    seeds: int | Sequence[int] = 3,
    full: bool = True,
    settings: Mapping[str, str] | None = None,
    target: Pool | None = None,
    train: Mapping[str, Any] | Recipe | str | Path | None = None,
    max_tokens: int | None = None,
    precision: Precision = "auto",
    engine: str | Engine = "local",
    ray_address: str | None = None,
    **rules: Any,
) -> Compared:
    """Tune a model on what each method picks, and say which difference is more than chance.

    Beside the methods there are always `random`, drawn anew under every seed, `longest`, and with
    `full` the whole pool. `evaluation` rows are learned from by none. `rules` are the fields of
    `Rules`: measures, match, judge, …; `engine` is as for `select`. What the pool shares with
    held-out rows is a warning before anything is trained. What is finished lies in `folder`, where
    the same call, killed, goes on; its `record` is what `compare.json` holds.
    """
    named = list(range(seeds)) if isinstance(seeds, int) else list(seeds)
    if unknown := set(rules) - {each.name for each in fields(Rules)}:
        known = ", ".join(each.name for each in fields(Rules))
        raise OptionError(f"compare has no option {min(unknown)}; it has {known}")
    if isinstance(rules.get("measures"), str):
        rules["measures"] = [word.strip() for word in rules["measures"].split(",")]
    given = Rules(seeds=named, train=Recipe.of(train), **rules)
    given = given if full else replace(given, full_seeds=[])
    runner = engine_of(engine, ray_address)
    meter = meter_of(
        model,
        too_long=given.too_long,
        max_tokens=max_tokens,
        precision=precision,
        store=None,
        engine=runner,
    )
    prepared = prepare(
        pool,
        _lined_up(methods, settings or {}),
        str(budget).split(",") if isinstance(budget, str | int) else list(budget),
        evaluation,
        meter,
        Path(folder),
        given,
        target,
    )
    for note in prepared.told():
        warnings.warn(note, stacklevel=2)
    with closing(runner):
        return prepared.run()


def _lined_up(
    methods: str | Sequence[str] | Mapping[str, Method], settings: Mapping[str, str]
) -> Mapping[str, Method]:
    if isinstance(methods, Mapping):
        return methods
    line = methods if isinstance(methods, str) else ",".join(methods)
    return lineup("modicum.methods", line, settings)


def prepare(
    pool: Pool,
    methods: Mapping[str, Method],
    budgets: Sequence[str | int],
    evaluation: Pool,
    meter: Meter,
    folder: Path,
    rules: Rules,
    target: Pool | None = None,
) -> Comparison:
    """Everything that can be refused before anything is measured or trained."""
    for name, rows in (("pool", pool), ("evaluation", evaluation)):
        if not isinstance(rows, Pool):
            raise InputError(f"{name} is {type(rows).__name__}; read files with Pool.read(…) first")
    rules.check()
    for task in rules.tasks:
        installed(task)
    overlaps = decontaminate(pool, evaluation)
    notes = overlap_notes(overlaps, pool, evaluation)
    left_out = unusable(pool, meter, rules.too_long) | the_same(pool, evaluation, overlaps)
    kept = meter.narrow(pool, np.setdiff1d(np.arange(len(pool)), list(left_out)))
    limits = _limits(budgets, pool, left_out, rules.alike)
    rules.train.check(int(meter.rendered(kept).lengths_N.max()))
    examined, not_examined = _examined(evaluation, meter, rules)
    notes += _few(examined)
    target = aimed_at(target, evaluation, notes)
    everyone = with_baselines(methods)
    exam = Exam(
        examined, tuple(rules.measures), rules.max_new_tokens, rules.judge, tuple(rules.tasks)
    )
    chosen_under = rules.seeds[0] if rules.choose_once else None
    about = {
        "pool": kept.fingerprint,
        "sources": hashed("\0".join(kept.sources)),
        "target": target and target.fingerprint,
        "methods": {label: decided_by(part, meter.model) for label, part in everyone.items()},
        "model": [meter.model.fingerprint, meter.model.dtype_name, meter.max_tokens],
        "exam": exam.how,
        "train": rules.train.to_json(),
        "chosen_under": chosen_under,
    }
    contest = Contest(
        folder,
        hashed(json.dumps(about, sort_keys=True, default=str)),
        kept,
        target,
        meter,
        exam,
        rules.train,
        limits,
        rules.alike,
        rules.keep_models,
        chosen_under,
        None if rules.memory is None else parse(rules.memory),
    )
    given = (pool, evaluation)
    return Comparison(contest, everyone, rules, overlaps, left_out, not_examined, notes, given)


def with_baselines(methods: Mapping[str, Method]) -> dict[str, Method]:
    """The methods, and what they are held against if it is not among them."""
    missing = [
        name
        for name in BASELINES
        if name not in methods
        and (name == "random" or all(label.partition("(")[0] != name for label in methods))
    ]
    if FULL in methods:
        raise OptionError(f"{FULL} is no method: the whole pool is an arm unless --no-full is said")
    return {**methods, **{name: build(find("modicum.methods", name), {}) for name in missing}}


def _few(examined: Pool) -> list[str]:
    """What a reader of intervals should know where hardly any rows stand behind them."""
    if len(examined) >= FEW:
        return []
    return [
        f"{len(examined)} held-out rows are few: intervals miss the truth more often than "
        "they say, and small differences are not shown; give 200 and more"
    ]


def _limits(
    budgets: Sequence[str | int], pool: Pool, left_out: dict[int, str], match: Match
) -> dict[str, Budget]:
    """The budgets as they were given, shares as rows of the pool as it was given."""
    limits = {str(each): in_rows(Budget.parse(each), pool, left_out) for each in budgets}
    said = ",".join(map(str, budgets))
    if len(limits) < len(budgets):
        raise OptionError(f"-k {said}: give every budget once")
    if match == "steps" and len({limit.unit for limit in limits.values()}) > 1:
        raise OptionError(f"-k {said} --match steps: give all budgets in rows, or all in tokens")
    return limits


def _examined(evaluation: Pool, meter: Meter, rules: Rules) -> tuple[Pool, dict[int, str]]:
    """The held-out rows that the model can read, with their choices where it has to choose."""
    not_examined = unusable(evaluation, meter, rules.too_long)
    if "choice" in rules.measures:
        not_examined |= unusable_choices(evaluation, meter)
    kept = np.setdiff1d(np.arange(len(evaluation)), list(not_examined))
    if len(kept) < LEAST:
        why = f": {next(iter(not_examined.values()))}" if not_examined else ""
        raise InputError(f"--eval has {len(kept)} rows that can be used, {LEAST} are needed{why}")
    return meter.narrow(evaluation, kept), not_examined
