"""One arm of a stream: a replay method, an order and a seed, stage after stage."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from modicum.ledger import Ledger
from modicum.meter import Meter
from modicum.render import Rendered
from modicum.replay import Plan, Replay, Stage
from modicum.replay.amount import allowed, planned, within_tokens
from modicum.selection.budget import Budget
from modicum.store import Store
from modicum.stream.bench import Bench
from modicum.stream.orders import Order
from modicum.stream.tasks import Tasks
from modicum.tags import Tagger
from modicum.training import Recipe, Rounds, Tuned, tune
from modicum.training.evolving import MEASURED
from modicum.training.tune import made_from

Keep = Literal["none", "last", "all"]


@dataclass(frozen=True)
class Arm:
    """A method under an order and a seed."""

    label: str  # the method as it was asked for: inscl, or inscl(which=random)
    method: Replay
    order: Order
    seed: int
    tasks: tuple[int, ...]  # in the order they arrive

    @property
    def name(self) -> str:
        """Its folder's name."""
        plain = re.sub(r"[^\w.=-]+", "_", self.label).strip("_")
        return f"{plain}-{self.order}-s{self.seed}"


@dataclass(frozen=True)
class Course:
    """What all arms of a stream share."""

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

    def run(self, arm: Arm) -> tuple[list[dict[str, Any]], Ledger]:
        """The facts of every stage of an arm, and what it cost beyond what arms share."""
        meter = replace(self.base, ledger=Ledger())
        place, first = self.folder / "arms" / arm.name, _single(arm.tasks[0], arm.seed)
        facts = []
        for t in range(len(self.tasks)):
            # The first stage is that of every arm that begins with this task: all share its cost.
            stages = Rounds(place, self.bench.made_from, meter.ledger if t else self.base.ledger)
            facts.append(stages.once(t, partial(self._stage, arm, t, meter)))
            self._paid.update({first, *(f"{first}/{i}" for i in arm.tasks[:2])})
            if t and self.keep_models != "all":
                shutil.rmtree(self._place(arm, t - 1), ignore_errors=True)
        if self.keep_models == "none":
            shutil.rmtree(self._place(arm, len(self.tasks) - 1), ignore_errors=True)
        return facts, meter.ledger

    def tidy(self) -> None:
        """Remove what is not to be kept of the models that arms share, once all arms are done."""
        models = self.folder / "models"
        for path in [] if self.keep_models == "all" else list(models.glob("alone-*")):
            shutil.rmtree(path, ignore_errors=True)
        if self.keep_models == "none":
            shutil.rmtree(models, ignore_errors=True)

    def rehearse(self, arm: Arm) -> None:
        """Let the method choose for the last stage, as if the base had learned the tasks.

        What it cannot do (tag these instructions, see these rows) is said before anything is tuned.
        """
        self._decided(arm, len(self.tasks) - 1, self.base, self.base)

    def single(self, task: int, seed: int) -> Tuned:
        """The base tuned on one task alone: its expert, and the first stage of an arm."""
        if (task, seed) not in self._alone:  # its cost is counted once
            rendered, name = self._alone_rows(task), _single(task, seed)
            self._alone[task, seed] = tune(
                rendered,
                self.base.model,
                self.folder / "models" / name,
                self.recipe,
                seed=seed,
                ledger=self._ledger(name, self.base),
                what=f"{self.tasks.names[task]} alone: training on {len(rendered)} rows",
            )
        return self._alone[task, seed]

    def expert(self, task: int, seed: int) -> Mapping[str, float]:
        """The scores on a task of the model tuned on it alone; it is trained once, on any run."""
        identity = made_from(self._alone_rows(task), self.base.model, self.recipe, seed)
        found = self.bench.shared(
            self._cut(identity), task, lambda: self._of(self.single(task, seed)), self.base.ledger
        )
        self._paid.add(_single(task, seed))  # what was kept says what the training cost, too
        return found.means()

    def untrained(self, task: int) -> Mapping[str, float]:
        """The base's scores on a task."""
        model = self.base.model
        identity = f"{model.fingerprint}-{str(model.dtype).removeprefix('torch.')}"
        found = self.bench.shared(self._cut(identity), task, lambda: self.base, self.base.ledger)
        return found.means()

    def _stage(self, arm: Arm, t: int, meter: Meter) -> dict[str, Any]:
        """Replay, tune on from the last model, evaluate on what was seen and on what comes next."""
        task = arm.tasks[t]
        if t == 0:
            tuned, replayed, meter = self.single(task, arm.seed), None, self.base
            key = _single(task, arm.seed)
        else:
            key = f"{arm.name}/{t}"
            stage, plan = self._plan(arm, t, meter)
            replayed = self._told(arm, stage, plan)
            tuned = self._tuned(arm, t, plan, meter)
        model = tuned.model(self.base.model)
        seen = meter.through(model, Store(tuned.folder / MEASURED))
        scores = {}
        for i in arm.tasks[: t + 2]:  # the next as well: what it gains before it is learned
            spent = self._ledger(f"{key}/{i}", meter)
            scores[self.tasks.names[i]] = self.bench.score(key, i, lambda: seen, spent)
        model.release()
        return {
            "task": self.tasks.names[task],
            "scores": {name: found.means() for name, found in scores.items()},
            "replay": replayed,
            "training": {
                key: tuned.record[key] for key in ("rows", "steps", "tokens_seen", "seconds")
            },
            "training_loss": tuned.loss,
            "model": key,
        }

    def _plan(self, arm: Arm, t: int, meter: Meter) -> tuple[Stage, Plan]:
        """What the method replays, seen through the base and through the model as it is."""
        before = Tuned(self._before(arm, t), {}).model(self.base.model)
        current = meter.through(before, Store(before.folder / MEASURED))
        with meter.ledger.time("select"):
            decided = self._decided(arm, t, meter, current)
        before.release()
        return decided

    def _decided(self, arm: Arm, t: int, meter: Meter, current: Meter) -> tuple[Stage, Plan]:
        lengths_N = meter.rendered(self.tasks.rows).lengths_N
        lengths = [lengths_N[self.tasks.places[i]] for i in arm.tasks[:t]]
        stage = Stage(
            old=tuple(self.tasks.train[i] for i in arm.tasks[:t]),
            new=self.tasks.train[arm.tasks[t]],
            rows=allowed(self.budget, lengths, self.per_task),
            meter=meter,
            current=current,
            tagger=self.tagger,
            seed=arm.seed,
        )
        plan = planned(arm.method, stage)
        if self.budget.unit == "tokens":
            plan = within_tokens(plan, lengths, self.budget.amount * (t if self.per_task else 1))
        return stage, plan

    def _tuned(self, arm: Arm, t: int, plan: Plan, meter: Meter) -> Tuned:
        places = self.tasks.places
        old = [
            places[i][step.pick]
            for i, steps in zip(arm.tasks[:t], plan.steps, strict=True)
            for step in steps
        ]
        rows = [*places[arm.tasks[t]], *old]
        rendered = meter.rendered(self.tasks.rows).take(np.array(rows, dtype=np.int64))
        before = Tuned(self._before(arm, t), {}).model(self.base.model)
        name = self.tasks.names[arm.tasks[t]]
        return tune(
            rendered,
            before,
            self._place(arm, t),
            self.recipe,
            seed=arm.seed,
            ledger=meter.ledger,
            what=f"{arm.name}, {name}: training on {len(rows)} rows, {len(old)} replayed",
        )

    def _told(self, arm: Arm, stage: Stage, plan: Plan) -> dict[str, Any]:
        """How many rows of which tasks are replayed, and which and why."""
        ids = [task.pool.ids for task in stage.old]
        return {
            "rows": sum(map(len, plan.steps)),
            "allowed": stage.rows,
            "tasks": [
                {
                    "task": task.name,
                    "weight": float(plan.weight_J[j]),
                    "quota": int(plan.quota_J[j]),
                    "rows": [
                        {"id": ids[j][step.pick], "reason": step.reason} for step in plan.steps[j]
                    ],
                }
                for j, task in enumerate(stage.old)
            ],
            **stage.facts,
            "notes": stage.notes,
        }

    def _alone_rows(self, task: int) -> Rendered:
        return self.base.rendered(self.tasks.rows).take(self.tasks.places[task])

    def _before(self, arm: Arm, t: int) -> Path:
        if t == 1:
            return self.single(arm.tasks[0], arm.seed).folder
        return self._place(arm, t - 1)

    def _place(self, arm: Arm, t: int) -> Path:
        return self.folder / "models" / arm.name / str(t)

    def _ledger(self, what: str, meter: Meter) -> Ledger:
        """Where to count this: nowhere if it is shared, and another arm's first stage did."""
        return Ledger() if what in self._paid else meter.ledger

    def _cut(self, identity: str) -> str:
        """The name of a model's values where rows are cut: at another limit they are others."""
        return f"{identity}-cut-{self.base.max_tokens}" if self.base.truncate else identity

    def _of(self, tuned: Tuned) -> Meter:
        return self.base.through(tuned.model(self.base.model), Store(tuned.folder / MEASURED))


def _single(task: int, seed: int) -> str:
    return f"alone-{task}-s{seed}"
