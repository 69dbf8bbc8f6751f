"""Instruction-following difficulty: how little the instruction helps with the answer.

Two scores go by this name. Li et al. (arXiv 2308.12032) divide the mean losses; the same
authors' Superfiltering (arXiv 2402.00530) divides the perplexities. They rank rows differently:
the second depends on the difference of the losses alone, the first also on their size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from modicum.meter import Meter
from modicum.pool import Pool
from modicum.wants import Loss, Want

_BOTH: tuple[Want, ...] = (Loss(), Loss(prompt=False))


@dataclass(frozen=True)
class Ifd:
    """Loss of the answer given the prompt ÷ loss of the answer alone.

    High: the instruction gave the model little. At 1 or above it gave nothing or misled, often
    a sign of a mismatched pair; the papers drop those and keep the highest below 1.
    """

    name: ClassVar[str] = "ifd"
    wants: ClassVar[tuple[Want, ...]] = _BOTH

    def __call__(self, pool: Pool, meter: Meter) -> np.ndarray:
        given_N, alone_N = (meter.measured(pool, want) for want in _BOTH)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(given_N / alone_N, np.float32)


@dataclass(frozen=True)
class IfdPpl:
    """Perplexity of the answer given the prompt ÷ perplexity of the answer alone."""

    name: ClassVar[str] = "ifd-ppl"
    wants: ClassVar[tuple[Want, ...]] = _BOTH

    def __call__(self, pool: Pool, meter: Meter) -> np.ndarray:
        given_N, alone_N = (meter.measured(pool, want) for want in _BOTH)
        with np.errstate(over="ignore"):
            return np.asarray(np.exp(given_N - alone_N), np.float32)
