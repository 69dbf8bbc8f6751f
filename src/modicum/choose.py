"""The main job: a pool, a method and a budget in; a selection out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any

import numpy as np

from modicum.context import Context
from modicum.errors import BudgetError, InputError, OptionError
from modicum.meter import Meter
from modicum.models import Model, Precision
from modicum.overlap import Overlap, decontaminate
from modicum.parts import build, describe, find
from modicum.pool import Pool
from modicum.runs import inputs
from modicum.selection.budget import Budget, Step, spend
from modicum.store import Store
from modicum.usable import TooLong, kinds, meter_of, spread, unscored, unusable

if TYPE_CHECKING:
    from modicum.methods import Method

LARGEST_SEED = 2**32 - 1  # the largest that every library used here takes
_SHARED_SHOWN = 100  # characters


@dataclass(frozen=True)
class Selection:
    """Which rows of a pool were picked, in which order and why, and what is known of the others."""

    pool: Pool
    picks: np.ndarray  # (K,) positions in the order taken
    gains: np.ndarray  # (K,) what each pick added when it was taken; NaN where nothing is measured
    reasons: tuple[str, ...]
    rounds: np.ndarray  # (K,) the round of each pick, 0 for the first
    left_out: dict[int, str]  # rows that could not be picked, and why
    scores: dict[str, np.ndarray]  # (N,) each; NaN where a row was not scored
    tokens_N: np.ndarray  # prompt and answer tokens of each row under the model's template
    method: dict[str, Any]  # its name and every resolved option
    budget: Budget
    seed: int
    meter: Meter  # the model that measured, its limits, and what it cost
    given: dict[str, Any]  # what was done with long rows, and which other rows there were
    overlaps: tuple[Overlap, ...] = ()
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.picks)

    def write(self, folder: str | Path, command: Mapping[str, Any] | None = None) -> Path:
        """Write subset, `rows.parquet` and `manifest.json` into a new folder; the manifest last."""
        from modicum.output import write_selection

        return write_selection(self, Path(folder), command)


def select(
    pool: Pool,
    method: str | Method,
    budget: str | int | Budget,
    model: str | Path | Model | None = None,
    seed: int = 0,
    *,
    target: Pool | None = None,
    chosen: Pool | None = None,
    evaluation: Pool | None = None,
    too_long: TooLong = "drop",
    max_tokens: int | None = None,
    precision: Precision = "auto",
    store: Store | None = None,
    **options: Any,
) -> Selection:
    """Pick rows of a pool by a method, within a budget.

    `target` holds rows of the task in view, for methods that aim; `chosen` rows already taken,
    which are not picked again and which greedy methods keep away from; `evaluation` rows that
    must not be trained on: what overlaps them is left out. Rows longer than `max_tokens` (the
    model's window by default) are dropped, cut in the prompt, or an error. `options` are the
    method's own. A share (`5%`) is of all rows of the pool.
    """
    _check_pool(pool)
    budget = budget if isinstance(budget, Budget) else Budget.parse(budget)
    part = _method(method, options, seed, target)
    others = {"target": target, "chosen": chosen, "evaluation": evaluation}
    meter = meter_of(
        model, too_long=too_long, max_tokens=max_tokens, precision=precision, store=store
    )
    overlaps = [] if evaluation is None else decontaminate(pool, evaluation)
    left_out = unusable(pool, meter, too_long) | _taken(pool, chosen)
    left_out |= _overlapping(overlaps, evaluation)
    candidates_M = np.setdiff1d(np.arange(len(pool)), list(left_out))
    notes: list[str] = []
    context = Context(
        pool=meter.narrow(pool, candidates_M),
        meter=meter,
        budget=_in_rows(budget, pool, left_out),
        seed=seed,
        chosen=_readable("chosen", chosen, meter, too_long, notes),
        target=_readable("target", target, meter, too_long, notes),
        positions=candidates_M,
        notes=notes,
    )
    steps = _run(part, context)
    unmeasured = _unmeasured(context, candidates_M)
    notes += _remarks(steps, context)
    scores = {
        name: spread(values_M, candidates_M, len(pool)) for name, values_M in context.scored.items()
    }
    picks = candidates_M[[step.pick for step in steps]]
    _refuse_unmeasured(picks, unmeasured, pool, part)
    return Selection(
        pool=pool,
        picks=picks,
        gains=np.array([step.gain for step in steps], dtype=np.float64),
        reasons=tuple(step.reason for step in steps),
        rounds=np.zeros(len(steps), dtype=np.int64),
        left_out=left_out | unmeasured,
        scores=scores,
        tokens_N=meter.rendered(pool).lengths_N,
        method=describe(part),
        budget=budget,
        seed=seed,
        meter=meter,
        given={"too_long": too_long} | {name: _about(other) for name, other in others.items()},
        overlaps=tuple(overlaps),
        notes=tuple(notes),
    )


def _check_pool(pool: object) -> None:
    if not isinstance(pool, Pool):
        raise InputError(f"pool is {type(pool).__name__}; read files with Pool.read(…) first")


def _method(
    method: str | Method, options: Mapping[str, Any], seed: int, target: Pool | None
) -> Method:
    """The method with its options; what it lacks is said before anything is measured."""
    if not 0 <= seed <= LARGEST_SEED:
        raise OptionError(f"seed {seed}: give a whole number from 0 to {LARGEST_SEED}")
    kind = find("modicum.methods", method) if isinstance(method, str) else method
    part: Method = build(kind, options)
    if target is None and getattr(part, "aims", False):
        raise OptionError(f"{describe(part)['name']} needs rows of the task in view: --target FILE")
    if target is not None and not getattr(part, "aims", True):
        raise OptionError(f"{describe(part)['name']} does not aim: leave --target out, or use ltd")
    return part


def _run(part: Method, context: Context) -> list[Step]:
    """Ask the method for picks until the budget is spent, everything it wants measured first."""
    pool, meter = context.pool, context.meter
    parts: list[Any] = [part]
    if is_dataclass(part):
        parts += [getattr(part, each.name) for each in fields(part)]
    wanted = [each for each in parts if hasattr(each, "wants")]
    meter.prepare(pool, wanted)
    with meter.ledger.time("select"):
        steps = part(context)
        if not isinstance(steps, Iterable):
            raise OptionError(
                f"{describe(part)['name']} returned {type(steps).__name__}; a method returns "
                "picks: positions or Steps, best first"
            )
        return spend(
            steps,
            context.budget,
            pool_rows=len(pool),
            available=len(pool),
            tokens_N=meter.rendered(pool).lengths_N,
        )


def _remarks(steps: list[Step], context: Context) -> list[str]:
    """What a reader should know of the picks as a whole."""
    pool = context.pool
    copies = len(steps) - len({pool.digests[step.pick] for step in steps})
    remarks = {
        f"{copies} of the picks say the same as another pick; `modicum check` lists duplicates": (
            copies
        ),
        f"the budget of {context.budget} holds all rows that can be picked": (
            context.budget.unit == "tokens" and len(steps) == len(pool)
        ),
    }
    return [remark for remark, holds in remarks.items() if holds]


def _in_rows(budget: Budget, pool: Pool, left_out: dict[int, str]) -> Budget:
    """A share becomes rows of the whole pool; more rows than can be picked are refused."""
    rows, candidates = budget.rows(len(pool)), len(pool) - len(left_out)
    why = ", ".join(f"{number:,} {kind}" for kind, number in kinds(left_out.values()).items())
    if not candidates:
        first = f"; the first, {pool.where(0)}: {left_out[0]}" if left_out else ""
        raise BudgetError(
            f"none of the {len(pool):,} rows can be picked: {why or 'it is empty'}{first}"
        )
    if rows is not None and rows > candidates:
        raise BudgetError(
            f"cannot pick {rows:,} rows: the pool has {len(pool):,}"
            f"{f', and of them {why}' if why else ''}; use -k {candidates} or fewer"
        )
    return budget if rows is None else Budget(float(rows), "rows")


def _readable(
    name: str, other: Pool | None, meter: Meter, too_long: TooLong, notes: list[str]
) -> Pool | None:
    """The rows of `target` or `chosen` that the model can read; a note tells of the others."""
    if other is None:
        return None
    if not (left_out := unusable(other, meter, too_long)):
        return other
    first = min(left_out)
    some = f"{len(left_out):,} of {len(other):,} rows of {name} cannot be measured"
    said = f"{some}; the first, {other.where(first)}: {left_out[first]}"
    if len(left_out) == len(other):
        raise InputError(said)
    notes.append(said)
    return meter.narrow(other, np.setdiff1d(np.arange(len(other)), list(left_out)))


def _about(other: Pool | None) -> dict[str, Any] | None:
    if other is None:
        return None
    rows = {"kept": len(other), "rejected": len(other.rejected)}
    return {"inputs": inputs(other), "pool": other.fingerprint, **rows}


def _overlapping(overlaps: Sequence[Overlap], evaluation: Pool | None) -> dict[int, str]:
    """Rows that an evaluation row also holds: of which kind, where, and the words they share."""
    return {
        found.position: f"in the evaluation rows: {found.kind} match with "
        f"{evaluation.where(found.evaluation)}: {shorten(found.text, _SHARED_SHOWN)}"
        for found in overlaps
        if evaluation is not None
    }


def _taken(pool: Pool, chosen: Pool | None) -> dict[int, str]:
    """Rows of the pool that were taken before: those whose turns equal a chosen row's."""
    if chosen is None:
        return {}
    before = {content: i for i, content in reversed(list(enumerate(chosen.digests)))}
    return {
        i: f"already chosen: {chosen.where(before[content])}"
        for i, content in enumerate(pool.digests)
        if content in before
    }


def _refuse_unmeasured(
    picks: np.ndarray, unmeasured: dict[int, str], pool: Pool, part: Method
) -> None:
    if wrong := [int(pick) for pick in picks if int(pick) in unmeasured]:
        raise OptionError(
            f"{describe(part)['name']} picked {pool.where(wrong[0])}, although "
            f"{unmeasured[wrong[0]]}; a method must pass over such rows"
        )


def _unmeasured(context: Context, candidates_M: np.ndarray) -> dict[int, str]:
    """Rows for which a score or a vector could not be had; they were not offered."""
    left_out: dict[int, str] = {}
    for name, values_M in context.scored.items():
        left_out |= unscored(name, values_M, candidates_M)
    for name, seen_M in context.viewed.items():
        for m in np.flatnonzero(~seen_M):
            left_out[int(candidates_M[m])] = f"the {name} view gives no finite vector"
    return left_out
