"""How surprised the model is by the answer, given its prompt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from modicum.meter import Meter
from modicum.pool import Pool
from modicum.wants import Loss as AnswerLoss
from modicum.wants import Want


@dataclass(frozen=True)
class Loss:
    """Mean negative log-likelihood of the answer's tokens given the prompt, in nats.

    The highest values are mostly noise: top-perplexity selection is reliably worse than random
    (arXiv 2503.01807). Take a middle band, or use it inside another score.
    """

    name: ClassVar[str] = "loss"
    wants: ClassVar[tuple[Want, ...]] = (AnswerLoss(),)

    def __call__(self, pool: Pool, meter: Meter) -> np.ndarray:
        return meter.measured(pool, self.wants[0])
