"""What a method is given: a pool, a budget, and the means to measure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from modicum.errors import AlignmentError, OptionError
from modicum.meter import Meter
from modicum.pool import Pool
from modicum.selection.budget import Budget, Step
from modicum.selection.memory import Need
from modicum.selection.over import Over
from modicum.selection.rows import finite_rows
from modicum.training.options import Recipe

if TYPE_CHECKING:
    from modicum.scores import Score
    from modicum.views import View


class Looked(NamedTuple):
    """What a method saw of a pool through a view."""

    view: str
    tuned: bool  # through a model that was tuned for it, and not the one given
    positions_N: np.ndarray  # where each row stands in the user's pool
    vectors_ND: np.ndarray  # NaN for what the view cannot see


@dataclass(frozen=True)
class Context:
    """One question put to a method: which rows of `pool`, within `budget`?

    The pool holds only rows that may be picked. `chosen` are rows already taken (by an earlier
    selection) and `target` rows of the task in view; neither is part of the pool. A method picks
    positions of `pool`; reasons name rows by `positions_N`, where they stand in the user's pool.
    """

    pool: Pool
    meter: Meter
    budget: Budget
    seed: int = 0
    chosen: Pool | None = None
    target: Pool | None = None
    positions: np.ndarray | None = None  # of its rows in the pool that the user gave
    scored: dict[str, np.ndarray] = field(default_factory=dict)  # what was asked, by score
    looked: list[Looked] = field(default_factory=list)  # through the last view that was asked for
    unseen: dict[str, np.ndarray] = field(default_factory=dict)  # (N,) rows to be named, by reason
    notes: list[str] = field(default_factory=list)  # what a reader of the result should be told
    remarks: dict[str, str] = field(default_factory=dict)  # so is each, if a reason ends like this
    recipe: Recipe = field(default_factory=Recipe)  # how to tune, for methods that do
    work: Path | None = None  # a folder of its own: what is finished there is not done again
    records: dict[str, Any] = field(default_factory=dict)  # JSON to leave with the result, by name
    leftovers: list[Path] = field(default_factory=list)  # of `work`, of no use once that is there
    memory: int | None = None  # bytes that a selector may take beside its vectors; None: any
    identity: str = ""  # of the method: its options, its parts, and the user's code among them

    @property
    def rows(self) -> int | None:
        """The budget in rows, or None for a budget in tokens."""
        return self.budget.rows(len(self.pool))

    @property
    def positions_N(self) -> np.ndarray:
        """Where each row stands in the pool that the user gave: how reasons name rows."""
        return np.arange(len(self.pool)) if self.positions is None else self.positions

    def own_rows(self, steps: Iterable[Step]) -> Iterator[Step]:
        """Steps whose picks are given by `positions_N`, as picks of `pool`; reasons stay."""
        rows_N = self.positions_N
        return (step._replace(pick=int(np.searchsorted(rows_N, step.pick))) for step in steps)

    @property
    def folder(self) -> Path:
        """Where a method keeps what it must not do twice: models it tuned, finished rounds."""
        if self.work is None:
            raise OptionError("this method tunes models: give it a folder to work in (work=FOLDER)")
        return self.work

    def user_rows(self, steps: Iterable[Step]) -> Iterator[Step]:
        """Steps whose picks are of `pool`, with picks given by `positions_N`; reasons stay."""
        return (step._replace(pick=int(self.positions_N[step.pick])) for step in steps)

    @property
    def made_from(self) -> str:
        """A hash of all that decides what the method does here."""
        others = [None if rows is None else rows.fingerprint for rows in (self.chosen, self.target)]
        model = f"{self.meter.model.fingerprint}-torch.{self.meter.model.dtype_name}"
        about = (self.pool.fingerprint, others, model, self.identity, str(self.budget), self.seed)
        recipe = json.dumps(self.recipe.to_json(), sort_keys=True, default=str)
        cut = self.meter.max_tokens if self.meter.truncate else None  # as which rows are read
        return hashlib.blake2b(f"{about}{recipe}{cut}".encode(), digest_size=16).hexdigest()

    @property
    def over(self) -> Over | None:
        """Over whom selectors are spread: those of the engine, if there are others than we."""
        engine = self.meter.engine
        return None if engine is None or engine.here else engine

    @property
    def device(self) -> str | None:
        """Where selectors multiply: the model's device if that is a GPU, otherwise in numpy."""
        name = self.meter.model.device_name
        return name if name.startswith("cuda") else None

    def need(self, selector: str, beside: int, width: int) -> Need:
        """What a selector will take for this pool, through a view of that width."""
        return Need(selector, beside, 4 * len(self.pool) * width)

    def memory_beside(self, *copies: np.ndarray | None) -> int | None:
        """What is left of `memory` to a selector beside copies that were made for it."""
        if self.memory is None:
            return None
        return max(1, self.memory - sum(0 if each is None else each.nbytes for each in copies))

    def vectors(self, view: View, meter: Meter | None = None) -> np.ndarray:
        """(N, D) float32: the pool through a view, by the meter given or else the context's own.

        Many rows are read-only and mapped from a file, as float16 where the view normalises them.
        """
        self.looked.clear()  # before there are more of them
        vectors_ND = aligned(view, view(self.pool, meter or self.meter), self.pool, dimensions=2)
        tuned = meter is not None and meter is not self.meter
        self.looked.append(Looked(view.name, tuned, self.positions_N, vectors_ND))
        self.unseen[unseen_by(view)] = ~finite_rows(vectors_ND)
        return vectors_ND

    def values(self, score: Score, meter: Meter | None = None) -> np.ndarray:
        """(N,) float32: the pool through a score. Becomes a column of `rows.parquet`."""
        values_N = aligned(score, score(self.pool, meter or self.meter), self.pool, dimensions=1)
        self.scored[score.name] = values_N
        return values_N

    def target_vectors(self, view: View) -> np.ndarray:
        """(M, D) float32: the target rows, seen as the pool is."""
        if self.target is None:
            raise OptionError("this method needs rows of the task in view: --target FILE")
        return _finite(view(self.target, self.meter, fitted_on=self.pool), self.target, "--target")

    def chosen_vectors(self, view: View) -> np.ndarray | None:
        """(M, D) float32: the rows already taken, seen as the pool is; None if there are none."""
        if self.chosen is None:
            return None
        return _finite(view(self.chosen, self.meter, fitted_on=self.pool), self.chosen, "--chosen")


def aligned(part: View | Score, made: np.ndarray, pool: Pool, *, dimensions: int) -> np.ndarray:
    """What a view (2 dimensions) or a score (1) made of a pool, if it has a row for each of its."""
    if np.ndim(made) != dimensions or len(made) != len(pool):
        raise AlignmentError(
            f"{'view' if dimensions == 2 else 'score'} {part.name} gave an array of shape "
            f"{np.shape(made)} for a pool of {len(pool)} rows; row i of it must be of example i"
        )
    return made


def unseen_by(view: View) -> str:
    """Why a row that a view cannot see is not offered."""
    return f"the {view.name} view gives no finite vector"


def _finite(vectors_MD: np.ndarray, rows: Pool, option: str) -> np.ndarray:
    bad = np.flatnonzero(~np.isfinite(vectors_MD).all(axis=1))
    if len(bad):
        raise OptionError(
            f"{option}: {len(bad)} of {len(vectors_MD)} rows cannot be measured "
            f"(the first is {rows.where(int(bad[0]))}); remove them"
        )
    return vectors_MD
