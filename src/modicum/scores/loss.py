"""How surprised the model is by the answer, given its prompt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from modicum import measure
from modicum.meter import Meter
from modicum.pool import Pool


@dataclass(frozen=True)
class Loss:
    """Mean negative log-likelihood of the answer's tokens given the prompt, in nats.

    The highest values are mostly noise: top-perplexity selection is reliably worse than random
    (arXiv 2503.01807). Take a middle band, or use it inside another score.
    """

    name: ClassVar[str] = "loss"
    wants: ClassVar[tuple[measure.Want, ...]] = (measure.Loss(),)

    def __call__(self, pool: Pool, meter: Meter) -> np.ndarray:
        return meter.measured(pool, self.wants[0])
