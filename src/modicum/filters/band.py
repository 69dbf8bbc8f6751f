"""The best, the worst or the middle rows by a score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from modicum.context import Context
from modicum.errors import OptionError
from modicum.scores import Score
from modicum.selection import band


@dataclass(frozen=True)
class Band:
    """Keep a `share` of the rows by their score: from the top, the bottom or the middle."""

    score: Score
    share: float = 0.5
    where: Literal["top", "bottom", "middle"] = "top"

    name: ClassVar[str] = "band"

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise OptionError(f"share={self.share}: give a share of the rows, 0.5 for half of them")

    @property
    def reason(self) -> str:
        """What is said of the rows that do not stay."""
        place = "in the middle" if self.where == "middle" else f"at the {self.where}"
        return f"not among the {self.share:.4g} of the rows {place} by {self.score.name}"

    def __call__(self, context: Context) -> np.ndarray:
        values_N = context.values(self.score)
        ranked = [step.pick for step in band(values_N, self.where)]
        stays_N = np.zeros(len(values_N), dtype=bool)
        stays_N[ranked[: max(1, round(self.share * len(ranked)))]] = True
        return stays_N
