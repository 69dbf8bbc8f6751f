"""Tags that mean the same, made one (InsCL, arXiv 2403.11435)."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from modicum.errors import AlignmentError, OptionError

Embed = Callable[[Sequence[str]], np.ndarray]

_ROUNDING = 1e-6  # of a cosine in float32: equal vectors are at most so far apart
_BLOCK_NUMBERS = 1 << 22  # cosines at a time: 16 MiB


@dataclass(frozen=True)
class Merged:
    """Tags after merging, and what became of each."""

    tags: list[tuple[str, ...]]  # of each instruction, without repeats
    given: int  # distinct tags
    normalised: int  # names that are left of them when endings, case and signs do not count
    merged: int  # names that are left in the end
    clusters: int  # of more than one normalised name
    used_once: float  # share of the names left that only one instruction has

    def to_json(self) -> dict[str, Any]:
        """The counts; no key is one of `Tagging.to_json`."""
        counts = ("given", "normalised", "merged", "clusters")
        return {name: getattr(self, name) for name in counts} | {
            "merged_used_once": round(self.used_once, 4)
        }


def merged(
    tags: Sequence[Sequence[str]],
    embed: Embed | None = None,
    *,
    eps: float = 0.1,
    min_samples: int = 2,
    language: str = "en",
) -> Merged:
    """Tags normalised, embedded and clustered; a cluster takes its most frequent name.

    As published: `normalise`, DBSCAN with cosine distance and `eps` 0.1, the name that most
    instructions have (of equals, the alphabetically first). `embed` gives vectors (M, D) for M
    names; None: counts of hashed character 3- to 5-grams within words, which bring together what
    is spelled alike, not what means the same.

    Three things differ from the public code. It never merges the last cluster: here all are.
    Its `min_samples` of 5 leaves two to four alike tags apart, each rare, and InsInfo makes much of
    rare tags: the default of 2 merges any two within `eps`. Under a larger `min_samples`, a tag
    that has too few neighbours to found a cluster joins the one of a core tag within `eps` (of
    several, the one whose first name is alphabetically first); a tag with no core within `eps` is
    noise and stays itself, as one with a vector that is zero or not finite does.

    Clusters grow in chains: names at both ends may be farther apart than `eps`. The result does
    not depend on the order of the instructions. Raises `OptionError` for an `eps` of 1 or more.
    """
    if not 0 <= eps < 1 or min_samples < 1:
        raise OptionError(
            f"eps={eps}, min_samples={min_samples}; give an eps from 0 to below 1 and min_samples "
            "of at least 1"
        )
    given = sorted({tag for found in tags for tag in found})
    normal = dict(zip(given, normalise(given, language), strict=True))
    uses = Counter(name for found in tags for name in {normal[tag] for tag in found})
    names = sorted(uses)
    label_M = _clustered(names, embed or _spelling, eps, min_samples)
    called, clusters = _called(names, label_M, uses)
    final = {tag: called[normal[tag]] for tag in given}
    left = [tuple(dict.fromkeys(final[tag] for tag in found)) for found in tags]
    finally_used = Counter(name for found in left for name in found)
    once = sum(count == 1 for count in finally_used.values())
    return Merged(
        tags=left,
        given=len(given),
        normalised=len(names),
        merged=len(finally_used),
        clusters=clusters,
        used_once=once / len(finally_used) if finally_used else 0.0,
    )


def normalise(tags: Sequence[str], language: str = "en") -> list[str]:
    """Each tag in lower case, letters of any script only, every word as its dictionary form.

    Words are lemmatised by simplemma where it knows the language, and left as they are otherwise.
    A tag without a letter is only put in lower case.
    """
    lemma = _lemmatiser(language)
    return [
        " ".join(lemma(word).casefold() for word in _letters(tag).split()) or tag.strip().casefold()
        for tag in tags
    ]


def _letters(tag: str) -> str:
    """Letters, and the marks that belong to them; anything else is a space."""
    plain = unicodedata.normalize("NFC", tag).lower()
    return "".join(c if unicodedata.category(c)[0] in "LM" else " " for c in plain)


def _lemmatiser(language: str) -> Callable[[str], str]:
    try:
        from simplemma import lemmatize
    except ImportError as error:
        raise OptionError(
            "merging tags needs one more package: pip install 'modicum[replay]'"
        ) from error
    try:
        lemmatize("a", language)
    except ValueError:  # how it says that it does not know the language
        return lambda word: word
    return lambda word: lemmatize(word, language)


def _spelling(names: Sequence[str]) -> Any:
    """Unit vectors, sparse, of hashed character n-grams: they do not depend on other names."""
    from sklearn.feature_extraction.text import HashingVectorizer

    return HashingVectorizer(
        analyzer="char_wb", ngram_range=(3, 5), alternate_sign=False, norm="l2", dtype=np.float32
    ).transform(names)


def _clustered(
    names: list[str], embed: Callable[[Sequence[str]], Any], eps: float, min_samples: int
) -> np.ndarray:
    """The cluster of each name, -1 for noise."""
    from scipy.sparse import issparse
    from sklearn.cluster import DBSCAN

    label_M = np.full(len(names), -1)
    lettered = [i for i, name in enumerate(names) if any(map(str.isalpha, name))]
    if not lettered:
        return label_M
    vectors = embed([names[i] for i in lettered])
    if vectors.ndim != 2 or vectors.shape[0] != len(lettered):
        raise AlignmentError(f"{len(lettered)} tags were embedded as {vectors.shape}")
    rows = np.array(lettered)
    if not issparse(vectors):
        vectors, fit_M = _units(vectors)
        rows = rows[fit_M]
    if len(rows):
        # Neighbours are at distance 1 and all others absent: what is within eps is decided once.
        scan = DBSCAN(eps=1.0, min_samples=min_samples, metric="precomputed")
        label_M[rows] = scan.fit(_neighbours(vectors, eps)).labels_
    return label_M


def _units(vectors_MD: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows that have a direction, at length 1, and which they are."""
    wide = np.asarray(vectors_MD, dtype=np.float64)
    length_M = np.linalg.norm(wide, axis=1)
    fit_M = np.isfinite(length_M) & (length_M > 0)
    return (wide[fit_M] / length_M[fit_M, None]).astype(np.float32), fit_M


def _neighbours(units: Any, eps: float) -> Any:
    """Ones (M, M), sparse, where two unit vectors are within `eps`; made a block at a time."""
    from scipy.sparse import csr_matrix, vstack

    count = units.shape[0]
    size = max(1, _BLOCK_NUMBERS // count)
    blocks = []
    for start in range(0, count, size):
        cosine = units[start : start + size] @ units.T
        blocks.append(csr_matrix(cosine >= 1.0 - eps - _ROUNDING, dtype=np.float32))
    return vstack(blocks, format="csr")


def _called(
    names: list[str], label_M: np.ndarray, uses: Counter[str]
) -> tuple[dict[str, str], int]:
    """Each name's new name, and how many clusters have several."""
    best: dict[int, str] = {}
    for name, label in zip(names, label_M.tolist(), strict=True):
        if label >= 0 and (label not in best or uses[name] > uses[best[label]]):
            best[label] = name  # names come in alphabetical order, so of equals the first stays
    called = {
        name: best.get(label, name) for name, label in zip(names, label_M.tolist(), strict=True)
    }
    sizes = Counter(label for label in label_M.tolist() if label >= 0)
    return called, sum(size > 1 for size in sizes.values())
