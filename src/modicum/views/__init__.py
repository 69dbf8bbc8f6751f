"""Views: an example as a vector.

A view is called with a pool and a meter and returns float32 of shape (N, D). Row i describes
pool[i], whatever the batch size or the order; equal rows get equal vectors; a row that cannot be
described is NaN. A view that learns something from a pool (`fitted`: word weights, whitening)
learns it from `fitted_on`, so that target rows can be seen as the pool is.
"""

from typing import Protocol

import numpy as np

from modicum.meter import Meter
from modicum.pool import Pool
from modicum.wants import Want


class View(Protocol):
    """What every member of the room offers. `name` is what `--set view=` takes."""

    @property
    def name(self) -> str: ...

    @property
    def wants(self) -> tuple[Want, ...]: ...

    @property
    def fitted(self) -> bool: ...

    def __call__(self, pool: Pool, meter: Meter, *, fitted_on: Pool | None = None) -> np.ndarray:
        """Vectors (N, D) float32 of a pool's rows."""
        ...
