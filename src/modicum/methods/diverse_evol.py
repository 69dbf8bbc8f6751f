"""DiverseEvol: Wu et al. 2023, arXiv 2311.08182. The model looks for what it has not seen.

A few random rows; then, round by round: tune the base model on all rows taken, look at the whole
pool through it, and add the rows farthest from everything taken (k-center greedy).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from modicum.context import Context, aligned, unseen_by
from modicum.errors import OptionError, TrainingError
from modicum.meter import Meter
from modicum.methods.k_center import kcenter_need
from modicum.plan import Work, own_recipe, passes, scaled, training, wants_of
from modicum.pool import Pool
from modicum.scores import Score
from modicum.selection import Step, band, kcenter, nearest_distance, spend, uniform, vendi
from modicum.selection.memory import Need
from modicum.selection.quotas import Quota, quotas, within
from modicum.training import Evolving, Rounds, from_json, to_json
from modicum.views import View
from modicum.views.hidden import Hidden
from modicum.wants import Want

_BASE_VIEW = Hidden(pooling="mean", normalise=False)  # in which the paper counts diversity
_TOLD = ("rows", "steps", "epochs", "tokens_seen", "seconds")  # of a tuning


@dataclass(frozen=True)
class DiverseEvol:
    """Random rows first; then rounds of: tune on all taken, look again, take the farthest.

    The rounds share what the budget leaves after `initial`, or take `per_round` rows each until
    it is spent. `refresh=2` tunes and looks anew in every second round only. `restart=continue`
    tunes the last model further, where the paper starts from the base again. With `score`, a
    round takes the rows the current model is least sure of (the paper's baselines). With rows
    already chosen (`--chosen`), the model given is the current one: one round, nothing is tuned.
    """

    view: View = field(default_factory=lambda: Hidden(pooling="mean", normalise=False))
    score: Score | None = None
    initial: int = 100
    per_round: int | None = None
    rounds: int = 10
    epochs: float | None = None
    refresh: int = 1
    restart: Literal["base", "continue"] = "base"
    keep_models: Literal["last", "all"] = "last"

    name: ClassVar[str] = "diverse-evol"
    aims: ClassVar[bool] = False
    nested: ClassVar[bool] = False  # how many rows a round takes follows from the budget
    paper: ClassVar[str] = "Self-Evolved Diverse Data Sampling, Wu et al. 2023, arXiv 2311.08182"
    needs: ClassVar[str] = "a model that can be tuned here; or --chosen rows and their model"
    cost: ClassVar[str] = "each round: a tuning on all rows taken, then 1 forward pass a row"
    fails: ClassVar[str] = (
        "on clean pools: +7.9 over random on Dolly, +2.2 on Alpaca-GPT4, where all data was better"
    )

    wants: ClassVar[tuple[Want, ...]] = ()  # nothing of the base: it looks through tuned models

    def __post_init__(self) -> None:
        if self.refresh < 1:
            raise OptionError(f"refresh={self.refresh}; at least 1 is needed")
        if getattr(self._look, "wants", None) == ():
            option, other = ("view", "view=hidden") if self.score is None else ("score", "entropy")
            raise OptionError(
                f"{option}={self._look.name} is not read from a pass of the rows through the "
                f"model, which is how a round looks at them: use {other}, or select without rounds"
            )

    def __call__(self, context: Context) -> Iterator[Step]:
        models = self._models(context)
        rounds = Rounds(models.folder, context.made_from, context.meter.ledger)
        done: list[Any] = context.records.setdefault("rounds.json", [])
        taken: list[int] = []
        for number, quota in self._due(context, taken):
            facts = rounds.once(number, partial(self._round, context, models, number, quota, taken))
            done.append(facts)
            if number and self.score is None and not context.looked and number + 1 not in rounds:
                self._look_again(context, models, number)
            context.unseen[self._unseen] = np.isin(context.positions_N, facts["unmeasured"])
            if number and context.chosen is None:
                models.tidy(number)
                context.leftovers[:] = [models.leftover(number)]
            steps = list(context.own_rows(from_json(facts)))
            yield from steps
            taken += [step.pick for step in steps]
            if len(steps) < (quota.rows or 1):
                return  # no token, or no row, is left

    def selectors(self, context: Context) -> list[Need]:
        """What k-center will take in a round beside the vectors."""
        return (
            []
            if self.score is not None
            else kcenter_need(context, self.view, copied=len(context.pool))
        )

    def plan(self, context: Context) -> list[Work]:
        """What the rounds will send through a model."""
        rendered = context.meter.rendered(context.pool)
        look = passes(rendered, wants_of([self._look]))
        if context.chosen is not None:
            return [*look, *passes(context.meter.rendered(context.chosen), self.view.wants)]
        rows, mean = len(rendered), float(rendered.lengths_N.mean())
        shortest = float(rendered.lengths_N.min()) / mean  # in rows of the mean length
        whole = min(rows, context.rows or context.budget.amount / mean)
        models = self._models(context)
        works, taken, number = list[Work](), 0.0, 0
        for quota in self._quotas(context):
            new = min(quota.tokens / mean - taken if quota.rows is None else quota.rows, whole)
            new = min(new, whole - taken)
            if new < shortest and quota.rows is None:
                continue
            if number and number == models.tuned_in(number):
                works += [training(models.recipe, taken, taken * mean), *look]
            parts = [_BASE_VIEW] if number else [_BASE_VIEW, self._look]
            works += scaled(passes(rendered, wants_of(parts)), new / rows)
            taken, number = taken + new, number + 1
            if taken >= whole:
                break
        return works

    def _round(
        self, context: Context, models: Evolving, number: int, quota: Quota, taken: list[int]
    ) -> dict[str, Any]:
        """Take the rows of one round; what is known of it, as `rounds.json` has it."""
        tuned, rendered = None, context.meter.rendered(context.pool)
        if number == 0:
            steps, unseen_M = self._draw(context, quota.rows or 0)
        elif context.chosen is not None:
            steps, unseen_M = self._offer(context, context.meter, taken)
        else:
            meter, tuned = models.meter(number, rendered.take(sorted(taken)))
            steps, unseen_M = self._offer(context, meter, taken)
            meter.model.release()  # the base is read again below
        spent = float(rendered.lengths_N[taken].sum())
        inside, beyond = within(context.own_rows(steps), quota, rendered.lengths_N, spent)
        own = [step.pick for step in inside]
        if not taken and not own:
            _refuse(context, beyond)
        far = self.score is None and number and beyond is not None
        return {
            "picks": to_json(list(context.user_rows(inside))),
            "ids": [context.pool.ids[i] for i in own],
            "rows": len(taken) + len(own),
            "tokens": int(spent + rendered.lengths_N[own].sum()),
            "radius": beyond.gain if beyond is not None and far else None,
            "diversity": _diversity(context, [*taken, *own]),
            "training_loss": tuned and tuned.loss,
            "training": tuned and {key: tuned.record[key] for key in _TOLD},
            "unmeasured": context.positions_N[unseen_M].tolist(),
        }

    def _look_again(self, context: Context, models: Evolving, number: int) -> None:
        """What the last round of a killed run saw, for the report."""
        if context.chosen is not None:
            context.vectors(self.view)
        elif models.kept(number):
            context.vectors(self.view, models.seen_in(number))

    def _draw(self, context: Context, rows: int) -> tuple[Iterator[Step], np.ndarray]:
        """So many rows at random; and positions of those passed over, which the base cannot see."""
        order, drawn, unseen = uniform(len(context.pool), context.seed), list[Step](), list[int]()
        while chunk := list(islice(order, rows - len(drawn))):
            at_M = np.sort([step.pick for step in chunk])
            seen_M = self._seen(context.meter, context.meter.narrow(context.pool, at_M))
            unseen += at_M[~seen_M].tolist()
            drawn += [step for step in chunk if step.pick not in unseen]
        return context.user_rows(drawn), np.array(sorted(unseen), dtype=np.int64)

    def _seen(self, meter: Meter, rows: Pool) -> np.ndarray:
        """(M,) which rows the rounds will be able to look at, as far as the base can tell."""
        meter.prepare(rows, wants_of([_BASE_VIEW, self._look]))
        if getattr(self._look, "fitted", False):  # on the pool, and not on a few of its rows
            made = [meter.measured(rows, want) for want in self._look.wants]
        else:
            dimensions = 2 if self.score is None else 1
            made = [aligned(self._look, self._look(rows, meter), rows, dimensions=dimensions)]
        finite = [np.isfinite(each.reshape(len(rows), -1)).all(axis=1) for each in made]
        seen_M: np.ndarray = np.stack(finite).min(axis=0)
        return seen_M

    def _offer(
        self, context: Context, meter: Meter, taken: list[int]
    ) -> tuple[Iterator[Step], np.ndarray]:
        """Rows not yet taken, best first; and positions of those that the model cannot see."""
        rest_M = np.setdiff1d(np.arange(len(context.pool)), taken)
        names_N = context.positions_N
        if self.score is not None:
            made_N = aligned(
                self.score, self.score(context.pool, meter), context.pool, dimensions=1
            )
            values_N = made_N.astype(np.float64)
            _check_seen(np.isfinite(values_N[taken]))
            steps = band(values_N[rest_M], getattr(self.score, "takes", "top"), self.score.name)
            named = (step._replace(pick=int(names_N[rest_M[step.pick]])) for step in steps)
            return named, np.flatnonzero(~np.isfinite(values_N))
        vectors_ND = context.vectors(self.view, meter)
        seen_N = np.isfinite(vectors_ND).all(axis=1)
        given_MD = context.chosen_vectors(self.view)
        _check_seen(seen_N[taken])
        rest_MD, taken_MD = vectors_ND[rest_M], vectors_ND[taken]
        steps = kcenter(
            rest_MD,
            start_MD=taken_MD if given_MD is None else given_MD,
            seed=context.seed,
            positions_N=names_N[rest_M],
            start_positions_M=names_N[taken] if given_MD is None else None,
            memory=context.memory_beside(rest_MD, taken_MD),
            device=context.device,
        )
        return steps, np.flatnonzero(~seen_N)

    def _due(self, context: Context, taken: list[int]) -> Iterator[tuple[int, Quota]]:
        """The rounds that can take a row, given those `taken` until then, which the caller adds to.

        0 is the first draw; with chosen rows there is only round 1.
        """
        lengths_N, number = context.meter.rendered(context.pool).lengths_N, 0
        if context.chosen is not None:
            number = 1
        for quota in self._quotas(context, lambda: float(lengths_N[taken].sum())):
            if taken:
                left_M = np.delete(lengths_N, taken)
                least = lengths_N[taken].sum() + left_M.min() if len(left_M) else np.inf
                if not len(left_M) or least > quota.budget:
                    return
                if least > quota.tokens:
                    continue
            yield number, quota
            number += 1

    def _quotas(
        self, context: Context, drawn: Callable[[], float] | None = None
    ) -> Iterator[Quota]:
        """One for the first draw, if there is one, and one a round."""
        rows = context.rows
        tokens = context.budget.amount if rows is None else np.inf
        if context.chosen is not None:
            return iter([Quota(rows, tokens, tokens)])
        return quotas(
            rows,
            tokens,
            initial=self.initial,
            per_round=self.per_round,
            rounds=self.rounds,
            mean_tokens=float(context.meter.rendered(context.pool).lengths_N.mean()),
            drawn=drawn,
        )

    @property
    def _look(self) -> View | Score:
        """What every round asks of its model."""
        return self.view if self.score is None else self.score

    @property
    def _unseen(self) -> str:
        """Why a row that the model cannot see is not offered."""
        if self.score is None:
            return unseen_by(self.view)
        return f"{self.score.name} is not a number to rank by"

    def _models(self, context: Context) -> Evolving:
        return Evolving(
            # Without a folder a plan can be made, but no round.
            context.folder / "rounds" if context.work else Path(),
            context.meter,
            context.recipe if context.chosen is not None else own_recipe(context, self.epochs),
            context.seed,
            self.refresh,
            self.restart,
            self.keep_models,
        )


def _refuse(context: Context, first: Step | None) -> None:
    """Say of a budget that lets in no row at all what any method's budget says."""
    lengths_N, rows = context.meter.rendered(context.pool).lengths_N, len(context.pool)
    offered = [] if first is None else [first]
    spend(offered, context.budget, pool_rows=rows, available=rows, tokens_N=lengths_N)


def _diversity(context: Context, taken: list[int]) -> dict[str, float | None]:
    """How spread out these rows are, in the given model's view."""
    rows = context.meter.narrow(context.pool, np.array(taken, dtype=np.int64))
    seen_MD = _BASE_VIEW(rows, context.meter)
    apart = nearest_distance(seen_MD) if len(seen_MD) > 1 else None
    return {"vendi": vendi(seen_MD), "mean_nearest_distance": apart}


def _check_seen(seen_M: np.ndarray) -> None:
    if not seen_M.all():
        raise TrainingError(
            f"{(~seen_M).sum()} of {len(seen_M)} rows that the model was tuned on cannot be "
            "measured through it: it has lost its way; try a lower --train learning_rate"
        )
