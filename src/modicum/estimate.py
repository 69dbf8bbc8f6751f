"""How long a plan will take here: a few seconds of the real work, then arithmetic."""

from __future__ import annotations

import math
import resource
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from modicum.batches import plan_batches
from modicum.ledger import Ledger
from modicum.measure import BATCH_TOKENS, measure
from modicum.plan import Work
from modicum.store import Store
from modicum.training.options import Recipe
from modicum.wants import Loss, Want

if TYPE_CHECKING:
    from modicum.models import Model
    from modicum.render import Rendered

SECONDS = 10.0  # of calibration: somewhat less than half of it forward, the rest training
_FLOAT32 = 4  # bytes
_CHECKPOINT = 3  # weights and two moments of AdamW
_TOLD = ("stage", "rows", "tokens", "loads")


@dataclass(frozen=True)
class Rates:
    """What this machine did on the user's own rows."""

    forward_tokens_per_second: float | None  # None: nothing is to be measured
    load_seconds: float  # to read the model
    trained_tokens_per_second: float | None  # None: nothing is to be trained
    tuning_seconds: float  # to set up a tuning and save its model
    memory_bytes: int  # the most in use at once, so far

    def seconds(self, work: Work) -> float:
        """What this work will take."""
        if work.stage == "measure":
            fixed, rate = work.loads * self.load_seconds, self.forward_tokens_per_second
        else:
            fixed, rate = self.tuning_seconds, self.trained_tokens_per_second
        return fixed + work.tokens / (rate or math.inf)


def calibrate(
    rendered: Rendered,
    model: Model,
    works: Sequence[Work],
    wants: Sequence[Want],
    recipe: Recipe,
    seconds: float = SECONDS,
) -> Rates:
    """Measure and, if the plan trains, train on rows of the pool for a few seconds.

    Nothing of it is kept. A single step of training may take longer than the time given.
    """
    stages = {work.stage for work in works}
    load, forward, tuning, trained = 0.0, None, 0.0, None
    with tempfile.TemporaryDirectory(prefix="modicum-") as folder:
        if "measure" in stages:
            load, forward = _forward_rate(rendered, model, wants, Path(folder), 0.4 * seconds)
        if "train" in stages:
            from modicum.training.rehearsal import rehearse

            tuning, trained = rehearse(rendered, model, Path(folder), recipe, 0.6 * seconds)
    return Rates(forward, load, trained, tuning, _peak_memory(model))


def predict(works: Sequence[Work], rates: Rates, model: Model, keeps_all: bool) -> dict[str, Any]:
    """Tokens, passes, seconds, disk and memory of a plan."""
    stages = ("measure", "train")
    seconds = {s: sum(rates.seconds(work) for work in works if work.stage == s) for s in stages}
    tokens = {s: sum(work.tokens for work in works if work.stage == s) for s in stages}
    trainings = sum(work.stage == "train" for work in works)
    weights = _FLOAT32 * _parameters(model)
    models = (trainings if keeps_all else min(2, trainings)) * weights
    return {
        "work": [{name: getattr(work, name) for name in _TOLD} for work in works],
        "forward_tokens": tokens["measure"],
        "backward_tokens": tokens["train"],
        "seconds": {key: round(value, 2) for key, value in seconds.items()}
        | {"total": round(sum(seconds.values()), 2)},
        "disk_bytes": models + 2 * _CHECKPOINT * weights * (trainings > 0),
        "memory_bytes": rates.memory_bytes,
        "calibration": asdict(rates),
    }


def _forward_rate(
    rendered: Rendered, model: Model, wants: Sequence[Want], folder: Path, seconds: float
) -> tuple[float, float]:
    """Seconds to load the model, and tokens a second of its batches, drawn at random."""
    wants = [want for want in wants if want != Loss(prompt=False)] or [Loss()]
    batches = plan_batches(rendered.lengths_N, BATCH_TOKENS)
    order = np.random.default_rng(0).permutation(len(batches))
    first, tokens, taken = Ledger(), 0, 0.0
    measure(rendered.take(batches[order[0]]), wants, model, Store(folder / "first"), first)
    for place, at in enumerate(np.append(order[1:], order[:1])):
        ledger = Ledger()
        store = Store(folder / f"measured-{place}")
        measure(rendered.take(batches[at]), wants, model, store, ledger)
        tokens += ledger.forward_tokens
        taken += ledger.seconds["measure"]
        if taken > seconds:
            break
    return first.seconds.get("load model", 0.0), tokens / max(taken, 1e-9)


def _parameters(model: Model) -> int:
    """How many, from the files: their bytes are two or four to a parameter."""
    from modicum.models import weights

    stored = model.config.get("dtype") or model.config.get("torch_dtype") or "float32"
    width = 4 if "32" in str(stored) else 2
    return sum(path.stat().st_size for path in weights(model.folder, model.name)) // width


def _peak_memory(model: Model) -> int:
    if model.device.type == "cuda":
        import torch

        return int(torch.cuda.max_memory_allocated())
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
