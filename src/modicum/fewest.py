"""How few rows are enough: pool, method and held-out rows in, a selection out."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from modicum import durable
from modicum.choose import Selection, answer
from modicum.comparing import Rules, prepare
from modicum.context import Context
from modicum.evidence.growing import EPSILON, Grown, grow
from modicum.meter import Meter
from modicum.models import Model, Precision
from modicum.parts import build, describe, find
from modicum.pool import Pool
from modicum.question import Question, ask
from modicum.selection.budget import Budget, Step
from modicum.training import Recipe
from modicum.usable import TooLong, meter_of

RECORD = "auto.json"


@dataclass(frozen=True)
class Found:
    """How many rows are enough, the question which ones, and what was said beforehand."""

    question: Question
    grown: Grown
    method: Any  # that was asked for
    notes: Sequence[str]


@dataclass(frozen=True)
class _Everything:
    """All rows, as they stand: where fewer are not enough there is nothing to choose."""

    name: ClassVar[str] = "whole pool"

    def __call__(self, context: Context) -> Iterator[Step]:
        return (Step(i, "one of the whole pool") for i in range(len(context.pool)))


def enough(
    pool: Pool,
    method: Any,
    evaluation: Pool,
    model: str | Path | Model | None = None,
    seed: int = 0,
    *,
    work: str | Path,
    seeds: int = 2,
    epsilon: float = EPSILON,
    measures: Sequence[str] = ("loss",),
    target: Pool | None = None,
    train: Mapping[str, Any] | Recipe | str | Path | None = None,
    max_new_tokens: int = 64,
    too_long: TooLong = "drop",
    max_tokens: int | None = None,
    precision: Precision = "auto",
    memory: str | int | None = None,
    **options: Any,
) -> Selection:
    """Pick as few rows as are enough, judged by models tuned on ever larger subsets (`grow`).

    `records["auto.json"]` of the selection has what was tried, spent and expected of more rows.
    Rows of the pool that ask what a held-out row asks are not picked. The folder `work` keeps what
    is finished; the same call, killed, goes on there.
    """
    rules = Rules(
        seeds=range(seed, seed + seeds),
        full_seeds=[],
        measures=measures,
        max_new_tokens=max_new_tokens,
        train=Recipe.of(train),
        too_long=too_long,
        memory=memory,
    )
    meter = meter_of(
        model, too_long=too_long, max_tokens=max_tokens, precision=precision, store=None
    )
    part = build(find("modicum.methods", method) if isinstance(method, str) else method, options)
    return concluded(
        search(pool, part, evaluation, meter, Path(work), rules, epsilon, target, _warn), Path(work)
    )


def search(
    pool: Pool,
    part: Any,
    evaluation: Pool,
    meter: Meter,
    work: Path,
    rules: Rules,
    epsilon: float,
    target: Pool | None,
    say: Callable[[str], None],
) -> Found:
    """How many rows are enough; `say` is told beforehand what held-out rows the pool shares."""
    label = describe(part)["name"]
    asked = prepare(pool, {label: part}, ["1"], evaluation, meter, work / "auto", rules, target)
    for each in asked.told():
        say(each)
    contest = replace(asked.contest, keep_work=True)
    grown = grow(contest, label, part, rules.seeds, epsilon)
    whole = grown.selection is None
    question = ask(
        pool,
        _Everything() if whole else part,
        Budget(float(grown.rows), "rows"),
        meter,
        rules.seeds[0],
        target=None if whole else contest.target,
        barred=asked.left_out,
        too_long=rules.too_long,
        train=rules.train,
        memory=rules.memory,
    )
    return Found(question, grown, part, asked.notes)


def concluded(found: Found, work: Path) -> Selection:
    """The rows that are enough, as they were measured, with all that led there."""
    grown, selections = found.grown, work / "auto" / "selections"
    if grown.selection is not None:  # what the method tuned to choose them is not tuned again
        _move(selections / grown.selection / "work", work)
    made = answer(found.question, work, foretell=False)
    made.meter.ledger.add(grown.arms)  # measuring the untuned model is on it already
    taken = [made.pool.ids[i] for i in made.picks]
    other = len(set(taken) - set(grown.ids))
    again = (f"chosen anew, {other:,} of the rows are others than those measured",) * bool(other)
    for kept in selections.glob("*/work"):
        durable.remove(kept)
    return replace(
        made,
        method=describe(found.method),
        notes=(note(grown.record), *again, *found.notes, *made.notes),
        records={**made.records, RECORD: grown.record},
    )


def _move(kept: Path, work: Path) -> None:
    for path in kept.iterdir() if kept.exists() else ():
        if not (work / path.name).exists():
            durable.move(path, work / path.name)


def _warn(said: str) -> None:
    warnings.warn(said, stacklevel=3)


def note(record: Mapping[str, Any]) -> str:
    """What was found, in one line."""
    sizes = {each["rows"]: each for each in record["sizes"]}
    taken, last = sizes[record["rows"]], record["sizes"][-1]
    gain = f"{taken['gain']:.4g} ({taken['low']:.4g} to {taken['high']:.4g})"
    said = f"gain in {record['measure']} over the untuned model {gain}"
    if record["rows"] == record["of"]:
        few = record["curve"] is None
        why = "too few sizes were tried to tell" if few else "fewer were not enough"
        return f"the whole pool of {record['of']:,} rows was taken: {why}; {said}"
    expected = record["expected"]
    more = "twice as many are" if 2 * record["rows"] < record["of"] else "the whole pool is"
    return (
        f"{record['rows']:,} of {record['of']:,} rows are enough: {said}; foretold for the whole "
        f"pool {last['foretold']:.4g}; {more} expected to bring {expected['doubled']:.2g} more"
    )
