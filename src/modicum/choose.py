"""The main job: a pool, a method and a budget in; a selection out."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from modicum import durable
from modicum.cache import cache_folder
from modicum.context import Context, Looked
from modicum.errors import ModicumError, OptionError
from modicum.filtered import filtered
from modicum.held import held
from modicum.lineup import filters_of
from modicum.meter import Meter
from modicum.models import Model, Precision
from modicum.overlap import Overlap
from modicum.parts import describe
from modicum.pool import Pool
from modicum.question import Question, ask
from modicum.runs import whole_object, write_json
from modicum.scale import Engine, engine_of
from modicum.selection.budget import Budget, Step, spend
from modicum.store import Store
from modicum.training.options import Recipe
from modicum.usable import TooLong, meter_of, spread, unmeasured

if TYPE_CHECKING:
    from modicum.filters import Filter
    from modicum.methods import Method


@dataclass(frozen=True)
class Selection:
    """Which rows of a pool were picked, in which order and why, and what is known of the others."""

    pool: Pool
    picks: np.ndarray  # (K,) positions in the order taken
    gains: np.ndarray  # (K,) what each pick added when it was taken; NaN where nothing is measured
    reasons: tuple[str, ...]
    rounds: np.ndarray  # (K,) the round of each pick, 0 for the first
    left_out: dict[int, str]  # rows that could not be picked, and why
    scores: dict[str, np.ndarray]  # (N,) each; NaN where a row was not scored
    tokens_N: np.ndarray  # prompt and answer tokens of each row under the model's template
    method: dict[str, Any]  # its name and every resolved option
    budget: Budget
    seed: int
    meter: Meter  # the model that measured, its limits, and what it cost
    given: dict[str, Any]  # what was done with long rows, and which other rows there were
    overlaps: tuple[Overlap, ...] = ()
    notes: tuple[str, ...] = ()
    recipe: Recipe = field(default_factory=Recipe)  # how the subset is to be tuned on
    predicted: dict[str, Any] | None = None  # what the plan of a method that trains foretold
    records: dict[str, Any] = field(default_factory=dict)  # further JSON files, by name
    leftovers: tuple[Path, ...] = ()  # of no use once the result is written
    looked: Looked | None = field(default=None, repr=False, compare=False)  # its last view

    def __len__(self) -> int:
        return len(self.picks)

    def write(self, folder: str | Path, command: Mapping[str, Any] | None = None) -> Path:
        """Write the files of a run into a new folder; `manifest.json` last."""
        from modicum.output import write_selection

        return write_selection(self, Path(folder), command)


def select(
    pool: Pool,
    method: str | Method,
    budget: str | int | Budget,
    model: str | Path | Model | None = None,
    seed: int = 0,
    *,
    target: Pool | None = None,
    chosen: Pool | None = None,
    evaluation: Pool | None = None,
    filters: str | Sequence[str | Filter] = (),
    too_long: TooLong = "drop",
    max_tokens: int | None = None,
    precision: Precision = "auto",
    store: Store | None = None,
    train: Mapping[str, Any] | Recipe | str | Path | None = None,
    work: str | Path | None = None,
    memory: str | int | None = None,
    engine: str | Engine = "local",
    ray_address: str | None = None,
    **options: Any,
) -> Selection:
    """Pick rows of a pool by a method, within a budget.

    `target` holds rows of the task in view, for methods that aim; `chosen` rows already taken,
    which are not picked again and which greedy methods keep away from; `evaluation` rows that
    must not be trained on: what overlaps them is left out. `filters` (`duplicates`,
    `between(score=length,most=512)`) say one after the other which rows are offered at all.
    Rows longer than `max_tokens` (the model's window by default) are dropped, cut in the
    prompt, or an error. `options` are the method's own. A share (`5%`) is of all rows of the
    pool. `memory` (`4GiB`; by default half of what is free) is what a selector may take beside
    its vectors; the picks do not depend on it.

    Methods that tune do so as `train` says (TRL's options by name). Their models and finished
    rounds lie in the folder `work`, where the same call, killed, goes on; without it they lie in
    the cache folder until the call is done, and a second process that makes the same call
    meanwhile is refused with a RunError.

    `engine` says who measures: this process, or with `ray` the workers of the cluster at
    `ray_address` (by default the environment's `RAY_ADDRESS`, else a Ray started here).
    """
    runner = engine_of(engine, ray_address)
    meter = meter_of(
        model,
        too_long=too_long,
        max_tokens=max_tokens,
        precision=precision,
        store=store,
        engine=runner,
    )
    asked = ask(
        pool,
        method,
        budget,
        meter,
        seed,
        target=target,
        chosen=chosen,
        evaluation=evaluation,
        filters=filters_of(filters),
        too_long=too_long,
        train=train,
        memory=memory,
        **options,
    )
    with closing(runner):
        return _answered(asked, work)


def _answered(asked: Question, work: str | Path | None) -> Selection:
    if work is not None:
        return answer(asked, Path(work))
    if asked.trains:
        return _aside(asked)
    with tempfile.TemporaryDirectory(prefix="modicum-") as folder:
        return answer(asked, Path(folder))


def _aside(asked: Question) -> Selection:
    """The answer, worked out in the cache folder: by one process at a time, and then removed."""
    folder = cache_folder() / "work" / asked.context.made_from
    with held(folder, "give work=FOLDER"):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            made = answer(asked, folder)
        except ModicumError as error:
            error.add_note(f"what was finished lies in {folder}; the same call would go on with it")
            raise
        durable.remove(folder)
        return made


def answer(asked: Question, work: Path, foretell: bool = True) -> Selection:
    """The second half of `select`: let the method pick, in a folder of its own.

    What a method that trains will cost is foretold first, after a short calibration, if asked for.
    """
    pool, part = asked.pool, asked.part
    context = replace(asked.context, work=work)
    predicted = _predicted(asked, work) if foretell else None
    after = filtered(context, asked.filters, len(pool))
    context = after.context
    steps = _run(asked, context)
    candidates_M = context.positions_N
    unknown = unmeasured(context.scored, context.unseen, candidates_M)
    scores = dict(after.scores)
    for name, values_M in context.scored.items():
        values_N = spread(values_M, candidates_M, len(pool))
        before_N = scores.get(name, values_N)
        scores[name] = np.where(np.isnan(values_N), before_N, values_N)
    picks = candidates_M[[step.pick for step in steps]]
    _refuse_unmeasured(picks, unknown, pool, part)
    return Selection(
        pool=pool,
        picks=picks,
        gains=np.array([step.gain for step in steps], dtype=np.float64),
        reasons=tuple(step.reason for step in steps),
        rounds=np.array([step.round for step in steps], dtype=np.int64),
        left_out=asked.left_out | after.left_out | unknown,
        scores=scores,
        tokens_N=context.meter.rendered(pool).lengths_N,
        method=describe(part),
        budget=asked.budget,
        seed=context.seed,
        meter=context.meter,
        given=asked.given,
        overlaps=asked.overlaps,
        notes=(*context.notes, *_remarks(steps, context)),
        recipe=context.recipe,
        predicted=predicted,
        records=context.records,
        leftovers=tuple(context.leftovers),
        looked=context.looked[-1] if context.looked else None,
    )


def _predicted(asked: Question, work: Path) -> dict[str, Any] | None:
    """The prediction for a method that trains; made once, for a killed run goes on with it.

    What the calibration took is charged to every process that uses it.
    """
    if not asked.trains:
        return None
    kept, made_from, ledger = (
        work / "plan.json",
        asked.context.made_from,
        asked.context.meter.ledger,
    )
    found = whole_object(kept) or {}
    if found.get("made_from") == made_from:
        ledger.spent("calibrate", found["calibrate"])
        return dict(found["predicted"])
    predicted = asked.predict()
    took = ledger.seconds["calibrate"]
    write_json(kept, {"made_from": made_from, "calibrate": took, "predicted": predicted})
    return predicted


def _run(asked: Question, context: Context) -> list[Step]:
    """Ask the method for picks until the budget is spent, everything it wants measured first."""
    pool, meter = context.pool, context.meter
    meter.prepare(pool, asked.wants())
    with meter.ledger.time("select"):
        steps = asked.part(context)
        if not isinstance(steps, Iterable):
            raise OptionError(
                f"{describe(asked.part)['name']} returned {type(steps).__name__}; a method returns "
                "picks: positions or Steps, best first"
            )
        return spend(
            steps,
            context.budget,
            pool_rows=len(pool),
            available=len(pool),
            tokens_N=meter.rendered(pool).lengths_N,
        )


def _remarks(steps: list[Step], context: Context) -> list[str]:
    """What a reader should know of the picks as a whole."""
    pool = context.pool
    picked = pool.table["digest"].take([step.pick for step in steps])
    copies = len(steps) - len(picked.unique())
    remarks = {
        f"picks that say the same as another pick: {copies}; --filter duplicates leaves them out": (
            copies
        ),
        f"the budget of {context.budget} holds all rows that can be picked": (
            context.budget.unit == "tokens" and len(steps) == len(pool)
        ),
    }
    if context.budget.unit == "tokens" and len(steps) < len(pool):
        lengths_N = context.meter.rendered(pool).lengths_N
        taken_K = [step.pick for step in steps]
        left = context.budget.amount - int(lengths_N[taken_K].sum())
        said = f"no more rows are offered, and {left:,.0f} tokens of the budget are left"
        remarks[said] = left >= int(np.delete(lengths_N, taken_K).max())
    for ending, remark in context.remarks.items():
        remarks[remark] = any(step.reason.endswith(ending) for step in steps)
    return [remark for remark, holds in remarks.items() if holds]


def _refuse_unmeasured(
    picks: np.ndarray, unknown: dict[int, str], pool: Pool, part: Method
) -> None:
    if wrong := [int(pick) for pick in picks if int(pick) in unknown]:
        raise OptionError(
            f"{describe(part)['name']} picked {pool.where(wrong[0])}, although "
            f"{unknown[wrong[0]]}; a method must pass over such rows"
        )
