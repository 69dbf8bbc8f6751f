"""How unsure the model is while it reads the answer: the classical baselines of active learning.

Each is a mean, over the answer's tokens, of a number of the distribution p over the vocabulary
given everything before the token (Settles, Active Learning Literature Survey, 2009).
DiverseEvol (arXiv 2311.08182) compares itself with taking the least sure rows: in its released
results least confidence and margin do worse than random, and of entropy there are none. Its
public code averages raw logits (for the entropy, probabilities) over all positions, the prompt's
included; here all three are of probabilities, over the answer only, so rows rank differently.

`takes` says which end of the values is the least sure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from modicum.meter import Meter
from modicum.pool import Pool
from modicum.wants import Uncertainty, Want


@dataclass(frozen=True)
class LeastConfidence:
    """1 − the probability of the likeliest token. From 0, sure, to nearly 1: high is unsure."""

    name: ClassVar[str] = "least-confidence"
    wants: ClassVar[tuple[Want, ...]] = (Uncertainty("least-confidence"),)
    takes: ClassVar[Literal["top", "bottom"]] = "top"

    def __call__(self, pool: Pool, meter: Meter) -> np.ndarray:
        return meter.measured(pool, self.wants[0])


@dataclass(frozen=True)
class Margin:
    """Probability of the likeliest token − that of the next. From 0 to 1, sure: low is unsure."""

    name: ClassVar[str] = "margin"
    wants: ClassVar[tuple[Want, ...]] = (Uncertainty("margin"),)
    takes: ClassVar[Literal["top", "bottom"]] = "bottom"

    def __call__(self, pool: Pool, meter: Meter) -> np.ndarray:
        return meter.measured(pool, self.wants[0])


@dataclass(frozen=True)
class Entropy:
    """−Σ p ln p in nats. From 0, sure, to the logarithm of the vocabulary: high is unsure."""

    name: ClassVar[str] = "entropy"
    wants: ClassVar[tuple[Want, ...]] = (Uncertainty("entropy"),)
    takes: ClassVar[Literal["top", "bottom"]] = "top"

    def __call__(self, pool: Pool, meter: Meter) -> np.ndarray:
        return meter.measured(pool, self.wants[0])
