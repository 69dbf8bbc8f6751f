"""SmallToLarge: Yang et al. 2024, arXiv 2403.07384."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from modicum.context import Context
from modicum.errors import OptionError
from modicum.plan import Work, own_recipe, passes, training
from modicum.scores.loss import Loss
from modicum.selection import Budget, Step, balanced, kmeans
from modicum.training import tune
from modicum.wants import Want

_LOSS = Loss()
_FEW = 2  # rows of a cluster that comes last


@dataclass(frozen=True)
class S2L:
    """Take as many rows of each kind of loss curve that a small model has on the way through them.

    The model is tuned on one part of the pool after the other, `checkpoints` of them, and every
    row's loss is read before and after each; the curves are clustered, and the clusters take turns,
    each drawing at random, those of 2 rows or fewer at last. The paper tunes a proxy on all rows in
    one go, and also balances sources; here each part has a schedule of its own, and sources have
    no say. Pass a small `--model`.
    """

    clusters: int = 100
    checkpoints: int = 4
    reference_share: str = "100%"
    epochs: float | None = None

    name: ClassVar[str] = "s2l"
    aims: ClassVar[bool] = False
    nested: ClassVar[bool] = True
    paper: ClassVar[str] = "SmallToLarge (S2L), Yang et al. 2024, arXiv 2403.07384"
    needs: ClassVar[str] = "a model that can be tuned here, which may be small"
    cost: ClassVar[str] = "a tuning on the pool or a share of it, a forward pass a checkpoint"
    fails: ClassVar[str] = "if a proxy's curves do not stand for those of the model to be tuned"

    wants: ClassVar[tuple[Want, ...]] = _LOSS.wants

    def __post_init__(self) -> None:
        for option in ("clusters", "checkpoints"):
            if getattr(self, option) < 1:
                raise OptionError(f"{option}={getattr(self, option)}; at least 1 is needed")
        if not self.reference_share.endswith("%"):
            raise OptionError(f"reference_share={self.reference_share}: give a share, as 25%")
        Budget.parse(self.reference_share)

    def plan(self, context: Context) -> list[Work]:
        """What is sent through the model and its checkpoints."""
        rendered = context.meter.rendered(context.pool)
        look = passes(rendered, _LOSS.wants)
        works, recipe = list(look), own_recipe(context, self.epochs)
        for part_M in self._parts(context):
            tokens = int(rendered.lengths_N[part_M].sum())
            works += [training(recipe, len(part_M), tokens), *look]
        return works

    def __call__(self, context: Context) -> Iterator[Step]:
        loss_NC = self._curves(context)
        spread: dict[str, Any] = {"memory": context.memory, "over": context.over}
        groups = kmeans(loss_NC, self.clusters, context.seed, **spread)
        context.notes.extend(filter(None, [groups.note]))
        rows_M = np.flatnonzero(groups.labels_N >= 0)
        size_M = np.bincount(groups.labels_N[rows_M])[groups.labels_N[rows_M]]
        for last in (False, True):
            some_M = rows_M[(size_M <= _FEW) == last]
            sizes = size_M[(size_M <= _FEW) == last]
            names = [
                f"cluster {label} of {size} rows"
                for label, size in zip(groups.labels_N[some_M], sizes, strict=True)
            ]
            for step in balanced(names, context.seed):
                yield step._replace(pick=int(some_M[step.pick]))

    def _curves(self, context: Context) -> np.ndarray:
        """(N, 1 + checkpoints) losses; also columns of `rows.parquet`. NaN of a row that has one.

        The models stay until the run is done: their losses are not measured twice.
        """
        meter, pool = context.meter, context.pool
        rendered, recipe = meter.rendered(pool), own_recipe(context, self.epochs)
        curves, model = [context.values(_LOSS)], meter.model
        for number, part_M in enumerate(self._parts(context), 1):
            folder = context.folder / f"checkpoint-{number}"
            model = tune(
                rendered.take(part_M),
                model,
                folder,
                recipe,
                seed=context.seed,
                ledger=meter.ledger,
                what=f"checkpoint {number}: training on {len(part_M)} rows",
            ).model(meter.model)
            curves.append(_LOSS(pool, meter.through(model)))
            context.scored[f"loss-{number}"] = curves[-1]
            context.leftovers.append(folder)
            model.release()
        return np.stack(curves, axis=1).astype(np.float32)

    def _parts(self, context: Context) -> list[np.ndarray]:
        """The rows that lead to each checkpoint, ascending."""
        rows = len(context.pool)
        size = Budget.parse(self.reference_share).rows(rows) or rows
        if size < self.checkpoints:
            raise OptionError(f"checkpoints={self.checkpoints} of {size} rows; use fewer")
        drawn_M = np.random.default_rng(context.seed).permutation(rows)[:size]
        return [np.sort(part_M) for part_M in np.array_split(drawn_M, self.checkpoints)]
