"""LoBaSS, later DavIR: Zhou et al. 2023, arXiv 2310.13008. What can this model still learn?

A reference is the base model tuned on the pool. A row is worth as much as its answer's loss falls
from the base to the reference. No public code exists; the formula is known from the text of later
versions and reviews.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from modicum.context import Context
from modicum.errors import OptionError
from modicum.measure import Want
from modicum.models import Model, find_model
from modicum.plan import Work, passes
from modicum.render import template_fingerprint
from modicum.scores.loss import Loss
from modicum.selection import Budget, Step
from modicum.training import tune

# Nats. Below it the base already knows the answer, and bfloat16's rounding is a large share of it.
SMALLEST = 0.02
_LOSS = Loss()


@dataclass(frozen=True)
class _Learnability:
    """The reference and what it was tuned on, for both variants.

    `reference_share` of the pool's rows, drawn at random, tune the reference; or `reference` names
    a model that was tuned elsewhere. A reference that has seen a row has also memorised it: with
    `folds`, each row is judged by one that has not, tuned on a share of the other folds' rows.
    """

    reference: str | None = None
    reference_share: str = "100%"
    folds: int = 1
    epochs: float | None = None

    aims: ClassVar[bool] = False
    paper: ClassVar[str] = "LoBaSS / DavIR, Zhou et al. 2023, arXiv 2310.13008"
    needs: ClassVar[str] = "a model that can be tuned here, or a tuned one (reference=DIR)"
    cost: ClassVar[str] = "a tuning on the pool or a share of it, and 2 forward passes a row"

    wants: ClassVar[tuple[Want, ...]] = _LOSS.wants

    def __post_init__(self) -> None:
        if self._share.unit != "percent":
            raise OptionError(f"reference_share={self.reference_share}: give a share, as 25%")
        if self.folds < 1:
            raise OptionError(f"folds={self.folds}; at least 1 is needed")
        if self.reference is not None and (self.folds > 1 or self._share.amount != 100):
            raise OptionError(
                f"reference={self.reference} is tuned already: leave folds and reference_share out"
            )

    @property
    def _share(self) -> Budget:
        return Budget.parse(self.reference_share)

    def plan(self, context: Context) -> list[Work]:
        """What is sent through the base and the references."""
        once = passes(context, list(_LOSS.wants))
        if self.reference is not None:
            return [*once, *once]
        works, lengths_N = list(once), context.meter.rendered(context.pool).lengths_N
        epochs = _epochs(self, context)
        for judged_M, tuned_M in self._parts(context):
            tokens = round(epochs * int(lengths_N[tuned_M].sum()))
            works.append(Work("train", round(epochs * len(tuned_M)), tokens))
            works.append(Work("measure", len(judged_M), int(lengths_N[judged_M].sum())))
        return works

    def _losses(self, context: Context) -> tuple[np.ndarray, np.ndarray]:
        """(N,) float64 each: losses under the base and under a reference, of the same tokens."""
        before_N = context.values(_LOSS).astype(np.float64)
        if self.reference is not None:
            after_N = _LOSS(context.pool, context.meter.through(_same_tokens(self, context)))
            context.notes.append("whether the reference was tuned on these rows is not known")
        else:
            after_N = self._cross_fit(context)
        context.scored["reference-loss"] = after_N
        return before_N, after_N.astype(np.float64)

    def _cross_fit(self, context: Context) -> np.ndarray:
        """Each fold's losses under a model tuned on rows of the others; one fold: of all rows."""
        meter, pool = context.meter, context.pool
        after_N = np.full(len(pool), np.nan, dtype=np.float32)
        seen = 0
        given = {} if self.epochs is None else {"num_train_epochs": self.epochs}
        for fold, (judged_M, tuned_M) in enumerate(self._parts(context), 1):
            name = "reference" if self.folds == 1 else f"reference-{fold}"
            tuned = tune(
                meter.rendered(pool).take(tuned_M),
                meter.model,
                context.folder / name,
                context.recipe.with_(**given),
                seed=context.seed,
                ledger=meter.ledger,
                what=f"{name}: training on {len(tuned_M)} rows",
            )
            judge = meter.through(tuned.model(meter.model))
            after_N[judged_M] = _LOSS(meter.narrow(pool, judged_M), judge)
            seen += len(np.intersect1d(judged_M, tuned_M))
            if self.folds > 1:
                context.leftovers.append(context.folder / name)
        if seen:
            context.notes.append(
                f"the reference was tuned on {seen:,} of the {len(pool):,} rows that it judges, "
                "and finds those easier for having seen them; with folds=2 it has seen none"
            )
        return after_N

    def _parts(self, context: Context) -> list[tuple[np.ndarray, np.ndarray]]:
        """For each fold the rows it judges, and those its reference is tuned on, ascending."""
        rows = len(context.pool)
        if rows < self.folds:
            raise OptionError(f"folds={self.folds} of {rows} rows; use fewer")
        order_N = np.random.default_rng(context.seed).permutation(rows)
        size = self._share.rows(rows) or rows
        if self.folds == 1:
            return [(np.arange(rows), np.sort(order_N[:size]))]
        parts = []
        for fold in range(self.folds):
            judged_M = np.sort(order_N[fold :: self.folds])
            others_M = order_N[~np.isin(order_N, judged_M)]
            parts.append((judged_M, np.sort(others_M[:size])))
        return parts


@dataclass(frozen=True)
class Lobass(_Learnability):
    """Rank by the relative fall of the answer's loss, 1 − reference ÷ base; take the highest.

    Rows that the base gives no more than 0.02 nats a token have no usable denominator: they come
    last, and are counted in a note, as are the rows that the reference made worse.
    """

    name: ClassVar[str] = "lobass"
    fails: ClassVar[str] = (
        "as a saving on the first run: the reference costs a tuning on the pool; and a reference "
        "that has seen the rows takes memorised for learnable (folds=2)"
    )

    def __call__(self, context: Context) -> Iterator[Step]:
        before_N, after_N = self._losses(context)
        gain_N = (before_N - after_N) / np.maximum(before_N, SMALLEST)
        return _ranked(context, self.name, gain_N, before_N, after_N, before_N >= SMALLEST)


@dataclass(frozen=True)
class LobassRaw(_Learnability):
    """Rank by the fall of the answer's loss itself, base − reference; take the highest."""

    name: ClassVar[str] = "lobass-raw"
    fails: ClassVar[str] = (
        "by length: the difference grew with it (Spearman 0.75 on Alpaca), which is why the paper "
        "divides"
    )

    def __call__(self, context: Context) -> Iterator[Step]:
        before_N, after_N = self._losses(context)
        usable_N = np.ones(len(before_N), dtype=bool)
        return _ranked(context, self.name, before_N - after_N, before_N, after_N, usable_N)


def _ranked(
    context: Context,
    name: str,
    gain_N: np.ndarray,
    before_N: np.ndarray,
    after_N: np.ndarray,
    usable_N: np.ndarray,
) -> Iterator[Step]:
    """Usable rows by their gain, highest first; then the others."""
    context.scored[name] = gain_N
    finite_N = np.isfinite(gain_N)
    counted = {
        f"rows have a loss below {SMALLEST} before tuning, too small to divide by": ~usable_N,
        "rows are worse after tuning": usable_N & (gain_N < 0),
    }
    for what, rows_N in counted.items():
        if len(these_M := np.flatnonzero(rows_N & finite_N)):
            first = context.pool.where(int(these_M[0]))
            context.notes.append(f"{len(these_M):,} {what}, the first {first}; they come last")
    order_N = np.lexsort((-gain_N, ~usable_N))
    return (
        Step(
            int(i),
            f"{name} {gain_N[i]:.4g}: loss {before_N[i]:.4g} before tuning, {after_N[i]:.4g} after"
            + ("" if usable_N[i] else ", too small to divide by"),
            float(gain_N[i]),
        )
        for i in order_N[finite_N[order_N]]
    )


def _same_tokens(part: _Learnability, context: Context) -> Model:
    """The reference that was given, if it reads rows as the base does."""
    base = context.meter.model
    found = find_model(
        part.reference, precision=base.precision, trust_remote_code=base.trust_remote_code
    )
    ours, theirs = base.tokenizer, found.tokenizer
    if ours.get_vocab() != theirs.get_vocab() or (
        template_fingerprint(ours) != template_fingerprint(theirs)
    ):
        raise OptionError(
            f"reference={part.reference} has another tokenizer or chat template than {base.name}: "
            "their losses would be of different tokens; tune the base itself (modicum train)"
        )
    return found


def _epochs(part: _Learnability, context: Context) -> float:
    return context.recipe.epochs() if part.epochs is None else part.epochs
