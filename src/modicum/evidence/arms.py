"""One arm: a method, a budget and a seed, from its rows to its model's marks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from modicum import durable
from modicum.evidence.contest import Contest
from modicum.evidence.selecting import chosen, plain
from modicum.ledger import Ledger
from modicum.store import Store
from modicum.training import Recipe, tune
from modicum.training.evolving import MEASURED

if TYPE_CHECKING:
    from modicum.methods import Method

BASELINES = ("longest", "random")  # in every comparison
FULL = "full"  # the whole pool
MARKED = ("metrics", "values", "missing", "cut", "about", "harness")  # answers stay in the folder
_TOLD = ("rows", "epochs", "steps", "sequences", "tokens_seen", "answer_tokens_seen", "seconds")


@dataclass(frozen=True)
class Arm:
    """A method under a budget and a seed; without a method the whole pool."""

    label: str  # the method as it was asked for: k-center, or k-center(view=lexical)
    part: Method | None
    budget: str | None
    seed: int

    @property
    def name(self) -> str:
        """Its folder's name."""
        words = [self.label, *([self.budget] if self.budget else []), f"s{self.seed}"]
        return plain("-".join(words))


def run_arm(contest: Contest, arm: Arm, steps: int | None) -> dict[str, Any]:
    """The facts of an arm: what it learned from, how it was tuned, its marks, what it cost.

    `steps` are the optimiser steps of its tuning; None: as many as the recipe's epochs take.
    """
    picks_K, selection = rows_of(contest, arm)
    ledger = Ledger()
    kept = contest.rounds(f"arms/{arm.name}", ledger, "" if steps is None else f", {steps} steps")
    facts = kept.once("arm", lambda: _tuned(contest, arm, picks_K, steps, ledger))
    if contest.keep_models == "none":  # a kill may have come before
        durable.remove(contest.folder / "models" / arm.name)
    own, whole = ledger.to_json(), Ledger()
    whole.add(own)
    if selection is not None:
        whole.add(selection["ledger"])
    return {
        "name": arm.name,
        "method": arm.label,
        "options": selection and selection["options"],
        "budget": arm.budget,
        "seed": arm.seed,
        **{key: facts[key] for key in ("rows", "tokens", "answer_tokens")},
        "training": facts["training"],
        "training_loss": facts["training_loss"],
        **{key: facts[key] for key in MARKED},
        "selection": selection and selection["name"],
        "left_out": selection["left_out"] if selection else {},
        "notes": selection["notes"] if selection else [],
        "ledger": whole.to_json(),
        "own_ledger": own,  # without the selection, which arms may share
    }


def charge(total: Ledger, told: Sequence[Mapping[str, Any]], charged: set[str]) -> None:
    """Count what arms cost; a selection that several share, once: `charged` holds those counted."""
    for arm in told:
        name = arm["selection"]
        total.add(arm["own_ledger"] if name in charged else arm["ledger"])
        if name is not None:
            charged.add(name)


def rows_of(contest: Contest, arm: Arm) -> tuple[np.ndarray, dict[str, Any] | None]:
    """What an arm learns from, in the order taken, and its selection: none for the whole pool."""
    if arm.part is None or arm.budget is None:
        return np.arange(len(contest.pool)), None
    return chosen(contest, arm.label, arm.part, arm.budget, arm.seed)


def _tuned(
    contest: Contest, arm: Arm, picks_K: np.ndarray, steps: int | None, ledger: Ledger
) -> dict[str, Any]:
    """Tune the untuned model on the rows, in the pool's order, and have it sit the exam."""
    rendered = contest.base.rendered(contest.pool).take(np.sort(picks_K))
    tuned = tune(
        rendered,
        contest.base.model,
        contest.folder / "models" / arm.name,
        _recipe(contest.recipe, steps),
        seed=arm.seed,
        ledger=ledger,
        what=f"{arm.name}: training on {len(picks_K):,} rows",
    )
    model = tuned.model(contest.base.model)
    seen = contest.meter(ledger).through(model, Store(tuned.folder / MEASURED))
    found = contest.exam(seen)
    model.release()
    return {
        "rows": len(rendered),
        "tokens": len(rendered.ids),
        "answer_tokens": int(rendered.answer_lengths_N.sum()),
        "training": {key: tuned.record[key] for key in _TOLD if key in tuned.record},
        "training_loss": tuned.loss,
        **found,
    }


def _recipe(recipe: Recipe, steps: int | None) -> Recipe:
    return recipe if steps is None else recipe.with_(max_steps=steps)
