"""Rows whose score lies within bounds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from modicum.context import Context
from modicum.errors import OptionError
from modicum.scores import Score
from modicum.scores.length import Length


@dataclass(frozen=True)
class Between:
    """Keep rows whose score is at least `least` and at most `most`."""

    score: Score = field(default_factory=Length)
    least: float | None = None
    most: float | None = None

    name: ClassVar[str] = "between"

    def __post_init__(self) -> None:
        if any(bound is not None and np.isnan(bound) for bound in (self.least, self.most)):
            raise OptionError(f"{self.name}: nan is no bound; give a number")
        if self.least is None and self.most is None:
            raise OptionError(f"{self.name}: give least, most or both, as most=512")
        if self.least is not None and self.most is not None and self.least > self.most:
            raise OptionError(f"{self.name}: least={self.least:g} is above most={self.most:g}")

    @property
    def reason(self) -> str:
        """What is said of the rows that do not stay."""
        bounds = {"at least": self.least, "at most": self.most}
        said = [f"{word} {bound:g}" for word, bound in bounds.items() if bound is not None]
        return f"{self.score.name} is not {' and '.join(said)}"

    def __call__(self, context: Context) -> np.ndarray:
        values_N = context.values(self.score)
        stays_N: np.ndarray = np.isfinite(values_N)
        if self.least is not None:
            stays_N &= values_N >= self.least
        if self.most is not None:
            stays_N &= values_N <= self.most
        return stays_N
