"""Keyphrases by YAKE: no model, no network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from modicum.errors import OptionError
from modicum.ledger import Ledger
from modicum.progress import progress


@dataclass(frozen=True)
class Keyphrases:
    """The `top` best keyphrases of each instruction, of at most `words` words, best first.

    YAKE (Campos et al. 2020) ranks what an instruction says by its own statistics: position, case,
    frequency and company of its words, with a list of stop words for the language. It finds no
    intention that is not written down, and knows no synonym.
    """

    top: int = 5
    words: int = 2
    language: str = "en"

    name: ClassVar[str] = "keyphrases"

    def __post_init__(self) -> None:
        for option, value in {"top": self.top, "words": self.words}.items():
            if value < 1:
                raise OptionError(f"{option}={value}; at least 1 is needed")

    def __call__(self, instructions: Sequence[str], ledger: Ledger) -> list[tuple[str, ...]]:
        extractor = self._extractor()
        found = {text: tuple[str, ...]() for text in instructions}
        with ledger.time("tag"), progress("tagging", len(found), "instructions") as advance:
            for text in found:
                phrases: dict[str, str] = {}
                for phrase, _ in extractor.extract_keywords(text):
                    phrases.setdefault(phrase.casefold(), phrase)
                found[text] = tuple(phrases.values())
                advance(1)
        return [found[text] for text in instructions]

    def _extractor(self) -> Any:
        try:
            from yake import KeywordExtractor
        except ImportError as error:
            raise OptionError(
                "keyphrases need one more package: pip install 'modicum[replay]'"
            ) from error
        extractor = KeywordExtractor(lan=self.language, n=self.words, top=self.top)
        if not any(extractor.stopword_set):  # what it takes for a language that it does not know
            raise OptionError(
                f"language={self.language}: YAKE has no stop words for it; give a two-letter code "
                "that it has (en, de, fr, zh, …), or tag with --tagger URL --tagger-model NAME"
            )
        return extractor
