"""A whole comparison: every method under every budget and seed, and what that shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from modicum.errors import OptionError, RunError
from modicum.evidence.arms import FULL, MARKED, Arm, charge, rows_of, run_arm
from modicum.evidence.contest import Contest
from modicum.evidence.exam import values_of
from modicum.evidence.pairs import pairs
from modicum.evidence.retention import retention
from modicum.ledger import Ledger
from modicum.progress import reached

if TYPE_CHECKING:
    from modicum.methods import Method


@dataclass(frozen=True)
class Compared:
    """A finished comparison, as `compare.json` has it, and what all of it cost."""

    record: dict[str, Any] = field(repr=False)
    ledger: Ledger = field(repr=False)

    def __str__(self) -> str:
        """The verdicts against chance, one a line."""
        return "\n".join(
            f"{pair['methods'][0]} at {pair['budget']}: {pair['verdict']} ({pair['measure']}"
            f"{', one seed' if pair['anecdote'] else ''})"
            for pair in self.record["pairs"]
            if pair["methods"][1] == "random"
        )


def run(
    contest: Contest,
    methods: Mapping[str, Method],
    seeds: Sequence[int],
    full_seeds: Sequence[int],
) -> Compared:
    """Run every arm that is not finished yet; the same call, killed, goes on where it stopped."""
    arms = arms_of(contest, methods, seeds, full_seeds)
    untuned = contest.untuned()  # first: what cannot be measured should not cost a tuning
    for arm in arms:  # what cannot be chosen is said before any arm is tuned
        rows_of(contest, arm)
    steps, first = None, _first(contest, arms)
    if contest.match == "steps":
        steps = int(run_arm(contest, first, None)["training"]["steps"])
    told = []
    for number, arm in enumerate(arms, 1):
        told.append(run_arm(contest, arm, None if arm == first else steps))
        reached(f"{number} of {len(arms)} arms", arm.name, told[-1]["metrics"])
    _check_examples([untuned, *told])
    marked = {(a["method"], a["budget"], a["seed"]): values_of(a) for a in told}
    better, total = contest.exam.compared(untuned), _total(contest, told)
    record = {
        "measures": better,
        "match": contest.match,
        "steps": steps,
        "untuned": {key: untuned[key] for key in MARKED},
        "arms": [{k: v for k, v in arm.items() if k != "own_ledger"} for arm in told],
        "summary": _summary(arms, told),
        "pairs": pairs(marked, better),
        "retention": retention(marked, values_of(untuned), better),
        "shared_ledger": contest.shared_ledger(),
    }
    return Compared(record, total)


def _check_examples(marks: Sequence[Mapping[str, Any]]) -> None:
    """Refuse a task of the harness whose examples changed on the way."""
    for name, about in marks[0]["harness"].items():
        if any(each["harness"][name]["examples"] != about["examples"] for each in marks):
            raise RunError(f"{name} has other examples than at first; choose another folder")


def arms_of(
    contest: Contest, methods: Mapping[str, Method], seeds: Sequence[int], full_seeds: Sequence[int]
) -> list[Arm]:
    """All arms, seed after seed."""
    arms = []
    for seed in seeds:
        arms += [
            Arm(label, part, budget, seed)
            for budget in contest.budgets
            for label, part in methods.items()
        ]
        arms += [Arm(FULL, None, None, seed)] * (seed in full_seeds)
    for arm in arms:
        if len(same := {f"{a.label} {a.budget}" for a in arms if a.name == arm.name}) > 1:
            raise OptionError(f"{' and '.join(sorted(same))} would have one folder; rename one")
    return arms


def _first(contest: Contest, arms: Sequence[Arm]) -> Arm:
    """The arm whose steps the others may have to match: chance's, under the largest budget."""
    widest = max(contest.budgets, key=lambda name: contest.budgets[name].amount)
    return next(arm for arm in arms if (arm.label, arm.budget) == ("random", widest))


def _summary(arms: Sequence[Arm], told: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Of each method and budget: rows, tokens, steps, and means and deviations over the seeds."""
    groups: dict[tuple[str, str | None], list[Mapping[str, Any]]] = {
        (arm.label, arm.budget): [] for arm in arms
    }
    for each in told:
        groups[each["method"], each["budget"]].append(each)
    return [
        {
            "method": label,
            "budget": budget,
            "seeds": [each["seed"] for each in some],
            **{
                key: _mean(each[key] for each in some)
                for key in ("rows", "tokens", "answer_tokens")
            },
            "steps": _mean(each["training"]["steps"] for each in some),
            "seconds": _mean(sum(each["ledger"]["seconds"].values()) for each in some),
            "metrics": {name: _spread(some, name) for name in _names(some)},
        }
        for (label, budget), some in groups.items()
    ]


def _names(arms: Sequence[Mapping[str, Any]]) -> dict[str, None]:
    """What any of them has: a judge's figure may be missing where no reply could be read."""
    return {name: None for arm in arms for name in arm["metrics"]}


def _mean(figures: Any) -> float:
    return float(np.mean(list(figures)))


def _spread(arms: Sequence[Mapping[str, Any]], name: str) -> dict[str, Any]:
    values = [arm["metrics"][name] for arm in arms if name in arm["metrics"]]
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return {"mean": float(np.mean(values)) if values else None, "sd": sd, "values": values}


def _total(contest: Contest, told: Sequence[Mapping[str, Any]]) -> Ledger:
    """What everything cost: a selection that several arms share, once."""
    total = Ledger()
    total.add(contest.shared_ledger())
    charge(total, told, set())
    return total
