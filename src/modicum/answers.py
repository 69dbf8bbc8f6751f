"""How close an answer is to its reference: exact match, and ROUGE-L over words of any script."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from modicum.errors import InputError, OptionError

_COMMA = re.compile("[,،、，]")
# What a word may begin with, and end with, without being another word: quotes, brackets, and the
# marks of a sentence. A dot, a minus or a bang before something belongs to it (.5, -5, !x).
_OPENING = "\"'‘’‚‛“”„‟‹›«»([{¿¡…（［｛「『《〈【〔"
_CLOSING = _OPENING + ")]}.;:!?）］｝」』》〉】〕。．；：！？।॥؛؟۔։።၊။"
# Scripts written without spaces between words: every character is a token.
_UNSPACED = re.compile(
    "([\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai and Lao, Burmese, Khmer
    "\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\uff66-\uff9f"  # kana
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af])"  # Han
)


def exact_match(answer: str, reference: str) -> float:
    """1 if the two are the same up to case, punctuation and white space, else 0.

    Punctuation is commas, and at a word's edges the marks of a sentence, quotes and brackets.
    Anything else stays (1.5, .5, -5, 50%, C#, a != b), and so do marks within a word. Texts of
    nothing but punctuation are compared with it.
    """
    return float(_normalised(answer) == _normalised(reference))


def rouge_l(answers: Sequence[str], references: Sequence[str]) -> np.ndarray:
    """(N,) float64 in 0..1: F-measure of the longest common subsequence of tokens (Lin 2004).

    Tokens are those of the `rouge_score` package with its Porter stemmer, as Super-NaturalInstruc-
    tions scores (arXiv 2204.07705), and beyond a-z and 0-9 words of any script; of scripts without
    spaces, each character. Where a reference has no token at all, exact match decides.
    """
    try:
        from rouge_score.rouge_scorer import RougeScorer
        from rouge_score.tokenizers import DefaultTokenizer
    except ImportError as error:
        raise OptionError(
            "ROUGE-L needs one more package: pip install 'modicum[replay]'"
        ) from error
    if len(answers) != len(references):
        raise InputError(
            f"{len(answers):,} answers to {len(references):,} references; give one each"
        )
    words = _Words(DefaultTokenizer(use_stemmer=True).tokenize)
    scorer = RougeScorer(["rougeL"], tokenizer=words)
    return np.array(
        [
            scorer.score(reference, answer)["rougeL"].fmeasure
            if words.tokenize(reference)
            else exact_match(answer, reference)
            for answer, reference in zip(answers, references, strict=True)
        ],
        dtype=np.float64,
    )


@dataclass(frozen=True)
class _Words:
    """The tokenizer that `rouge_score` is given."""

    english: Callable[[str], list[str]]  # the package's own

    def tokenize(self, text: str) -> list[str]:
        letters = unicodedata.normalize("NFC", text.lower())
        apart = "".join(c if unicodedata.category(c)[0] in "LMN" else " " for c in letters)
        words = _UNSPACED.sub(r" \1 ", apart).split()
        return [token for w in words for token in (self.english(w) if w.isascii() else [w])]


def _normalised(text: str) -> str:
    folded = unicodedata.normalize("NFC", text.casefold())
    words = [word.rstrip(_CLOSING).lstrip(_OPENING) for word in _COMMA.sub(" ", folded).split()]
    return " ".join(filter(None, words)) or " ".join(folded.split())
