"""What a pool says twice, and what it shares with an evaluation set. Words only, no model.

Text is compared after NFKC and casefolding, word by word. Scripts that are written without
spaces (Chinese, Japanese kana, Thai, Lao, Burmese, Khmer) count every character as a word.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np

from modicum.errors import OptionError
from modicum.pool import Example, Pool
from modicum.progress import progress

SHARED_WORDS = 13  # Brown et al. 2020, appendix C
_SHINGLE = 3  # tokens; punctuation counts, so that "3 + 4" and "3 * 4" stay apart
_PERMUTATIONS = 128
_MOST_MISSED = 0.001  # of the pairs that are exactly `similarity` alike
_TRIES = 32  # keeps rows that share a template, near or not, from costing a square of their number
_KEPT_SHINGLES = 5_000  # rows whose shingles stay in memory

_UNSPACED = "々〆〇ぁ-ヿ㐀-䶿一-鿿豈-﫿𠀀-𿿿\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]+")
_TOKEN = re.compile(rf"{_WORD.pattern}|[^\w\s]|_")


Kind = Literal["exact", "13-gram"]


class Texts(NamedTuple):
    """One row as decontamination sees it: all the user's words, and all words of the row."""

    user: str
    whole: str


class Overlap(NamedTuple):
    """A pool row that an evaluation row also holds, and the words that they share."""

    position: int
    evaluation: int
    kind: Kind
    text: str  # the shared words, normalised
    holders: int  # evaluation rows that hold them: many means an instruction, not an item


def exact_duplicates(pool: Pool) -> list[list[int]]:
    """Positions of rows whose turns are equal byte for byte, in groups of two or more.

    Groups, and the positions inside each, are in pool order.
    """
    return _groups(pool.digests)


def near_duplicates(pool: Pool, *, similarity: float = 0.8, seed: int = 0) -> list[list[int]]:
    """Positions of rows that read nearly the same, in groups of two or more, in pool order.

    Two rows are near when the Jaccard index of their sets of three consecutive tokens (words and
    punctuation marks, over all turns) is at least `similarity`; groups are what such pairs join
    together, so the ends of a long group can be less alike than that. Exact duplicates are near.

    Candidates come from MinHash with banding (Broder 1997; see `bands_for`) and are verified on
    their text, most alike first: no pair is joined wrongly. Missed are one pair in a thousand at
    exactly `similarity`, and a pair that comes after 32 candidates which were not near. Rows that
    ask different questions of the same long passage, or share a long instruction, are near, too.
    """
    from rensa import RMinHash, RMinHashLSH

    if not 0 < similarity <= 1:
        raise OptionError(f"similarity is {similarity}: give a number above 0 and at most 1")
    texts = [whole_text(example) for example in pool]
    shingles = lru_cache(_KEPT_SHINGLES)(lambda position: _shingles(texts[position]))
    bands = bands_for(similarity)
    index = RMinHashLSH(threshold=similarity, num_perm=_PERMUTATIONS, num_bands=bands)
    hashes_NP = np.zeros((len(texts), _PERMUTATIONS), dtype=np.uint32)
    parents = list(range(len(texts)))
    with progress("looking for near duplicates", len(texts)) as advance:
        for position, first in enumerate(_first_alike(texts)):
            advance(1)
            parents[position] = first
            if first != position:
                continue
            signature = RMinHash(num_perm=_PERMUTATIONS, seed=seed)
            signature.update(list(shingles(position)))
            hashes_NP[position] = signature.digest()
            others = _most_alike_first(index.query(signature), hashes_NP, position)
            _join(parents, position, others, shingles, similarity)
            index.insert(position, signature)
    return _groups(_root(parents, position) for position in range(len(texts)))


def decontaminate(pool: Pool, evaluation: Pool) -> list[Overlap]:
    """Rows of `pool` that `evaluation` also holds; see `shared_with`."""
    return shared_with(pool, (texts_of(example) for example in evaluation))


def shared_with(pool: Pool, evaluation: Iterable[Texts]) -> list[Overlap]:
    """Rows of the pool that share text with an evaluation set, at most one finding for each row.

    "exact": all the user's words are those of an evaluation row, in order. "13-gram": some 13
    consecutive words of the row (any turn) stand in an evaluation row (any turn), as in Brown et
    al. 2020, appendix C. A row that is both is "exact". Of several shared 13-grams the one that
    the fewest evaluation rows hold is named, with the first row that holds it.

    Evaluation rows need no answer: give `Texts("question", "question")`. What it misses: questions
    of fewer than 13 words that were changed by a word, anything that was reworded or translated,
    and text without words. What it finds too much of: an instruction that both sides repeat; give
    the evaluation rows without it, or look at `holders`.
    """
    exact, grams = _Shared({}, Counter()), _Shared({}, Counter())
    for number, texts in enumerate(evaluation):
        if words := _said(texts.user):
            exact.add(words, number)
        for gram in set(_grams(_words(texts.whole))):
            grams.add(gram, number)
    found = []
    with progress("looking for evaluation text", len(pool)) as advance:
        for position, example in enumerate(pool):
            advance(1)
            user, whole = texts_of(example)
            if (words := _said(user)) in exact.first:
                found.append(exact.overlap(position, "exact", words))
            elif held := [gram for gram in _grams(_words(whole)) if gram in grams.first]:
                rarest = min(held, key=grams.holders.__getitem__)
                found.append(grams.overlap(position, "13-gram", rarest))
    return found


def asked(example: Example) -> str:
    """All the user's words in order, as `shared_with` compares them."""
    return _said(texts_of(example).user)


class _Shared(NamedTuple):
    """Texts of the evaluation side, kept whole: two texts never meet in one hash."""

    first: dict[str, int]
    holders: Counter[str]

    def add(self, text: str, number: int) -> None:
        self.first.setdefault(text, number)
        self.holders[text] += 1

    def overlap(self, position: int, kind: Kind, text: str) -> Overlap:
        return Overlap(position, self.first[text], kind, text, self.holders[text])


def texts_of(example: Example) -> Texts:
    """The two texts of an example that `shared_with` compares."""
    asked = "\n".join(turn.content for turn in example.turns if turn.role == "user")
    return Texts(asked, whole_text(example))


def whole_text(example: Example) -> str:
    """All turns, a line break between two."""
    return "\n".join(turn.content for turn in example.turns)


def jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    """Size of the intersection over size of the union; two empty sets are alike."""
    shared = len(one & other)
    union = len(one) + len(other) - shared
    return shared / union if union else 1.0


def bands_for(similarity: float) -> int:
    """The fewest bands of 128 hashes that find a pair of this Jaccard index 999 times in 1,000.

    A pair is a candidate if all hashes of one band agree: 1 - (1 - s^(128/b))^b, Leskovec,
    Rajaraman and Ullman 2014, section 3.4. Below an index of about 0.053 even single hashes miss
    more, and every hash is a band of its own.
    """
    bands = 1
    while bands < _PERMUTATIONS:
        if (1 - similarity ** (_PERMUTATIONS // bands)) ** bands <= _MOST_MISSED:
            break
        bands *= 2
    return bands


def _normalised(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()


def _words(text: str) -> list[str]:
    return _WORD.findall(_normalised(text))


def _said(text: str) -> str:
    return " ".join(_words(text))


def _grams(words: list[str]) -> Iterator[str]:
    for start in range(len(words) - SHARED_WORDS + 1):
        yield " ".join(words[start : start + SHARED_WORDS])


def _shingles(text: str) -> frozenset[str]:
    tokens = _TOKEN.findall(_normalised(text))
    starts = range(max(1, len(tokens) - _SHINGLE + 1))  # a shorter text is one shingle
    return frozenset(" ".join(tokens[start : start + _SHINGLE]) for start in starts)


def _first_alike(texts: list[str]) -> Iterator[int]:
    """For each text the first with the same tokens, so that only that one is compared further."""
    seen: dict[bytes, int] = {}
    for position, text in enumerate(texts):
        tokens = " ".join(_TOKEN.findall(_normalised(text)))
        key = hashlib.blake2b(tokens.encode(), digest_size=16).digest()
        yield seen.setdefault(key, position)


def _most_alike_first(found: list[int], hashes_NP: np.ndarray, position: int) -> list[int]:
    others_M = np.array(sorted(found), dtype=np.int64)
    agreeing_M = (hashes_NP[others_M] == hashes_NP[position]).sum(axis=1)
    return [int(other) for other in others_M[np.argsort(-agreeing_M, kind="stable")]]


def _join(
    parents: list[int],
    position: int,
    others: list[int],
    shingles: Callable[[int], frozenset[str]],
    similarity: float,
) -> None:
    failed = 0
    for other in others:
        root, mine = _root(parents, other), _root(parents, position)
        if root == mine:
            continue
        if jaccard(shingles(position), shingles(other)) >= similarity:
            parents[max(root, mine)] = min(root, mine)
        elif (failed := failed + 1) == _TRIES:
            return


def _root(parents: list[int], position: int) -> int:
    while parents[position] != position:
        parents[position] = parents[parents[position]]
        position = parents[position]
    return position


def _groups(keys: Iterable[object]) -> list[list[int]]:
    groups: defaultdict[object, list[int]] = defaultdict(list)
    for position, key in enumerate(keys):
        groups[key].append(position)
    return [positions for positions in groups.values() if len(positions) > 1]
