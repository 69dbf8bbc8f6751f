"""A few steps of training, to learn how fast this machine does them. Nothing is kept."""

from __future__ import annotations

import gc
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from modicum import durable
from modicum.training.options import Recipe

if TYPE_CHECKING:
    from modicum.models import Model
    from modicum.render import Rendered

_EPOCHS = 1000  # the clock ends it
_ROWS = 64  # more than fit into the time
_PACK = 512  # tokens: half a usual pack, so that several steps fit into the time


def rehearse(
    rendered: Rendered, model: Model, folder: Path, recipe: Recipe, seconds: float
) -> tuple[float, float]:
    """Seconds to set up a tuning and save its model, and tokens a second in between.

    Steps are of one short batch, so that several fit into the time; the first two, which are
    slower, count as setting up.
    """
    from modicum.training.trainer import SETTLING, Watch
    from modicum.training.tune import run, start, undisturbed

    part = _sample(rendered)
    pack = max(_PACK, int(part.lengths_N.max()))
    given = {k: v for k, v in recipe.given.items() if k != "max_steps" and k[:5] != "save_"}
    short: dict[str, Any] = {
        "gradient_accumulation_steps": 1,
        "num_train_epochs": _EPOCHS,
        "max_length": pack,
    }
    short["report_to"] = "none"  # nobody is to see this one
    model.release()
    began = time.monotonic()
    watch = Watch(lambda done: None, stop_after=seconds)
    with undisturbed():
        trainer = start(part, model, folder, Recipe({**given, **short}), 0, watch)
        ready = time.monotonic()
        run(trainer)
        stepped = time.monotonic()
        trainer.save_model(str(folder / "model"))
    durable.remove(folder / "model")
    saved = time.monotonic() - stepped
    (first_at, first_tokens), *_, (last_at, last_tokens) = watch.step_ends[SETTLING - 1 :]
    rate = (last_tokens - first_tokens) / max(last_at - first_at, 1e-9)
    slow_start = max(0.0, first_at - first_tokens / max(rate, 1e-9))
    del trainer, watch
    gc.collect()
    return ready - began + slow_start + saved, rate


def _sample(rendered: Rendered) -> Rendered:
    """Rows drawn at random, the shorter ones if most rows are short."""
    usable_M = np.flatnonzero(rendered.answer_lengths_N)
    fit_M = usable_M[rendered.lengths_N[usable_M] <= _PACK]
    if 2 * len(fit_M) > len(usable_M):
        usable_M = fit_M
    size = min(_ROWS, len(usable_M))
    return rendered.take(np.sort(np.random.default_rng(0).choice(usable_M, size, replace=False)))
