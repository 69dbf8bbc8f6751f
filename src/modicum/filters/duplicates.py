"""One of the rows that read the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from modicum.context import Context
from modicum.errors import OptionError
from modicum.overlap import exact_duplicates, near_duplicates

_SIMILARITY = 0.8


@dataclass(frozen=True)
class Duplicates:
    """Keep the first of rows that read the same: exactly, or nearly by their words.

    Near is a Jaccard index of at least `similarity` between sets of three consecutive words, found
    by MinHash and verified. The groups are those of `modicum check`.
    """

    kind: Literal["near", "exact"] = "near"
    similarity: float = _SIMILARITY

    name: ClassVar[str] = "duplicates"

    def __post_init__(self) -> None:
        if not 0 < self.similarity <= 1:
            raise OptionError(f"similarity={self.similarity}: give more than 0, and at most 1")
        if self.kind == "exact" and self.similarity != _SIMILARITY:
            raise OptionError(f"similarity={self.similarity} belongs to kind=near; leave one out")

    @property
    def reason(self) -> str:
        """What is said of the rows that do not stay."""
        return f"reads {'nearly ' if self.kind == 'near' else ''}the same as an earlier row"

    def __call__(self, context: Context) -> np.ndarray:
        pool = context.pool
        if self.kind == "exact":
            groups = exact_duplicates(pool)
        else:
            groups = near_duplicates(pool, similarity=self.similarity)
        stays_N = np.ones(len(pool), dtype=bool)
        for group in groups:
            stays_N[group[1:]] = False
        return stays_N
