"""`modicum train`: from files to a model folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from modicum.jobs.folders import Done, once, plan, shared
from modicum.jobs.reading import Reading
from modicum.training.together import Processes

if TYPE_CHECKING:
    from modicum.models import Model
    from modicum.training.options import Recipe
    from modicum.tuning import Training


def run_train(
    reading: Reading,
    out: Path,
    *,
    recipe: Recipe,
    seed: int,
    model: Model,
    too_long: Any,
    max_tokens: int | None,
    dry: bool = False,
) -> Done | dict[str, Any]:
    """`modicum train`, in one process or as one of several that train together."""
    from modicum.tuning import prepare

    recipe.check()
    pool = reading.read()
    command = {
        "command": "train",
        "train": recipe.to_json(),
        "seed": seed,
        **shared(reading, pool, model, too_long, max_tokens),
    }

    def prepared() -> Training:
        return prepare(
            pool,
            model,
            train=recipe,
            lora=False,
            seed=seed,
            too_long=too_long,
            max_tokens=max_tokens,
        )

    processes = Processes()

    def work(folder: Path) -> None:
        prepared().finish(folder, processes)

    if dry:
        return plan(prepared().predict(), pool)
    return once(out, command, "", work, processes)
