"""Scores of every row of a pool."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from modicum.errors import OptionError
from modicum.lineup import parts_of
from modicum.meter import Meter
from modicum.models import Model, Precision
from modicum.parts import members
from modicum.plan import wants_of
from modicum.pool import Pool
from modicum.scale import Engine, engine_of
from modicum.store import Store
from modicum.usable import TooLong, meter_of, spread, unscored, unusable

if TYPE_CHECKING:
    from modicum.scores import Score


@dataclass(frozen=True)
class Scored:
    """Scores of a pool, and which of its rows have none and why."""

    pool: Pool
    scores: dict[str, np.ndarray]  # (N,) float32 each, NaN where there is no score
    left_out: dict[int, str]
    meter: Meter
    parts: tuple[Score, ...] = ()


def score(
    pool: Pool,
    scores: str | Sequence[str | Score],
    model: str | Path | Model | None = None,
    *,
    too_long: TooLong = "drop",
    max_tokens: int | None = None,
    precision: Precision = "auto",
    store: Store | None = None,
    engine: str | Engine = "local",
    ray_address: str | None = None,
) -> Scored:
    """Measure scores: by name, `ask-llm(judge=FOLDER)`, or as objects; those that need the same
    forward pass share it.

    In this process, or with the engine `ray` by the workers of the cluster at `ray_address`.
    """
    parts = scorers(scores)
    runner = engine_of(engine, ray_address)
    meter = meter_of(
        model,
        too_long=too_long,
        max_tokens=max_tokens,
        precision=precision,
        store=store,
        engine=runner,
    )
    left_out = unusable(pool, meter, too_long)
    rows_M = np.setdiff1d(np.arange(len(pool)), list(left_out))
    measured = meter.narrow(pool, rows_M)
    with closing(runner):
        meter.prepare(measured, wants_of(parts))
        values = {part.name: spread(part(measured, meter), rows_M, len(pool)) for part in parts}
    for name, values_N in values.items():
        left_out |= unscored(name, values_N[rows_M], rows_M)
    return Scored(pool, values, left_out, meter, tuple(parts))


def scorers(given: str | Sequence[str | Score]) -> list[Score]:
    """The scores of `ifd,ask-llm(judge=FOLDER)`, of several such texts, or themselves.

    None, one that does not exist, or two of one name, are an `OptionError`.
    """
    parts: list[Score] = parts_of("modicum.scores", given, "--with")
    if not parts:
        raise OptionError(f"name a score: {', '.join(members('modicum.scores'))}")
    names = [part.name for part in parts]
    if twice := {name for name in names if names.count(name) > 1}:
        raise OptionError(f"--with {min(twice)} is given twice; both would be one column")
    return parts
