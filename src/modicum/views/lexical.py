"""Words only: hashed TF-IDF, no model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from modicum.errors import OptionError
from modicum.geometry import BLOCK, finished
from modicum.meter import Meter
from modicum.pool import Pool, texts
from modicum.wants import Want

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

_BUCKETS = 2**20  # words and word pairs are hashed here first, where collisions are rare


@dataclass(frozen=True)
class Lexical:
    """Word and word-pair counts, damped by a logarithm, weighted by rarity in the pool (TF-IDF).

    They are hashed into `dimensions` signed sums (a count sketch: dot products keep their
    expectation, with a standard deviation of about 1/√dimensions for unit rows), of unit length.
    A row without a single word is NaN.
    """

    dimensions: int = 1024
    over: Literal["row", "answer", "instruction"] = "row"
    normalise: bool = True

    name: ClassVar[str] = "lexical"
    wants: ClassVar[tuple[Want, ...]] = ()
    fitted: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.dimensions < 1:
            raise OptionError(f"dimensions={self.dimensions}; at least 1 is needed")

    def __call__(self, pool: Pool, meter: Meter, *, fitted_on: Pool | None = None) -> np.ndarray:
        learned = pool if fitted_on is None else fitted_on
        rarity_V = meter.once((self, "rarity", learned.fingerprint), lambda: self._rarity(learned))
        sketch = self._sketch()
        return finished(
            (_damped(counts, rarity_V, sketch) for counts in self._counts(pool)),
            normalise=self.normalise,
        )

    def _rarity(self, pool: Pool) -> np.ndarray:
        """What a word counts: one more than the logarithm of how few rows have it, (buckets,)."""
        rows_V = np.ones(_BUCKETS)  # as if one more row had every word: none is infinitely rare
        for counts in self._counts(pool):
            rows_V += np.bincount(counts.indices, minlength=_BUCKETS)
        return np.log((1 + len(pool)) / rows_V) + 1

    def _counts(self, pool: Pool) -> Iterator[csr_matrix]:
        """How often a row has each word, in blocks of rows."""
        from sklearn.feature_extraction.text import HashingVectorizer

        words = HashingVectorizer(
            n_features=_BUCKETS,
            ngram_range=(1, 2),
            alternate_sign=False,
            norm=None,
            token_pattern=r"(?u)\b\w+\b",
        )
        waiting = texts(pool, self.over)
        yield words.transform(islice(waiting, BLOCK))
        while some := list(islice(waiting, BLOCK)):
            yield words.transform(some)

    def _sketch(self) -> csr_matrix:
        """(buckets, dimensions): one ±1 in each row, the same on every machine."""
        from scipy.sparse import csr_matrix

        mixed = np.random.Generator(np.random.PCG64(0)).integers(0, 2**32, _BUCKETS)
        signs = np.where(mixed & 1, 1.0, -1.0).astype(np.float32)
        place = (mixed >> 1) % self.dimensions
        return csr_matrix((signs, place, np.arange(_BUCKETS + 1)), (_BUCKETS, self.dimensions))


def _damped(counts: csr_matrix, rarity_V: np.ndarray, sketch: csr_matrix) -> np.ndarray:
    counts.data = (1 + np.log(counts.data)) * rarity_V[counts.indices]
    vectors_BD = (counts @ sketch).toarray()
    vectors_BD[counts.getnnz(axis=1) == 0] = np.nan
    return np.asarray(vectors_BD, dtype=np.float32)
