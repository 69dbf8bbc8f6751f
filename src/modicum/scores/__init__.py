"""Scores: an example as a number.

A score is called with a pool and a meter and returns float32 of shape (N,). Value i is of
pool[i], whatever the batch size or the order; a row that cannot be scored is NaN, never 0.
Each docstring says which direction its paper keeps.
"""

from typing import Protocol

import numpy as np

from modicum.meter import Meter
from modicum.pool import Pool
from modicum.wants import Want


class Score(Protocol):
    """What every member of the room offers. `name` is the column's name in `rows.parquet`."""

    @property
    def name(self) -> str: ...

    @property
    def wants(self) -> tuple[Want, ...]: ...

    def __call__(self, pool: Pool, meter: Meter) -> np.ndarray:
        """Values (N,) float32 of a pool's rows."""
        ...
