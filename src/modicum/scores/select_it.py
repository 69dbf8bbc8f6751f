"""How good a model rates a row, if it is sure of it and is however it is asked."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from modicum.chat import hashed, prompt_text
from modicum.derived import Further
from modicum.errors import OptionError
from modicum.meter import Meter
from modicum.opinion import Opinion
from modicum.pool import Pool
from modicum.wants import Want

_PLACES = ("instruction", "answer")
_BETWEEN = "\n---\n"


@dataclass(frozen=True)
class _Asked(Opinion):
    """One of the questions."""

    text: str = ""

    words: ClassVar[tuple[str, ...]] = ("1", "2", "3", "4", "5")

    @cached_property
    def _text(self) -> str:
        return self.text


@dataclass(frozen=True)
class SelectIt:
    """The mean rating over several questions ÷ (1 + `alpha` × their standard deviation).

    SelectIT (Liu et al. 2024, arXiv 2402.16705), which keeps the highest. A question's rating is
    the likeliest of 1 to 5 × the mean of how much likelier it is than each other; the chances of
    the five are taken among themselves. The paper also weighs models of several sizes. The
    questions are the file `prompt`, by default Modicum's own, lines of `---` between them.
    """

    prompt: str = ""
    judge: str = ""
    url: str = ""
    at_once: int = 8
    alpha: float = 0.2

    name: ClassVar[str] = "select-it"
    wants: ClassVar[tuple[Want, ...]] = ()  # of the pool's own rows

    def __post_init__(self) -> None:
        _Asked("", self.judge, self.url, self.at_once)  # says what it cannot take
        if self.alpha < 0:
            raise OptionError(f"alpha={self.alpha}: give 0 or more")

    def __call__(self, pool: Pool, meter: Meter) -> np.ndarray:
        rated_QN = np.stack([sure_rating(part.chances(pool, meter)) for part in self._parts])
        return np.asarray(rated_QN.mean(0) / (1 + self.alpha * rated_QN.std(0)), np.float32)

    def further(self, pool: Pool, meter: Meter) -> Further:
        """All questions as rows, and what is measured of them."""
        return [each for part in self._parts for each in part.further(pool, meter)]

    def other_model(self, trust_remote_code: bool) -> str | None:
        """What else than the model given decides the values: the judge, and the questions."""
        told = [part.other_model(trust_remote_code) for part in self._parts]
        return hashed(f"{told}")

    @cached_property
    def _parts(self) -> tuple[_Asked, ...]:
        texts = prompt_text(self.prompt, ("modicum.scores", "select_it.txt"), _PLACES)
        who = "", self.judge, self.url, self.at_once
        return tuple(_Asked(*who, text.strip("\n")) for text in texts.split(_BETWEEN))


def sure_rating(chance_NR: np.ndarray) -> np.ndarray:
    """(N,) float64: the likeliest of 1 to R × how much likelier it is than the others, on average.

    SelectIT's token-level reflection. NaN of a row without chances, or with none above 0.
    """
    with np.errstate(invalid="ignore"):
        share_NR = chance_NR.astype(np.float64) / chance_NR.sum(axis=1, keepdims=True)
    best_N = np.argmax(share_NR, axis=1)
    gap_NR = share_NR.max(axis=1, keepdims=True) - share_NR
    return np.asarray((1 + best_N) * gap_NR.sum(axis=1) / (share_NR.shape[1] - 1))
