"""What a method will send through a model: known before anything is sent."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from modicum.errors import OptionError
from modicum.forward import answers_alone
from modicum.training.options import PACK, Recipe
from modicum.wants import HiddenState, Loss, Want

if TYPE_CHECKING:
    from modicum.context import Context
    from modicum.meter import Meter
    from modicum.render import Rendered
    from modicum.views import View

_PACKS, _STEP = 8, 4  # rows in a batch without packing, batches in a step: TRL's default and ours


class Work(NamedTuple):
    """One pass of some rows through a model: forward only, or in training, in all its epochs."""

    stage: Literal["measure", "train"]
    rows: int
    tokens: int
    loads: bool = True  # the model is read, or the trainer set up, for it
    wants: tuple[Want, ...] = ()  # what the pass measures


def wants_of(parts: Sequence[Any]) -> list[Want]:
    """What these parts want measured, each want once."""
    return list({want: None for part in parts for want in getattr(part, "wants", ())})


def passes(rendered: Rendered, wants: Sequence[Want]) -> list[Work]:
    """The passes that measure these wants of rendered rows."""
    whole = tuple(want for want in wants if not isinstance(want, Loss) or want.prompt)
    alone = tuple(want for want in wants if want not in whole)
    works = []
    if whole:
        works.append(Work("measure", len(rendered), len(rendered.ids), wants=whole))
    if alone:
        answers, row_S = answers_alone(rendered, 0)
        works.append(Work("measure", len(row_S), len(answers.ids), not works, alone))
    return works


def width_of(view: View, meter: Meter) -> int | None:
    """How many numbers a vector of this view has at most; None if that is not known before."""
    dimensions = getattr(view, "dimensions", None)
    if isinstance(dimensions, int):
        return dimensions
    wants: Sequence[Want] = getattr(view, "wants", ())
    if len(wants) == 1 and isinstance(wants[0], HiddenState):
        return int(meter.model.text_config.hidden_size)
    return None


def scaled(works: Sequence[Work], share: float) -> list[Work]:
    """The same passes of so large a share of the rows, drawn by chance."""
    return [
        work._replace(rows=round(share * work.rows), tokens=round(share * work.tokens))
        for work in works
    ]


def own_recipe(context: Context, epochs: float | None) -> Recipe:
    """How a method with an option `epochs` tunes on rows of the pool; refused if it cannot."""
    if epochs is not None and not 0 < epochs < math.inf:
        raise OptionError(f"epochs={epochs}; give a number above 0")
    given = {} if epochs is None else {"num_train_epochs": epochs}
    recipe = context.recipe.with_(**given)
    lengths_N = context.meter.rendered(context.pool).lengths_N
    recipe.check(int(np.max(lengths_N, initial=0)))
    return recipe


def training(recipe: Recipe, rows: float, tokens: float) -> Work:
    """Tuning on so many rows, which have so many tokens in all."""
    times = epochs_of(recipe, rows, tokens)
    return Work("train", round(times * rows), round(times * tokens))


def epochs_of(recipe: Recipe, rows: float, tokens: float) -> float:
    """How often each row is trained on; with `max_steps`, as often as that many steps reach."""
    steps = _number(recipe, "max_steps", 0)
    if steps <= 0:
        return recipe.epochs()
    if packs := str(recipe.given.get("packing", True)).lower() in ("true", "yes", "1", "t", "y"):
        # Packs are filled nearly to the brim.
        batches = tokens / _number(recipe, "max_length", PACK)
    else:
        batches = rows
    size = _number(recipe, "per_device_train_batch_size", 1 if packs else _PACKS)
    per_step = _number(recipe, "gradient_accumulation_steps", _STEP)
    return steps / max(1, math.ceil(math.ceil(batches / size) / per_step))


def summed(works: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The work of each stage together, where there are hundreds."""
    return [
        {
            "stage": stage,
            "times": sum(work["stage"] == stage for work in works),
            **{
                key: sum(work[key] for work in works if work["stage"] == stage)
                for key in ("rows", "tokens")
            },
        }
        for stage in ("measure", "train")
    ]


def _number(recipe: Recipe, option: str, default: float) -> float:
    """An option that `Recipe.check` let pass: a number, text of one, or none."""
    given = recipe.given.get(option)
    return default if given is None or str(given).lower() == "none" else float(given)
