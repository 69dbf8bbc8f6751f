"""Whether the model answers a row wrongly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from modicum.answers import exact_match
from modicum.derived import Further
from modicum.meter import Meter
from modicum.own_answers import last_answer, own_answers
from modicum.pool import Pool
from modicum.wants import Loss, Want


@dataclass(frozen=True)
class WrongAnswer:
    """1 where what the model answers itself is not the row's answer, 0 where it is.

    LLM2LLM (Lee et al. 2024, arXiv 2403.15042) keeps the 1. Case, punctuation and white space do
    not count; of a conversation the last answer does. NaN where an answer of `max_new_tokens` was
    still going on and the row's own is as long: whether it would have been right is not known.
    """

    max_new_tokens: int = 64

    name: ClassVar[str] = "wrong-answer"
    wants: ClassVar[tuple[Want, ...]] = ()  # nothing of the answers that are given

    def __call__(self, pool: Pool, meter: Meter) -> np.ndarray:
        own = own_answers(pool, meter, self.max_new_tokens)
        wrong_N = np.full(len(pool), np.nan, dtype=np.float32)
        rows = zip(pool, own.answers, own.cut_N, strict=True)
        for i, (row, said, cut) in enumerate(rows):
            given = last_answer(row)
            if said is not None and not (cut and self._as_long(given, meter)):
                wrong_N[i] = 1 - exact_match(said, given)
        return wrong_N

    def further(self, pool: Pool, meter: Meter) -> Further:
        """The reading of the prompts; what writing takes beside it is not foretold."""
        return [(pool, (Loss(),))]

    def _as_long(self, answer: str, meter: Meter) -> bool:
        ids = meter.model.tokenizer(answer, add_special_tokens=False)["input_ids"]
        return len(ids) >= self.max_new_tokens
