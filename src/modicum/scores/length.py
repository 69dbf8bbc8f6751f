"""How long the answer is: the honest baseline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from modicum.meter import Meter
from modicum.pool import Pool
from modicum.wants import Want


@dataclass(frozen=True)
class Length:
    """Tokens of the learned answers, each turn's end token included.

    Long answers first is a hard baseline on small pools (arXiv 2402.04833), and a bad one on
    pools of millions (arXiv 2503.01807).
    """

    name: ClassVar[str] = "length"
    wants: ClassVar[tuple[Want, ...]] = ()

    def __call__(self, pool: Pool, meter: Meter) -> np.ndarray:
        tokens_N = meter.rendered(pool).answer_lengths_N.astype(np.float32)
        return np.where(tokens_N > 0, tokens_N, np.nan).astype(np.float32)
