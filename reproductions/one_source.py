"""A method that takes rows of one source alone, by chance."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

import modicum as mo


@dataclass(frozen=True)
class OneSource:
    """Rows of the source whose name comes first, or last, in the alphabet."""

    last: bool = False

    def __call__(self, context: mo.Context) -> Iterator[mo.Step]:
        names = sorted(set(context.pool.sources))
        if len(names) < 2:
            raise mo.ModicumError(f"all rows are of source {names[0]}: there is nothing to choose")
        wanted = names[-1 if self.last else 0]
        of_it = [i for i, name in enumerate(context.pool.sources) if name == wanted]
        for i in np.random.default_rng(context.seed).permutation(of_it):
            yield mo.Step(int(i), f"of source {wanted}")
