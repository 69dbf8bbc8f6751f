"""The model's own hidden states, pooled over a row's tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from modicum.geometry import blocks_of, finished, whitener
from modicum.meter import Meter
from modicum.pool import Pool
from modicum.wants import HiddenState, Over, Pooling


@dataclass(frozen=True)
class Hidden:
    """Hidden states of one layer (0 the embeddings, -1 the last), one forward pass a row.

    `pooling`: `weighted` by position (SGPT; RDS+, arXiv 2503.01807), plain `mean`
    (DiverseEvol, arXiv 2311.08182; LTD, arXiv 2305.09246), or the `last` token.
    `over`: the whole `row` with its template, the learned `answer`, or the `instruction`, the
    user's words. `whiten` gives the pool mean 0 and covariance 1 before `normalise` gives each
    row length 1.
    """

    layer: int = -1
    pooling: Pooling = "weighted"
    over: Over = "row"
    normalise: bool = True
    whiten: bool = False

    name: ClassVar[str] = "hidden"

    @property
    def wants(self) -> tuple[HiddenState, ...]:
        return (HiddenState(self.layer, self.pooling, self.over),)

    @property
    def fitted(self) -> bool:
        return self.whiten

    def __call__(self, pool: Pool, meter: Meter, *, fitted_on: Pool | None = None) -> np.ndarray:
        vectors_ND, whiten = meter.measured(pool, self.wants[0]), None
        if self.whiten:
            learned = vectors_ND if fitted_on is None else meter.measured(fitted_on, self.wants[0])
            whiten = whitener(learned)
        return finished(blocks_of(vectors_ND), whiten=whiten, normalise=self.normalise)
