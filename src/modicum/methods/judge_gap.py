"""The contrastive filter of CodecLM: Wang et al. 2024, arXiv 2404.05875."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from modicum.context import Context
from modicum.own_answers import cut_notes
from modicum.scores import Score
from modicum.scores.judge_gap import JudgeGap as Gap
from modicum.selection import Step, band


@dataclass(frozen=True)
class JudgeGap:
    """Take the rows whose answer a judge finds most above what the model answers itself.

    The paper writes the rows too, and keeps those where a strong model's answer and the target
    model's differ by more than a threshold, which is not known for sure, in either direction. Here
    the pool's answer has to be the better one, by more than `above` points of six.
    """

    score: Score = field(default_factory=Gap)
    above: float = 0.0

    name: ClassVar[str] = "judge-gap"
    aims: ClassVar[bool] = False
    nested: ClassVar[bool] = True
    paper: ClassVar[str] = "CodecLM, Wang et al. 2024, arXiv 2404.05875"
    needs: ClassVar[str] = "a model that judges (judge=; else the one given)"
    cost: ClassVar[str] = "an answer written to every row, and 2 questions about it"
    fails: ClassVar[str] = "with a small judge; and where answers are longer than max_new_tokens"

    def __call__(self, context: Context) -> Iterator[Step]:
        gap_N = context.values(self.score)
        context.notes.extend(cut_notes(self.score, context.pool, context.meter))
        return band(np.where(gap_N > self.above, gap_N, np.nan), "top", self.score.name)
