"""Which of many methods can choose here at all, and which of those fit into a given time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from modicum.errors import BudgetError, ModicumError, OptionError
from modicum.estimate import Rates, calibrate
from modicum.evidence.arms import BASELINES, rows_of
from modicum.evidence.contest import Contest
from modicum.evidence.foretold import exam_of, plans_of, tuning_of
from modicum.evidence.run import arms_of
from modicum.plan import Work, wants_of
from modicum.runs import whole_object, write_json

if TYPE_CHECKING:
    from modicum.methods import Method

_KEPT = "affordable.json"


class Offers(NamedTuple):
    """Methods that are compared, the cheapest first, and why the others are not."""

    methods: dict[str, Method]
    left_out: dict[str, str]

    @property
    def notes(self) -> list[str]:
        """What a reader should know."""
        return [f"{label} is not compared: {why}" for label, why in self.left_out.items()]


def able(contest: Contest, methods: Mapping[str, Method], seeds: Sequence[int]) -> Offers:
    """Those that can choose from this pool, for this target and these budgets, by choosing.

    What they choose is kept, and not chosen again.
    """
    left_out: dict[str, str] = {}
    for arm in arms_of(contest, methods, seeds, []):
        if arm.label not in left_out:
            try:
                rows_of(contest, arm)
            except (BudgetError, OptionError) as error:
                left_out[arm.label] = str(error)
    return Offers({k: part for k, part in methods.items() if k not in left_out}, left_out)


def affordable(
    contest: Contest,
    methods: Mapping[str, Method],
    seeds: Sequence[int],
    full_seeds: Sequence[int],
    seconds: float | None,
    tolerant: Iterable[str] = (),
) -> Offers:
    """Those that fit into so many seconds on this machine, cheapest first; None: all of them.

    Chance, length and the whole pool are counted first, and are never left out: if they alone take
    longer, `OptionError`. The others are added while they fit, by what each takes alone; what two
    have measured alike is counted once. Of the `tolerant`, those that cannot be asked are left out.
    """
    kept = whole_object(contest.folder / _KEPT) if contest.folder.parts else None
    made_from = f"{contest.made_from}-{seconds}-{list(seeds)}"
    if kept and kept.get("made_from") == made_from:
        return Offers({label: methods[label] for label in kept["methods"]}, kept["left_out"])
    plans, left_out = _plans(contest, methods, seeds, set(tolerant))
    arms = {label: _tunings(contest, {label: methods[label]}, seeds, []) for label in plans}
    base = [*exam_of(contest), *_tunings(contest, {}, [], full_seeds)]
    rates = _rates(contest, [base, *arms.values(), *(w for each in plans.values() for w in each)])
    alone = {label: _seconds(plans[label], arms[label], rates, set()) for label in plans}
    measured: set[Any] = set()
    spent = sum(map(rates.seconds, base))
    chosen: list[str] = []
    for label in sorted(plans, key=lambda each: (_plain(each) not in BASELINES, alone[each])):
        took = _seconds(plans[label], arms[label], rates, known := set(measured))
        if seconds is not None and spent + took > seconds and _plain(label) not in BASELINES:
            left_out[label] = (
                f"it would take about {took:,.0f} s more than the {spent:,.0f} s so far"
            )
            continue
        chosen, spent, measured = [*chosen, label], spent + took, known
    if seconds is not None and spent > seconds:
        raise OptionError(
            f"--budget-seconds {seconds:,.0f}: chance, length and the model as it is take about "
            f"{spent:,.0f} s; give more, or ask for less (--seeds, --no-full, --full-seeds)"
        )
    if contest.folder.parts:
        told = {"made_from": made_from, "methods": chosen, "left_out": left_out}
        write_json(contest.folder / _KEPT, told)
    return Offers({label: methods[label] for label in chosen}, left_out)


def _plain(label: str) -> str:
    return label.partition("(")[0]


def _plans(
    contest: Contest, methods: Mapping[str, Method], seeds: Sequence[int], tolerant: set[str]
) -> tuple[dict[str, list[list[Work]]], dict[str, str]]:
    """What each method sends through models to choose, budget by budget and seed by seed."""
    plans, left_out = dict[str, list[list[Work]]](), dict[str, str]()
    for label, part in methods.items():
        try:
            plans[label] = plans_of(contest, arms_of(contest, {label: part}, seeds, []))
        except ModicumError as error:
            if label not in tolerant:
                raise
            left_out[label] = str(error)
    return plans, left_out


def _tunings(
    contest: Contest, methods: Mapping[str, Method], seeds: Sequence[int], full: Sequence[int]
) -> list[Work]:
    """The tunings and exams of these methods' arms; without methods of the whole pool's."""
    arms = arms_of(contest, methods, seeds or full, full)
    return [work for arm in arms for work in (tuning_of(contest, arm), *exam_of(contest))]


def _rates(contest: Contest, works: Iterable[Sequence[Work]]) -> Rates:
    every = [work for each in works for work in each]
    rendered = contest.base.rendered(contest.pool)
    return calibrate(rendered, contest.base.model, every, wants_of(every), contest.recipe)


def _seconds(
    plans: Sequence[Sequence[Work]], tunings: Sequence[Work], rates: Rates, measured: set[Any]
) -> float:
    """What a method takes beside what is `measured` already; what it measures is added there."""
    total = sum(map(rates.seconds, tunings))
    for plan in plans:
        trains = any(work.stage == "train" for work in plan)
        for work in plan:
            if trains or (work.wants, work.rows) not in measured:
                total += rates.seconds(work)
            measured.add((work.wants, work.rows))
    return total
