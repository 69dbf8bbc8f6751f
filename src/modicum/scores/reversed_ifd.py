"""How little the answer helps with guessing what was asked."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from modicum.chat import hashed, prompt_text
from modicum.chat.prompts import filled
from modicum.derived import Further, answered, derived, measured, question
from modicum.meter import Meter
from modicum.pool import Pool, texts
from modicum.wants import Loss, Want

_BOTH: tuple[Want, ...] = (Loss(), Loss(prompt=False))


@dataclass(frozen=True)
class ReversedIfd:
    """Perplexity of the request given the answer ÷ perplexity of the request alone.

    Low: the answer tells what was asked. From Selective Reflection-Tuning (Li et al. 2024, arXiv
    2402.10110). The request is all that the user said, the answer all that is learned; what asks
    for the one by the other is the file `prompt`, by default Modicum's own.
    """

    prompt: str = ""

    name: ClassVar[str] = "reversed-ifd"
    wants: ClassVar[tuple[Want, ...]] = ()  # of the pool's own rows

    def __call__(self, pool: Pool, meter: Meter) -> np.ndarray:
        given_N, alone_N = measured(self.asked(pool), _BOTH, meter, answered(pool, meter))
        with np.errstate(over="ignore"):
            return np.asarray(np.exp(given_N - alone_N), np.float32)

    def further(self, pool: Pool, meter: Meter) -> Further:
        """The rows turned round, and what is measured of them."""
        return [(self.asked(pool), _BOTH)]

    def other_model(self, trust_remote_code: bool) -> str | None:
        """What else than the model given decides the values: the words that ask."""
        return hashed(self._text)

    def asked(self, pool: Pool) -> Pool:
        """The rows turned round: an answer asks for its request."""
        both = zip(texts(pool, "answer"), texts(pool, "instruction"), strict=True)
        return derived(
            pool,
            (question(filled(self._text, {"answer": answer}), request) for answer, request in both),
        )

    @cached_property
    def _text(self) -> str:
        return prompt_text(self.prompt, ("modicum.scores", "reversed_ifd.txt"), ["answer"])
