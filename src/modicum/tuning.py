"""Supervised tuning of a model on a pool."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from modicum.errors import InputError, ModicumError
from modicum.estimate import calibrate, predict
from modicum.meter import Meter
from modicum.models import Model, Precision
from modicum.output import write_training
from modicum.plan import training
from modicum.pool import Pool
from modicum.runs import give_up, open_run
from modicum.training import Recipe, Tuned, tune
from modicum.training.together import Processes
from modicum.training.tune import made_from
from modicum.usable import TooLong, check_seed, meter_of, unusable


@dataclass(frozen=True)
class Training:
    """What is to be tuned on what, everything in it checked."""

    pool: Pool
    rows: Pool  # those that the model can read
    meter: Meter
    recipe: Recipe
    seed: int
    left_out: dict[int, str]  # rows of the pool that are not trained on, and why

    def run(self, folder: Path) -> Tuned:
        """Tune, or go on where a killed run stopped."""
        return tune(
            self.meter.rendered(self.rows),
            self.meter.model,
            folder,
            self.recipe,
            seed=self.seed,
            ledger=self.meter.ledger,
        )

    def finish(self, folder: Path, processes: Processes) -> Tuned:
        """Tune with all processes; the first writes the manifest, last of all."""
        tuned = self.run(folder)
        if processes.first:
            write_training(self, tuned, folder)
        processes.wait()
        return tuned

    def leave(self, folder: Path) -> Tuned:
        """Tune in a folder of this training's own, unless that was done before."""
        processes = Processes()
        rendered = self.meter.rendered(self.rows)
        command = {"from": "train"}
        command["made_from"] = made_from(rendered, self.meter.model, self.recipe, self.seed)
        again = processes.told(open_run(folder, command) if processes.first else False)
        try:
            return self.run(folder) if again else self.finish(folder, processes)
        except ModicumError:
            if processes.first:
                give_up(folder)
            raise

    def predict(self) -> dict[str, Any]:
        """Seconds, tokens, disk and memory, after a short calibration."""
        rendered, model = self.meter.rendered(self.rows), self.meter.model
        work = training(self.recipe, len(rendered), len(rendered.ids))
        rates = calibrate(rendered, model, [work], [], self.recipe)
        return predict([work], rates, model, keeps_all=True)


def train(
    pool: Pool,
    folder: str | Path,
    model: str | Path | Model | None = None,
    *,
    train: Mapping[str, Any] | Recipe | str | Path | None = None,
    lora: bool = False,
    seed: int = 0,
    too_long: TooLong = "drop",
    max_tokens: int | None = None,
    precision: Precision = "auto",
) -> Tuned:
    """Tune a model on the answers of a pool; leave a model folder with `training.json`.

    `train` holds options of TRL's SFTConfig by name (and with `lora` those of its ModelConfig), or
    is a YAML file of them.
    `manifest.json` names the rows that were left out. The same call on a folder goes on where it
    stopped, and returns at once where it had finished; a folder with anything else is a `RunError`.
    """
    prepared = prepare(
        pool,
        model,
        train=train,
        lora=lora,
        seed=seed,
        too_long=too_long,
        max_tokens=max_tokens,
        precision=precision,
    )
    return prepared.leave(Path(folder))


def prepare(
    pool: Pool,
    model: str | Path | Model | None,
    *,
    train: Mapping[str, Any] | Recipe | str | Path | None,
    lora: bool,
    seed: int,
    too_long: TooLong,
    max_tokens: int | None,
    precision: Precision = "auto",
) -> Training:
    """Everything that can be refused before the model is read."""
    if not isinstance(pool, Pool):
        raise InputError(f"pool is {type(pool).__name__}; read files with Pool.read(…) first")
    check_seed(seed)
    recipe = Recipe.of(train)
    recipe = recipe.with_(use_peft=True) if lora else recipe
    recipe.check()  # before the model is found, and its tokenizer read
    meter = meter_of(
        model, too_long=too_long, max_tokens=max_tokens, precision=precision, store=None
    )
    left_out = unusable(pool, meter, too_long)
    kept_M = np.setdiff1d(np.arange(len(pool)), list(left_out))
    if not len(kept_M):
        raise InputError(f"none of the {len(pool):,} rows can be trained on: {left_out[0]}")
    recipe.check(int(meter.rendered(pool).lengths_N[kept_M].max()))
    return Training(pool, meter.narrow(pool, kept_M), meter, recipe, seed, left_out)
