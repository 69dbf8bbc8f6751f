"""What all arms of a comparison share: pool, exam, the untuned model, the folder."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from modicum.evidence.exam import Exam
from modicum.ledger import Ledger
from modicum.meter import Meter
from modicum.pool import Pool
from modicum.selection.budget import Budget
from modicum.training import Recipe, Rounds

Match = Literal["epochs", "steps"]
Keep = Literal["none", "all"]


@dataclass(frozen=True)
class Contest:
    """A pool, budgets to spend on it, how to tune, and an exam; and a folder for what is made."""

    folder: Path
    made_from: str  # whatever decides the result
    pool: Pool  # only rows that can be learned from, and that the exam does not hold
    target: Pool | None
    base: Meter  # its ledger is charged for what the arms share
    exam: Exam
    recipe: Recipe
    budgets: Mapping[str, Budget]  # as they were given, and in rows of the pool or tokens
    match: Match
    keep_models: Keep
    chosen_under: int | None = None  # the seed that all but chance choose under; None: the arm's
    memory: int | None = None
    keep_work: bool = False  # what methods made to choose, beside their picks

    @property
    def lengths_N(self) -> np.ndarray:
        """Tokens of each row of the pool."""
        return self.base.rendered(self.pool).lengths_N

    def meter(self, ledger: Ledger) -> Meter:
        """The untuned model on another ledger; rows are not rendered again."""
        return replace(self.base, ledger=ledger)

    def rounds(self, name: str, ledger: Ledger, how: str = "") -> Rounds:
        """What is finished of a part of the comparison; `how`: what else decides it."""
        return Rounds(self.folder / name, self.made_from + how, ledger)

    def untuned(self) -> dict[str, Any]:
        """The marks of the model as it is given."""
        kept = self.rounds("untuned", self.base.ledger)
        return kept.once("marks", lambda: self.exam(self.base))

    def shared_ledger(self) -> dict[str, Any]:
        """What the arms shared, so far."""
        return copy.deepcopy(self.base.ledger).to_json()
