"""A question put to a method: which rows of this pool, within this budget? Everything is checked
before anything is measured, and what the answer will cost can be foretold.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from modicum.candidates import about, in_rows, overlapping, readable, taken
from modicum.context import Context
from modicum.errors import InputError, OptionError
from modicum.estimate import calibrate, predict
from modicum.measure import Want
from modicum.models import Model, Precision
from modicum.overlap import Overlap, decontaminate
from modicum.parts import build, describe, find
from modicum.plan import Work, passes, wants_of
from modicum.pool import Pool
from modicum.selection.budget import Budget
from modicum.store import Store
from modicum.training.options import Recipe
from modicum.usable import TooLong, meter_of, unusable

if TYPE_CHECKING:
    from modicum.methods import Method

LARGEST_SEED = 2**32 - 1  # the largest that every library used here takes


@dataclass(frozen=True)
class Question:
    """A question put to a method, everything in it checked; nothing measured yet."""

    pool: Pool
    part: Method
    context: Context
    budget: Budget
    left_out: dict[int, str]
    given: dict[str, Any]
    overlaps: tuple[Overlap, ...]

    def plan(self) -> list[Work]:
        """What the method will send through a model."""
        if hasattr(self.part, "plan"):
            works: list[Work] = self.part.plan(self.context)
            return works
        return passes(self.context, self.wants())

    def wants(self) -> list[Want]:
        """What it wants measured by the model given: its own, or its parts' wants."""
        if hasattr(self.part, "wants") or not is_dataclass(self.part):
            return wants_of([self.part])
        return wants_of([getattr(self.part, each.name) for each in fields(self.part)])

    def predict(self) -> dict[str, Any]:
        """Seconds, tokens, disk and memory of the plan, after a short calibration."""
        context, works = self.context, self.plan()
        meter = context.meter
        with meter.ledger.time("calibrate"):
            rates = calibrate(
                meter.rendered(context.pool),
                meter.model,
                works,
                wants_of([getattr(self.part, "view", None), self.part]),
                context.recipe,
            )
        keeps_all = getattr(self.part, "keep_models", "all") == "all"
        return predict(works, rates, meter.model, keeps_all)


def ask(
    pool: Pool,
    method: str | Method,
    budget: str | int | Budget,
    model: str | Path | Model | None,
    seed: int,
    *,
    target: Pool | None,
    chosen: Pool | None,
    evaluation: Pool | None,
    too_long: TooLong,
    max_tokens: int | None,
    precision: Precision,
    store: Store | None,
    train: Mapping[str, Any] | Recipe | None,
    **options: Any,
) -> Question:
    """The first half of `select`: everything that can be refused before anything is measured."""
    _check_pool(pool)
    budget = budget if isinstance(budget, Budget) else Budget.parse(budget)
    part = _method(method, options, seed, target)
    recipe = train if isinstance(train, Recipe) else Recipe(dict(train or {}))
    if recipe.given:
        recipe.check()
    others = {"target": target, "chosen": chosen, "evaluation": evaluation}
    meter = meter_of(
        model, too_long=too_long, max_tokens=max_tokens, precision=precision, store=store
    )
    overlaps = [] if evaluation is None else decontaminate(pool, evaluation)
    left_out = unusable(pool, meter, too_long) | taken(pool, chosen)
    left_out |= overlapping(overlaps, evaluation)
    candidates_M = np.setdiff1d(np.arange(len(pool)), list(left_out))
    notes: list[str] = []
    context = Context(
        budget=in_rows(budget, pool, left_out),
        pool=meter.narrow(pool, candidates_M),
        meter=meter,
        seed=seed,
        chosen=readable("chosen", chosen, meter, too_long, notes),
        target=readable("target", target, meter, too_long, notes),
        positions=candidates_M,
        notes=notes,
        recipe=recipe,
    )
    given = {"too_long": too_long} | {name: about(other) for name, other in others.items()}
    return Question(pool, part, context, budget, left_out, given, tuple(overlaps))


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
