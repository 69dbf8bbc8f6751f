"""One arm of a stream: a replay method, an order and a seed, stage after stage."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from modicum import durable
from modicum.ledger import Ledger
from modicum.meter import Meter
from modicum.replay import Plan, Replay, Stage
from modicum.replay.deciding import decide, shortfall, stage_of, told
from modicum.store import Store
from modicum.stream.course import Course, name_alone
from modicum.stream.orders import Order
from modicum.training import Rounds, Tuned, to_json
from modicum.training.evolving import MEASURED

_TOLD = ("rows", "steps", "tokens_seen", "seconds")  # of a tuning


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


def run_arm(course: Course, arm: Arm) -> tuple[list[dict[str, Any]], Ledger]:
    """The facts of every stage of an arm, and what it cost beyond what arms share."""
    meter = replace(course.base, ledger=Ledger())
    here, first = _Running(course, arm, meter), name_alone(arm.tasks[0], arm.seed)
    facts = []
    for t in range(len(arm.tasks)):
        # The first stage is that of every arm that begins with this task: all share its cost.
        ledger = meter.ledger if t else course.base.ledger
        facts.append(here.rounds(ledger).once(t, partial(here.stage, t)))
        course.pay(first, *(f"{first}/{i}" for i in arm.tasks[:2]))
        if t and course.keep_models != "all":
            durable.remove(here.place(t - 1))
    if course.keep_models == "none":
        durable.remove(here.place(len(arm.tasks) - 1))
    return facts, meter.ledger


def rehearse(course: Course, arm: Arm) -> None:
    """Let the method choose for every stage, as if the base had learned the tasks.

    What it cannot do (tag these instructions, see these rows) is said before anything is tuned.
    """
    for t in range(1, len(arm.tasks)):
        _Running(course, arm, course.base).decided(t, course.base)


@dataclass(frozen=True)
class _Running:
    """An arm under way; `meter` is the base on the arm's own ledger."""

    course: Course
    arm: Arm
    meter: Meter

    def stage(self, t: int) -> dict[str, Any]:
        """Replay, tune on from the last model, evaluate on what was seen and on what comes next."""
        course, arm, names = self.course, self.arm, self.course.tasks.names
        meter, replayed = self.meter, None
        if t == 0:
            meter, key = course.base, name_alone(arm.tasks[0], arm.seed)
            tuned = course.alone(arm.tasks[0], arm.seed)
        else:
            key = f"{arm.name}/{t}"
            # Before the tuning, and durably: what a tagger says of itself may change by the next
            # time, and a tuning that was begun goes on with these rows only.
            kept = self.rounds(meter.ledger).once(f"{t}-replay", lambda: {"replay": self.replay(t)})
            replayed = kept["replay"]
            tuned = self.tune(t, replayed)
        model = tuned.model(course.base.model)
        seen = meter.through(model, Store(tuned.folder / MEASURED))
        scores, cut = {}, {}
        for i in arm.tasks[: t + 2]:  # the next as well: what it gains before it is learned
            spent = course.ledger(f"{key}/{i}", meter)
            found = course.bench.score(key, i, lambda: seen, spent)
            scores[names[i]] = found.means()
            cut[names[i]] = None if found.cut is None else int(found.cut.sum())
        model.release()
        return {
            "task": names[arm.tasks[t]],
            "scores": scores,
            "cut": cut,  # answers that had not ended at the longest that was allowed
            "replay": replayed,
            "training": {name: tuned.record[name] for name in _TOLD},
            "training_loss": tuned.loss,
            "model": key,
        }

    def replay(self, t: int) -> dict[str, Any]:
        """Which rows are replayed and why, seen through the base and the model as it is."""
        base, before = self.course.base.model, self._before(t)
        model = before.model(base)
        current = self.meter.through(model, Store(before.folder / MEASURED))
        with self.meter.ledger.time("select"):
            stage, plan = self.decided(t, current)
        for used in (model, base):  # neither beside the one that is tuned
            used.release()
        ids, places = self.course.tasks.rows.ids, self.course.tasks.places
        tasks = told(stage, plan)
        for task, i, steps in zip(tasks, self.arm.tasks, plan.steps, strict=False):
            picks = [step._replace(pick=int(places[i][step.pick])) for step in steps]
            task["rows"] = [{"id": ids[row["position"]], **row} for row in to_json(picks)]
        allowed = stage.rows if stage.tokens is None else None
        rows = {"rows": sum(map(len, plan.steps)), "allowed": allowed}
        notes = [*stage.notes, *shortfall(stage, plan, getattr(self.arm.method, "name", None))]
        return {**stage.facts, **rows, "tasks": tasks, "notes": notes}

    def decided(self, t: int, current: Meter) -> tuple[Stage, Plan]:
        """What the method plans for a stage."""
        train, order = self.course.tasks.train, self.arm.tasks
        stage = stage_of(
            [train[i] for i in order[:t]],
            train[order[t]],
            self.course.budget,
            self.course.per_task,
            meter=self.meter,
            current=current,
            tagger=self.course.tagger,
            seed=self.arm.seed,
            number=t,
        )
        return stage, decide(self.arm.method, stage)

    def tune(self, t: int, replayed: dict[str, Any]) -> Tuned:
        """The last model, tuned on the new task's rows and the replayed ones."""
        tasks, task = self.course.tasks, self.arm.tasks[t]
        old = [row["position"] for each in replayed["tasks"] for row in each["rows"]]
        rows = np.array([*tasks.places[task], *old], dtype=np.int64)
        what = f"{self.arm.name}, {tasks.names[task]}: training on {len(rows)} rows"
        return self.course.tuned(
            rows,
            self._before(t).model(self.course.base.model),
            f"{self.arm.name}/{t}",
            self.arm.seed,
            self.meter.ledger,
            f"{what}, {len(old)} of them replayed",
        )

    def rounds(self, ledger: Ledger) -> Rounds:
        """What is finished of this arm."""
        folder = self.course.folder / "arms" / self.arm.name
        return Rounds(folder, self.course.bench.made_from, ledger)

    def place(self, t: int) -> Path:
        """The folder of a stage's model."""
        return self.course.folder / "models" / self.arm.name / str(t)

    def _before(self, t: int) -> Tuned:
        """The model that a stage begins with."""
        if t == 1:
            return self.course.alone(self.arm.tasks[0], self.arm.seed)
        return Tuned(self.place(t - 1), {})
