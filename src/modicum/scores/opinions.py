"""Scores that ask a model about a row and read how likely each reply is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from modicum.derived import Further
from modicum.meter import Meter
from modicum.opinion import Opinion
from modicum.pool import Pool
from modicum.wants import Want

_RATINGS = ("1", "2", "3", "4", "5", "6")


@dataclass(frozen=True)
class AskLlm(Opinion):
    """How likely a model is to say yes when it is asked whether a row would help to teach.

    From 0 to 1; the paper keeps the highest (Sachdeva et al. 2024, arXiv 2402.09668). Its question
    is about text to pretrain on; ours, in `ask_llm.txt`, is about a request and its answer.
    """

    name: ClassVar[str] = "ask-llm"
    wants: ClassVar[tuple[Want, ...]] = ()  # of the pool's own rows
    own: ClassVar[str] = "ask_llm.txt"
    words: ClassVar[tuple[str, ...]] = ("Yes", "No")

    def __call__(self, pool: Pool, meter: Meter) -> np.ndarray:
        return self.chances(pool, meter)[:, 0]


@dataclass(frozen=True)
class Complexity(Opinion):
    """How hard a model thinks the request is, from 1 to 6: the mean over its possible ratings.

    DEITA's (Liu et al. 2023, arXiv 2312.15685), with any model instead of one tuned to rate.
    """

    name: ClassVar[str] = "complexity"
    wants: ClassVar[tuple[Want, ...]] = ()
    own: ClassVar[str] = "complexity.txt"
    places: ClassVar[tuple[str, ...]] = ("instruction",)
    words: ClassVar[tuple[str, ...]] = _RATINGS

    def __call__(self, pool: Pool, meter: Meter) -> np.ndarray:
        return mean_rating(self.chances(pool, meter))


@dataclass(frozen=True)
class Quality(Opinion):
    """How good a model thinks the answer is, from 1 to 6: the mean over its possible ratings.

    DEITA's (Liu et al. 2023, arXiv 2312.15685), with any model instead of one tuned to rate.
    """

    name: ClassVar[str] = "quality"
    wants: ClassVar[tuple[Want, ...]] = ()
    own: ClassVar[str] = "quality.txt"
    words: ClassVar[tuple[str, ...]] = _RATINGS

    def __call__(self, pool: Pool, meter: Meter) -> np.ndarray:
        return mean_rating(self.chances(pool, meter))


@dataclass(frozen=True)
class Worth:
    """Complexity of the request × quality of the answer, as DEITA ranks rows; from 1 to 36.

    Liu et al. 2023, arXiv 2312.15685, sum it over the turns of a row; here a row is asked about
    once, as a whole. `complexity` and `quality` are files with the two questions.
    """

    complexity: str = ""
    quality: str = ""
    judge: str = ""
    url: str = ""
    at_once: int = 8

    name: ClassVar[str] = "worth"
    wants: ClassVar[tuple[Want, ...]] = ()

    def __post_init__(self) -> None:
        self.parts()

    def __call__(self, pool: Pool, meter: Meter) -> np.ndarray:
        hard_N, good_N = (part(pool, meter) for part in self.parts())
        return np.asarray(hard_N * good_N, np.float32)

    def further(self, pool: Pool, meter: Meter) -> Further:
        """Both questions as rows, and what is measured of them."""
        return [each for part in self.parts() for each in part.further(pool, meter)]

    def parts(self) -> tuple[Complexity, Quality]:
        """The two questions."""
        who = self.judge, self.url, self.at_once
        return Complexity(self.complexity, *who), Quality(self.quality, *who)

    def other_model(self, trust_remote_code: bool) -> str | None:
        """What else than the model given decides the values."""
        return "".join(f"{part.other_model(trust_remote_code)}" for part in self.parts())


def mean_rating(chance_NR: np.ndarray) -> np.ndarray:
    """(N,) float32: the mean of 1 to R, each as likely as its chance among them says."""
    ratings_R = np.arange(1, chance_NR.shape[1] + 1)
    with np.errstate(invalid="ignore"):
        return np.asarray(chance_NR @ ratings_R / chance_NR.sum(axis=1), np.float32)
