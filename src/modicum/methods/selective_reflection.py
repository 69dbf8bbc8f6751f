"""The acceptance rule of Selective Reflection-Tuning: Li et al. 2024, arXiv 2402.10110."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from modicum.context import Context
from modicum.scores import Score
from modicum.scores.ifd import IfdPpl
from modicum.scores.reversed_ifd import ReversedIfd
from modicum.selection import Step, band


@dataclass(frozen=True)
class SelectiveReflection:
    """Of rows whose request helps with the answer, and the answer with the request, the hardest.

    A row is accepted if its IFD and its reversed IFD, both of perplexities, are below `accept`;
    the highest IFD is taken first. The paper has a teacher rewrite requests and answers, and
    accepts what is better than before; here nothing is written, and a row is accepted as it is.
    """

    score: Score = field(default_factory=ReversedIfd)
    accept: float = 1.0

    name: ClassVar[str] = "selective-reflection"
    aims: ClassVar[bool] = False
    nested: ClassVar[bool] = True
    paper: ClassVar[str] = "Selective Reflection-Tuning, 2024, arXiv 2402.10110"
    needs: ClassVar[str] = "a model"
    cost: ClassVar[str] = "4 forward passes a row: with its prompt and turned round, alone each"
    fails: ClassVar[str] = "as ifd-ppl; and where many requests fit an answer such as Yes"

    wants: ClassVar = IfdPpl.wants

    def __call__(self, context: Context) -> Iterator[Step]:
        ifd_N, reversed_N = context.values(IfdPpl()), context.values(self.score)
        accepted_N = (ifd_N < self.accept) & (reversed_N < self.accept)
        return band(np.where(accepted_N, ifd_N, np.nan), "top", "ifd-ppl")
