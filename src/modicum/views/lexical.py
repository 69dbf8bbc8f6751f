"""Words only: hashed TF-IDF, no model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from modicum.errors import OptionError
from modicum.geometry import unit_rows
from modicum.measure import Want
from modicum.meter import Meter
from modicum.pool import Pool, texts

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
        from sklearn.feature_extraction.text import TfidfTransformer

        counts = self._counts(pool)
        weights = TfidfTransformer(sublinear_tf=True, norm=None)
        weights.fit(counts if fitted_on is None else self._counts(fitted_on))
        vectors_ND = (weights.transform(counts) @ self._sketch()).astype(np.float32).toarray()
        vectors_ND[counts.getnnz(axis=1) == 0] = np.nan
        return unit_rows(vectors_ND) if self.normalise else vectors_ND

    def _counts(self, pool: Pool) -> csr_matrix:
        from sklearn.feature_extraction.text import HashingVectorizer

        words = HashingVectorizer(
            n_features=_BUCKETS,
            ngram_range=(1, 2),
            alternate_sign=False,
            norm=None,
            token_pattern=r"(?u)\b\w+\b",
        )
        return words.transform(texts(pool, self.over))

    def _sketch(self) -> csr_matrix:
        """(buckets, dimensions): one ±1 in each row, the same on every machine."""
        from scipy.sparse import csr_matrix

        mixed = np.random.Generator(np.random.PCG64(0)).integers(0, 2**32, _BUCKETS)
        signs = np.where(mixed & 1, 1.0, -1.0).astype(np.float32)
        place = (mixed >> 1) % self.dimensions
        return csr_matrix((signs, place, np.arange(_BUCKETS + 1)), (_BUCKETS, self.dimensions))
