"""The meter: one model, one store and one ledger, asked by views and scores about pools.

Views and scores say what they want of a row (`wants`); the meter renders a pool once, measures
what several parts want together in shared forward passes, and keeps the answers at hand.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from modicum.ledger import Ledger
from modicum.pool import Example, Pool
from modicum.progress import progress
from modicum.render import Rendered, render
from modicum.store import Store

if TYPE_CHECKING:
    from modicum.measure import Engine
    from modicum.models import Model
    from modicum.wants import Want

_SHOWN_AFTER = 1000  # rendered rows

T = TypeVar("T")


@dataclass
class Meter:
    """Measures pools with one model. Arrays have a row for every row of the pool they are of."""

    model: Model
    store: Store = field(default_factory=Store.default)
    ledger: Ledger = field(default_factory=Ledger)
    limit: int | None = None  # the longest row in tokens; the model's window if None
    truncate: bool = False  # cut the user's words of rows that are longer
    batch_tokens: int | None = None
    engine: Engine | None = None  # who carries it out; None: this process
    _rendered: dict[str, Rendered] = field(default_factory=dict, repr=False)
    _measured: dict[tuple[str, Want], np.ndarray] = field(default_factory=dict, repr=False)
    _made: dict[Hashable, Any] = field(default_factory=dict, repr=False)

    @property
    def max_tokens(self) -> int:
        """The longest row, in tokens, that is measured."""
        return self.model.window if self.limit is None else min(self.limit, self.model.window)

    def through(self, model: Model, store: Store | None = None) -> Meter:
        """The same rows through another model that reads the same tokens, on the same ledger."""
        return replace(self, model=model, store=store or self.store, _measured={})

    def uncut(self) -> Meter:
        """The same for rows that are made of rows: a question that is cut asks something else."""
        if not self.truncate:
            return self
        return replace(self, truncate=False, _rendered={}, _measured={})

    def rendered(self, pool: Pool) -> Rendered:
        """Token ids of every row under the model's chat template, and what each belongs to."""
        if pool.fingerprint not in self._rendered:
            with self.ledger.time("render"), progress("rendering", len(pool)) as advance:
                self._rendered[pool.fingerprint] = render(
                    _counted(pool, advance),
                    self.model.tokenizer,
                    limit=self.max_tokens,
                    truncate=self.truncate,
                )
        return self._rendered[pool.fingerprint]

    def narrow(self, pool: Pool, positions_M: np.ndarray) -> Pool:
        """`pool.take`, without rendering the rows again."""
        smaller, whole = pool.take(positions_M), self.rendered(pool)
        if smaller.fingerprint not in self._rendered:
            self._rendered[smaller.fingerprint] = whole.take(np.unique(positions_M))
        return smaller

    def prepare(self, pool: Pool, wants: Sequence[Want]) -> None:
        """Measure everything that is wanted of this pool, sharing forward passes."""
        missing = [want for want in wants if (pool.fingerprint, want) not in self._measured]
        if not missing:
            return
        from modicum.measure import BATCH_TOKENS, measure

        values = measure(
            self.rendered(pool),
            missing,
            self.model,
            self.store,
            self.ledger,
            self.batch_tokens or BATCH_TOKENS,
            self.engine,
        )
        self._measured |= {(pool.fingerprint, want): array for want, array in values.items()}

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """What `make` gives, made when it is first asked for by this key."""
        if key not in self._made:
            self._made[key] = make()
        made: T = self._made[key]
        return made

    def measured(self, pool: Pool, want: Want) -> np.ndarray:
        """One measurement of every row of a pool; NaN where it cannot be made."""
        if (pool.fingerprint, want) not in self._measured:
            self.prepare(pool, [want])
        return self._measured[pool.fingerprint, want]


def _counted(pool: Pool, advance: Callable[[int], None]) -> Iterator[Example]:
    for n, example in enumerate(pool, 1):
        yield example
        if n % _SHOWN_AFTER == 0:
            advance(_SHOWN_AFTER)
