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
from modicum.models import Model, find_model
from modicum.plan import Work, own_recipe, passes, training
from modicum.pool import Pool
from modicum.render import template_fingerprint
from modicum.scores.loss import Loss
from modicum.selection import Budget, Step
from modicum.training import tune
from modicum.wants import Want

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
    nested: ClassVar[bool] = True
    paper: ClassVar[str] = "LoBaSS / DavIR, Zhou et al. 2023, arXiv 2310.13008"
    needs: ClassVar[str] = "a model that can be tuned here, or a tuned one (reference=DIR)"
    cost: ClassVar[str] = "a tuning on the pool or a share of it, and 2 forward passes a row"

    wants: ClassVar[tuple[Want, ...]] = _LOSS.wants

    def __post_init__(self) -> None:
        if not self.reference_share.endswith("%"):
            raise OptionError(f"reference_share={self.reference_share}: give a share, as 25%")
        if self.folds < 1:
            raise OptionError(f"folds={self.folds}; at least 1 is needed")
        how = (self.folds > 1, self._share.amount != 100, self.epochs is not None)
        if self.reference is not None and any(how):
            raise OptionError(
                f"reference={self.reference} is tuned already: leave folds, reference_share and "
                "epochs out"
            )

    @property
    def _share(self) -> Budget:
        return Budget.parse(self.reference_share)

    def plan(self, context: Context) -> list[Work]:
        """What is sent through the base and the references."""
        rendered = context.meter.rendered(context.pool)
        once = passes(rendered, _LOSS.wants)
        if self.reference is not None:
            same_tokens(self.reference, context)
            return [*once, *once]
        works, recipe = list(once), own_recipe(context, self.epochs)
        for judged_M, tuned_M in self._parts(context.pool, context.seed):
            tokens = int(rendered.lengths_N[tuned_M].sum())
            works.append(training(recipe, len(tuned_M), tokens))
            works += passes(rendered.take(judged_M), _LOSS.wants)
        return works

    def other_model(self, trust_remote_code: bool) -> str | None:
        """A hash of the reference that was given, as it lies there now."""
        if self.reference is None:
            return None
        return find_model(self.reference, trust_remote_code=trust_remote_code).fingerprint

    def _losses(self, context: Context) -> tuple[np.ndarray, np.ndarray]:
        """(N,) float64 each: losses under the base and under a reference, of the same tokens."""
        before_N = context.values(_LOSS).astype(np.float64)
        if self.reference is not None:
            reference = same_tokens(self.reference, context)
            context.meter.model.release()
            after_N = _LOSS(context.pool, context.meter.through(reference))
            reference.release()
            context.notes.append("whether the reference was tuned on these rows is not known")
        else:
            after_N = self._cross_fit(context)
        context.scored["reference-loss"] = after_N
        return before_N, after_N.astype(np.float64)

    def _cross_fit(self, context: Context) -> np.ndarray:
        """Each fold's losses under a model tuned on rows of the others; one fold: of all rows."""
        meter, pool = context.meter, context.pool
        after_N = np.full(len(pool), np.nan, dtype=np.float32)
        seen, recipe = 0, own_recipe(context, self.epochs)
        for fold, (judged_M, tuned_M) in enumerate(self._parts(pool, context.seed), 1):
            name = "reference" if self.folds == 1 else f"reference-{fold}"
            tuned = tune(
                meter.rendered(pool).take(tuned_M),
                meter.model,
                context.folder / name,
                recipe,
                seed=context.seed,
                ledger=meter.ledger,
                what=f"{name}: training on {len(tuned_M)} rows",
            )
            judge = meter.through(tuned.model(meter.model))
            after_N[judged_M] = _LOSS(meter.narrow(pool, judged_M), judge)
            judge.model.release()
            learned = {pool.digests[i] for i in tuned_M}
            seen += sum(pool.digests[i] in learned for i in judged_M)
            if self.folds > 1:
                context.leftovers.append(context.folder / name)
        if seen:
            context.notes.append(
                f"the reference was tuned on {seen:,} of the {len(pool):,} rows that it judges, "
                "and finds those easier for having seen them; with folds=2 it has seen none"
            )
        return after_N

    def _parts(self, pool: Pool, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """For each fold the rows it judges, and those its reference is tuned on, ascending.

        Rows that say the same are in one fold, or a reference would judge what it has seen.
        """
        rows, rng = len(pool), np.random.default_rng(seed)
        size = self._share.rows(rows) or rows
        if self.folds == 1:
            return [(np.arange(rows), np.sort(rng.permutation(rows)[:size]))]
        first = {content: i for i, content in reversed(list(enumerate(pool.digests)))}
        firsts_N = [first[content] for content in pool.digests]
        different, kind_N = np.unique(firsts_N, return_inverse=True)
        if len(different) < self.folds:
            raise OptionError(f"folds={self.folds} of {len(different)} different rows; use fewer")
        place_N = np.argsort(rng.permutation(len(different)))[kind_N]
        order_N, parts = np.argsort(place_N, kind="stable"), []
        for fold in range(self.folds):
            judged_N = place_N % self.folds == fold
            others_M = order_N[~judged_N[order_N]]
            parts.append((np.flatnonzero(judged_N), np.sort(others_M[:size])))
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
        fall_N = before_N - after_N
        gain_N = np.divide(fall_N, before_N, out=fall_N.copy(), where=before_N > 0)
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


def same_tokens(reference: str, context: Context) -> Model:
    """The model that was given as a reference, if it reads rows as the base does."""
    base = context.meter.model
    found = find_model(
        reference, precision=base.precision, trust_remote_code=base.trust_remote_code
    )
    ours, theirs = base.tokenizer, found.tokenizer
    if ours.get_vocab() != theirs.get_vocab() or (
        template_fingerprint(ours) != template_fingerprint(theirs)
    ):
        raise OptionError(
            f"reference={reference} has another tokenizer or chat template than {base.name}: "
            "their losses would be of different tokens; tune the base itself (modicum train)"
        )
    return found
