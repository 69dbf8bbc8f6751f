"""What all arms of a stream share: tasks, the base, experts, first stages, the folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from modicum import durable
from modicum.ledger import Ledger
from modicum.meter import Meter
from modicum.models import Model
from modicum.runs import versions
from modicum.selection.budget import Budget
from modicum.store import Store
from modicum.stream.bench import Bench
from modicum.stream.tasks import Tasks
from modicum.tags import Tagger
from modicum.training import Recipe, Tuned, tune
from modicum.training.evolving import MEASURED
from modicum.training.record import PACKAGES
from modicum.training.tune import made_from

Keep = Literal["none", "last", "all"]


@dataclass(frozen=True)
class Course:
    """Tasks to learn one after another, how, and a folder for what is made on the way."""

    folder: Path
    tasks: Tasks
    base: Meter  # its ledger is charged for what the arms share
    bench: Bench
    recipe: Recipe
    budget: Budget
    per_task: bool
    tagger: Tagger | None
    keep_models: Keep
    _alone: dict[tuple[int, int], Tuned] = field(default_factory=dict, repr=False)
    _paid: set[str] = field(default_factory=set, repr=False)  # shared, and counted already

    def alone(self, task: int, seed: int) -> Tuned:
        """The base tuned on one task alone: its expert, and the first stage of an arm."""
        if (task, seed) not in self._alone:  # its cost is counted once
            name, rows = name_alone(task, seed), self.tasks.places[task]
            self._alone[task, seed] = self.tuned(
                rows,
                self.base.model,
                name,
                seed,
                self.ledger(name, self.base),
                f"{self.tasks.names[task]} alone: training on {len(rows)} rows",
            )
        return self._alone[task, seed]

    def tuned(
        self, rows: np.ndarray, model: Model, name: str, seed: int, ledger: Ledger, what: str
    ) -> Tuned:
        """A model tuned on some of the rows that the tasks are learned from."""
        rendered = self.base.rendered(self.tasks.rows).take(rows)
        folder = self.folder / "models" / name
        return tune(rendered, model, folder, self.recipe, seed=seed, ledger=ledger, what=what)

    def expert(self, task: int, seed: int) -> Mapping[str, float]:
        """The scores on a task of the model tuned on it alone; it is trained once, on any run."""
        rendered = self.base.rendered(self.tasks.rows).take(self.tasks.places[task])
        made = made_from(rendered, self.base.model, self.recipe, seed)
        # Not only what was given decides a tuning: so do the defaults of these versions.
        told = json.dumps([made, versions(PACKAGES)], sort_keys=True).encode()
        identity = hashlib.blake2b(told, digest_size=16).hexdigest()
        found = self.bench.shared(
            self._cut(identity), task, lambda: self._expert(task, seed), self.base.ledger
        )
        self.pay(name_alone(task, seed))  # what was kept says what the training cost, too
        return found.means()

    def untrained(self, task: int) -> Mapping[str, float]:
        """The base's scores on a task."""
        model = self.base.model
        identity = f"{model.fingerprint}-{str(model.dtype).removeprefix('torch.')}"
        found = self.bench.shared(self._cut(identity), task, lambda: self.base, self.base.ledger)
        return found.means()

    def ledger(self, what: str, meter: Meter) -> Ledger:
        """Where to count this: nowhere if it is shared, and another arm's first stage did."""
        return Ledger() if what in self._paid else meter.ledger

    def pay(self, *what: str) -> None:
        """Remember that this is counted."""
        self._paid.update(what)

    def forget(self, task: int, seed: int) -> None:
        """Remove the model tuned on a task alone."""
        if tuned := self._alone.pop((task, seed), None):
            durable.remove(tuned.folder)

    def tidy(self) -> None:
        """Remove what is not to be kept, once all arms are done."""
        models = self.folder / "models"
        for path in [] if self.keep_models == "all" else list(models.glob("alone-*")):
            durable.remove(path)
        if self.keep_models == "none":
            durable.remove(models)
        for path in list(models.rglob(MEASURED)):
            durable.remove(path)

    def _expert(self, task: int, seed: int) -> Meter:
        tuned = self.alone(task, seed)
        return self.base.through(tuned.model(self.base.model), Store(tuned.folder / MEASURED))

    def _cut(self, identity: str) -> str:
        """The name of a model's values where rows are cut: at another limit they are others."""
        return f"{identity}-cut-{self.base.max_tokens}" if self.base.truncate else identity


def name_alone(task: int, seed: int) -> str:
    """What the folders call the model tuned on one task alone."""
    return f"alone-{task}-s{seed}"
