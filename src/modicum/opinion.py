"""What a model thinks of each row: the chances of the words that its reply may begin with.

One forward pass a row through a model here, or one token from any endpoint that speaks OpenAI's
protocol and gives log-probabilities. Nothing is generated to be read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from modicum.chat import Access, Asker, Role, hashed, prompt_text
from modicum.chat.prompts import filled
from modicum.derived import Further, answered, derived, measured, question
from modicum.errors import OptionError
from modicum.meter import Meter
from modicum.models import find_model
from modicum.pool import Example, Pool, Turn, texts
from modicum.render import ANSWER, render_one
from modicum.wants import Opening, Want

_ROLE = Role("scorer", "row", "ask", "asking", "opinions", names="--set judge=NAME")
_TOP = 20  # words of a reply, the likeliest: what endpoints give at most
_RETRIES, _TIMEOUT = 5, 60.0  # tries more, seconds
_PLACES = ("instruction", "answer")


@dataclass(frozen=True)
class Opinion:
    """A question about each row that a word answers, asked of a model.

    The question is the file `prompt`, by default Modicum's own, with {instruction}, all that the
    user said, and {answer}, all that is learned, in it. The model is the one that is to be tuned,
    or `judge`: a folder or hub id, or with `url` the name that an endpoint knows it by (its key is
    OPENAI_API_KEY; `at_once` requests wait at a time).
    """

    prompt: str = ""
    judge: str = ""
    url: str = ""
    at_once: int = 8

    own: ClassVar[str]  # the file of Modicum's own question
    places: ClassVar[tuple[str, ...]] = _PLACES
    words: ClassVar[tuple[str, ...]]

    def __post_init__(self) -> None:
        if self.url:
            self._access()

    def chances(self, pool: Pool, meter: Meter) -> np.ndarray:
        """(N, R) float32: how likely each of the words is to be what the model's reply begins with.

        In upper or lower case. NaN of a row that the model cannot be asked about (no answer, no
        word of a user, or longer as a question than the window), or whose reply
        begins with none of them; of an endpoint's reply only the 20 likeliest beginnings are known,
        and a word that is not among them has 0.
        """
        said_N = np.array([bool(text.strip()) for text in texts(pool, "instruction")], dtype=bool)
        asked_N = answered(pool, meter) & said_N
        if self.url:
            return self._from_afar(pool, asked_N, meter)
        asked = meter if not self.judge else self._through(meter)
        tokens = [opening_tokens(word, asked) for word in self.words]
        _refuse_shared(self.words, tokens, asked)
        log_WN = measured(*self._asked(pool, asked), asked, asked_N)
        splits = np.cumsum([len(each) for each in tokens])[:-1]
        chance_NR = np.stack([np.exp(part).sum(0) for part in np.split(log_WN, splits)], axis=1)
        chance_NR[~asked_N] = np.nan
        return np.asarray(chance_NR, np.float32)

    def further(self, pool: Pool, meter: Meter) -> Further:
        """The questions as rows, and what is measured of them; nothing where a judge measures."""
        return [] if self.url or self.judge else [self._asked(pool, meter)]

    def _asked(self, pool: Pool, meter: Meter) -> tuple[Pool, tuple[Want, ...]]:
        tokens = [token for word in self.words for token in opening_tokens(word, meter)]
        turns = (question(text, self.words[0]) for text in self._questions(pool))
        return derived(pool, turns), tuple(map(Opening, tokens))

    def other_model(self, trust_remote_code: bool) -> str | None:
        """What else than the model given decides the values: the judge, and the question."""
        if self.url or not self.judge:
            return hashed(self._text)
        found = find_model(self.judge, trust_remote_code=trust_remote_code)
        return f"{found.fingerprint}{hashed(self._text)}"

    def _questions(self, pool: Pool) -> Iterator[str]:
        both = zip(texts(pool, "instruction"), texts(pool, "answer"), strict=True)
        return (filled(self._text, dict(zip(_PLACES, each, strict=True))) for each in both)

    def _through(self, meter: Meter) -> Meter:
        base = meter.model
        options: dict[str, Any] = {"trust_remote_code": base.trust_remote_code}
        judge = find_model(self.judge, precision=base.precision, **options)
        return Meter(judge, meter.store, meter.ledger, engine=meter.engine)

    def _from_afar(self, pool: Pool, asked_N: np.ndarray, meter: Meter) -> np.ndarray:
        questions = list(self._questions(pool))
        keys = [hashed(json.dumps(text)) for text in questions]
        wanted = {keys[i]: questions[i] for i in np.flatnonzero(asked_N)}
        replies = self._asker(wanted, meter.ledger)
        chance_NR = np.full((len(pool), len(self.words)), np.nan, dtype=np.float32)
        for i in np.flatnonzero(asked_N):
            chance_R = _read(replies[keys[i]].chances, self.words)
            chance_NR[i] = chance_R if chance_R.any() else np.nan
        return chance_NR

    def _access(self) -> Access:
        return Access(_ROLE, self.url, self.judge, 1, self.at_once, _RETRIES, _TIMEOUT, top=_TOP)

    @cached_property
    def _asker(self) -> Asker[str]:
        return Asker(
            self._access(),
            "{question}",
            lambda text: {"question": text},
            lambda reply: bool(reply.chances),
        )

    @cached_property
    def _text(self) -> str:
        return prompt_text(self.prompt, ("modicum.scores", self.own), self.places)


def opening_tokens(word: str, meter: Meter) -> list[int]:
    """The tokens that are this word, in upper or lower case; if none is, the one it begins with."""
    tokens = list(dict.fromkeys(_first_token(each, meter) for each in _cases(word)))
    decode = meter.model.tokenizer.decode
    whole = [token for token in tokens if _same(str(decode([token])), word)]
    return whole or tokens[:1]


def _first_token(word: str, meter: Meter) -> int:
    turns = (Turn("user", "?", False), Turn("assistant", word, True))
    row = render_one(Example(word, "", "?", turns), meter.model.tokenizer)
    return int(row.ids_T[row.kinds_T == ANSWER][0])


def _cases(word: str) -> list[str]:
    return list(dict.fromkeys([word, word.lower(), word.capitalize(), word.upper()]))


def _refuse_shared(words: Sequence[str], tokens: Sequence[Sequence[int]], meter: Meter) -> None:
    whose: dict[int, str] = {}
    for word, each in zip(words, tokens, strict=True):
        for token in each:
            if whose.setdefault(token, word) != word:
                raise OptionError(
                    f"{meter.model.name} begins the replies {whose[token]} and {word} with one "
                    "token, which does not tell them apart; ask another model (--set judge=NAME)"
                )


def _read(chances: dict[str, float] | None, words: Sequence[str]) -> np.ndarray:
    """(R,) of each word, from the beginnings of a reply and how likely each is."""
    found = np.zeros(len(words), dtype=np.float32)
    for text, chance in (chances or {}).items():
        for place, word in enumerate(words):
            if _same(text, word):
                found[place] += chance
    return found


def _same(text: str, word: str) -> bool:
    return text.strip().casefold() == word.casefold()
