"""A question put to a method: which rows of this pool, within this budget? Everything is checked
before anything is measured, and what the answer will cost can be foretold.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from modicum.cache import file_hash
from modicum.candidates import about, in_rows, overlapping, readable, taken
from modicum.context import Context
from modicum.errors import InputError, OptionError
from modicum.estimate import calibrate, predict
from modicum.free import free_memory
from modicum.meter import Meter
from modicum.overlap import Overlap, decontaminate
from modicum.parts import build, describe, find
from modicum.plan import Work, passes, wants_of
from modicum.pool import Pool
from modicum.selection.budget import Budget
from modicum.selection.memory import Need, parse
from modicum.training.options import Recipe
from modicum.usable import TooLong, check_seed, unusable
from modicum.wants import Want

if TYPE_CHECKING:
    from modicum.filters import Filter
    from modicum.methods import Method
    from modicum.models import Model


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
    filters: tuple[Filter, ...] = ()

    @cached_property
    def plan(self) -> list[Work]:
        """What the filters and the method will send through a model, as if all rows stayed."""
        works = [work for part in self.filters for work in self._works(part)]
        if hasattr(self.part, "plan"):
            return [*works, *self.part.plan(self.context)]
        return [*works, *self._works(self.part)]

    def _works(self, part: object) -> list[Work]:
        pool, meter = self.context.pool, self.context.meter
        works, uncut = passes(meter.rendered(pool), _wants(part)), meter.uncut()
        for each in _parts(part):
            if hasattr(each, "further"):  # it asks about rows that it makes of the pool's
                for made, wants in each.further(pool, meter):
                    works += passes(uncut.rendered(made), wants)
        return works

    @cached_property
    def selectors(self) -> list[Need]:
        """What the selectors will take beside their vectors, as far as it is known before."""
        parts = [each for each in (*self.filters, self.part) if hasattr(each, "selectors")]
        return [need for each in parts for need in each.selectors(self.context)]

    @property
    def trains(self) -> bool:
        """Whether the method will tune a model."""
        return any(work.stage == "train" for work in self.plan)

    def wants(self) -> list[Want]:
        """What the method wants measured by the model given."""
        return _wants(self.part)

    def predict(self) -> dict[str, Any]:
        """Seconds, tokens, disk and memory of the plan, after a short calibration."""
        context, works = self.context, self.plan
        meter = context.meter
        with meter.ledger.time("calibrate"):
            rates = calibrate(
                meter.rendered(context.pool),
                meter.model,
                works,
                wants_of(works),
                context.recipe,
            )
        keeps_all = getattr(self.part, "keep_models", "all") == "all"
        return {
            **predict(works, rates, meter.model, keeps_all),
            "selectors": [need.to_json() for need in self.selectors],
        }


def ask(
    pool: Pool,
    method: str | Method,
    budget: str | int | Budget,
    meter: Meter,
    seed: int,
    *,
    target: Pool | None = None,
    chosen: Pool | None = None,
    evaluation: Pool | None = None,
    barred: Mapping[int, str] | None = None,
    filters: Sequence[Filter] = (),
    too_long: TooLong = "drop",
    train: Mapping[str, Any] | Recipe | str | Path | None = None,
    memory: str | int | None = None,
    **options: Any,
) -> Question:
    """The first half of `select`: everything that can be refused before anything is measured.

    `barred`: further rows that may not be picked, and why.
    """
    _check_pool(pool)
    limit = free_memory() // 2 if memory is None else parse(memory)
    budget = budget if isinstance(budget, Budget) else Budget.parse(budget)
    part = _method(method, options, seed, target)
    recipe = Recipe.of(train)
    if recipe.given:
        recipe.check()
    others = {"target": target, "chosen": chosen, "evaluation": evaluation}
    overlaps = [] if evaluation is None else decontaminate(pool, evaluation)
    left_out = unusable(pool, meter, too_long) | taken(pool, chosen)
    left_out |= overlapping(overlaps, evaluation) | dict(barred or {})
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
        memory=limit,
        identity=json.dumps([decided_by(each, meter.model) for each in (part, *filters)]),
    )
    given: dict[str, Any] = {"too_long": too_long}
    given |= {name: about(other) for name, other in others.items()}
    if filters:
        given["filters"] = list(map(describe, filters))
    asked = Question(pool, part, context, budget, left_out, given, tuple(overlaps), tuple(filters))
    _ = asked.selectors  # a selector that has not enough memory says so here
    return asked


def _check_pool(pool: object) -> None:
    if not isinstance(pool, Pool):
        raise InputError(f"pool is {type(pool).__name__}; read files with Pool.read(…) first")


def _method(
    method: str | Method, options: Mapping[str, Any], seed: int, target: Pool | None
) -> Method:
    """The method with its options; what it lacks is said before anything is measured."""
    check_seed(seed)
    kind = find("modicum.methods", method) if isinstance(method, str) else method
    part: Method = build(kind, options)
    check_aim(part, target)
    if target is not None and not getattr(part, "aims", True):
        raise OptionError(f"{describe(part)['name']} does not aim: leave --target out, or use ltd")
    return part


def check_aim(part: object, target: Pool | None) -> None:
    """Refuse a method that aims at a task where no rows of one are given."""
    if target is None and getattr(part, "aims", False):
        raise OptionError(f"{describe(part)['name']} needs rows of the task in view: --target FILE")


def _wants(part: object) -> list[Want]:
    """What a part wants measured: its own wants, or those of its parts."""
    if hasattr(part, "wants") or not is_dataclass(part):
        return wants_of([part])
    return wants_of([getattr(part, each.name) for each in fields(part)])


def identity(part: object) -> str:
    """A hash of a method's options and parts, and of the files that hold the user's own of them."""
    plain = re.sub(
        r" at 0x[0-9a-fA-F]+", "", repr(part)
    )  # an object's address is another each time
    told = json.dumps([describe(part), plain, *map(_code, _parts(part))], default=str)
    return hashlib.blake2b(told.encode(), digest_size=16).hexdigest()


def rests_on(part: object, model: Model) -> list[str]:
    """Which models a method measures with besides the one given, as they lie there now."""
    asked = (getattr(each, "other_model", None) for each in _parts(part))
    found = [ask_it(model.trust_remote_code) for ask_it in asked if ask_it is not None]
    return [other for other in found if other is not None]


def decided_by(part: object, model: Model) -> list[str]:
    """Hashes of all but rows, budget and seed that decides what a method or a part does."""
    return [identity(part), *rests_on(part, model)]


def _parts(part: object) -> Iterator[object]:
    """A method and what its options hold, to any depth."""
    yield part
    if is_dataclass(part):
        for each in fields(part):
            yield from _parts(getattr(part, each.name))


def _code(part: object) -> str | None:
    """A hash of the file that an object of the user's own is made by; None for anything else."""
    kind = part if inspect.isclass(part) or inspect.isfunction(part) else type(part)
    module = sys.modules.get(kind.__module__)
    file = getattr(module, "__file__", None)
    if file is None or kind.__module__.partition(".")[0] == "modicum":
        return None
    return file_hash(Path(file))
