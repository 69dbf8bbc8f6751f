"""How much better a row's answer is than the model's own, as a judge sees both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from modicum.derived import Further
from modicum.meter import Meter
from modicum.own_answers import own_answers, with_answers
from modicum.pool import Pool
from modicum.scores.opinions import Quality
from modicum.wants import Loss, Want

_WORST = 1.0  # of the ratings


@dataclass(frozen=True)
class JudgeGap:
    """Quality of the row's answer − quality of what the model answers itself; from −5 to 5.

    CodecLM (Wang et al. 2024, arXiv 2404.05875) keeps rows whose gap is large. Each of the two is
    rated alone, from 1 to 6, by `quality`'s question (`prompt`) and through whom that asks
    (`judge`, `url`); an empty answer has 1. The model writes at most `max_new_tokens`.
    """

    max_new_tokens: int = 64
    prompt: str = ""
    judge: str = ""
    url: str = ""
    at_once: int = 8

    name: ClassVar[str] = "judge-gap"
    wants: ClassVar[tuple[Want, ...]] = ()

    def __post_init__(self) -> None:
        self._quality()

    def __call__(self, pool: Pool, meter: Meter) -> np.ndarray:
        own, quality = own_answers(pool, meter, self.max_new_tokens), self._quality()
        given_N = quality(pool, meter)
        own_N = quality(with_answers(pool, own.answers), meter)
        own_N[[said == "" for said in own.answers]] = _WORST
        own_N[[said is None for said in own.answers]] = np.nan
        return np.asarray(given_N - own_N, np.float32)

    def further(self, pool: Pool, meter: Meter) -> Further:
        """The reading of the prompts, and both questions; the writing is not foretold."""
        asked = self._quality().further(pool, meter)
        return [(pool, (Loss(),)), *asked, *asked]

    def other_model(self, trust_remote_code: bool) -> str | None:
        """What else than the model given decides the values: the judge, and the question."""
        return self._quality().other_model(trust_remote_code)

    def _quality(self) -> Quality:
        return Quality(self.prompt, self.judge, self.url, self.at_once)
