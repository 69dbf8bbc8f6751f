"""What a method will send through a model: known before anything is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from modicum.measure import Loss, Want

if TYPE_CHECKING:
    from modicum.context import Context


class Work(NamedTuple):
    """One pass of some rows through a model: forward only, or in training, in all its epochs."""

    stage: Literal["measure", "train"]
    rows: int
    tokens: int
    loads: bool = True  # the model is read, or the trainer set up, for it


def wants_of(parts: list[Any]) -> list[Want]:
    """What these parts want measured, each want once."""
    return list({want: None for part in parts for want in getattr(part, "wants", ())})


def passes(context: Context, wants: list[Want]) -> list[Work]:
    """The passes that measure these wants of the pool."""
    rendered = context.meter.rendered(context.pool)
    works = []
    if any(not isinstance(want, Loss) or want.prompt for want in wants):
        works.append(Work("measure", len(rendered), len(rendered.ids)))
    if any(isinstance(want, Loss) and not want.prompt for want in wants):
        tokens = int(rendered.answer_lengths_N.sum()) + len(rendered)
        works.append(Work("measure", len(rendered), tokens, loads=not works))
    return works


def training(context: Context, rows: float, epochs: float) -> Work:
    """Tuning on so many rows of the pool's mean length."""
    mean = float(np.mean(context.meter.rendered(context.pool).lengths_N))
    return Work("train", round(rows * epochs), round(rows * epochs * mean))
