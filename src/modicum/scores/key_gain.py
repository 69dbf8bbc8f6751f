"""How much the key words of a request help with its answer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from modicum.derived import Further, answered, derived, measured
from modicum.meter import Meter
from modicum.pool import Example, Pool, Turn, texts
from modicum.tags.keyphrases import Keyphrases
from modicum.wants import Loss, Want

_ANSWER: tuple[Want, ...] = (Loss(),)
_MASK = "_"


@dataclass(frozen=True)
class KeyGain:
    """Loss of the answer with the key words of the user masked − its loss as it is, in nats.

    Low, or below 0: the model answers without heeding what matters. After KPIG (He et al. 2024,
    arXiv 2403.10056), where GPT-4 marks the key part and the divergence of whole distributions
    may be meant. Here the key words are the `top` keyphrases that YAKE finds in what the user
    says, of at most `words` words each, and each of their words becomes `_` in the user's turns;
    where it finds none, all that the user says is key. NaN of a row without a word of a user.
    """

    top: int = 5
    words: int = 2
    language: str = "en"

    name: ClassVar[str] = "key-gain"
    wants: ClassVar[tuple[Want, ...]] = _ANSWER

    def __post_init__(self) -> None:
        Keyphrases(self.top, self.words)  # says what it cannot take

    def __call__(self, pool: Pool, meter: Meter) -> np.ndarray:
        made = self.asked(pool, meter)
        found_N = np.array(
            [one != other for one, other in zip(made.digests, pool.digests, strict=True)], bool
        )
        # A prompt that was cut is not the one that its masked words are taken from.
        asked_N = answered(pool, meter)
        asked_N[list(meter.rendered(pool).truncated)] = False
        masked_N = measured(made, _ANSWER, meter, asked_N)[0]
        gain_N = masked_N - meter.measured(pool, _ANSWER[0])
        return np.where(found_N, gain_N, np.float32(np.nan))

    def further(self, pool: Pool, meter: Meter) -> Further:
        """The masked rows, and what is measured of them."""
        return [(self.asked(pool, meter), _ANSWER)]

    def asked(self, pool: Pool, meter: Meter) -> Pool:
        """The rows with their key words masked; looked for once."""
        return meter.once((self, pool.fingerprint), lambda: self._masked(pool, meter))

    def _masked(self, pool: Pool, meter: Meter) -> Pool:
        said = list(texts(pool, "instruction"))
        keys = Keyphrases(self.top, self.words, self.language)(said, meter.ledger)
        return derived(pool, (masked(row, each) for row, each in zip(pool, keys, strict=True)))


def masked(row: Example, phrases: Sequence[str]) -> tuple[Turn, ...]:
    """A row's turns, with these phrases masked word by word in the user's; every word for none."""
    longest_first = sorted(phrases, key=len, reverse=True)
    spaced = (r"\s+".join(map(re.escape, each.split())) for each in longest_first)
    either = "|".join(rf"(?<!\w){each}(?!\w)" for each in spaced)
    pattern = re.compile(either or r"\S+", re.IGNORECASE)
    return tuple(
        turn._replace(content=pattern.sub(_of_masks, turn.content)) if turn.role == "user" else turn
        for turn in row.turns
    )


def _of_masks(found: re.Match[str]) -> str:
    return re.sub(r"\S+", _MASK, found[0])
