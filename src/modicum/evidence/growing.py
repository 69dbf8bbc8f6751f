"""How few rows are enough: subsets that double until more are not expected to bring much."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from modicum.errors import BudgetError, OptionError
from modicum.evaluation.paired import Interval, seeds_and_examples
from modicum.evidence.arms import FULL, Arm, charge, rows_of, run_arm
from modicum.evidence.contest import Contest
from modicum.evidence.exam import values_of
from modicum.evidence.plateau import LEAST, Curve, fitted
from modicum.ledger import Ledger
from modicum.progress import reached
from modicum.selection.budget import Budget

if TYPE_CHECKING:
    from modicum.methods import Method

_FIRST_ROWS, _FIRST_SHARE = 16, 0.01  # the smallest subset: the larger of the two
EPSILON = 0.05


@dataclass(frozen=True)
class Grown:
    """How many rows are enough, and all that led there, as `auto.json` has it."""

    rows: int
    record: dict[str, Any]
    arms: dict[str, Any]  # what choosing, tuning and measuring cost, of what `spent` says
    selection: str | None  # the folder below `selections/` of those rows; None: the whole pool
    ids: list[str]  # of those rows, in the order taken


def ladder(rows: int) -> list[int]:
    """Sizes that double, from the larger of 16 rows and 1 % to the whole pool."""
    size, sizes = max(_FIRST_ROWS, round(_FIRST_SHARE * rows)), list[int]()
    while size < rows:
        sizes.append(size)
        size *= 2
    return [*sizes, rows]


def grow(
    contest: Contest, label: str, part: Method, seeds: Sequence[int], epsilon: float = EPSILON
) -> Grown:
    """Tune on ever more of a method's picks; stop where the gain reaches the foretold one.

    The gain is over the untuned model, in the exam's first value, with a 95 % interval. From three
    sizes on a curve foretells the gain of the whole pool. Enough is the smallest size so far whose
    interval reaches within `epsilon` of it, as a share of that gain, and whose own gain is shown.
    If none does, the whole pool is taken. A size that the method cannot give is passed over.
    """
    if not 0 < epsilon < 1:
        raise OptionError(f"--epsilon {epsilon}: give a share of the gain, such as 0.05")
    rows, told, passed = len(contest.pool), list[dict[str, Any]](), list[int]()
    untuned, total, charged = contest.untuned(), Ledger(), set[str]()
    name, way = next(iter(contest.exam.compared(untuned).items()))
    before_N, sign = values_of(untuned)[name], -1.0 if way == "lower" else 1.0
    curve: Curve | None = None
    found: dict[str, Any] | None = None
    sizes = ladder(rows)
    for number, size in enumerate(sizes, 1):
        if (arms := _arms(contest, label, part, size, seeds)) is None:
            passed.append(size)
            continue
        gain_SN = sign * np.stack([values_of(arm)[name] - before_N for arm in arms])
        told.append(_told(size, arms, seeds_and_examples(gain_SN[:, _known(gain_SN)])))
        charge(total, arms, charged)
        gain = {f"gain in {name}": told[-1]["gain"]}
        reached(f"{number} of at most {len(sizes)} sizes", f"{size:,} rows", gain)
        if len(told) >= LEAST:
            curve = fitted([each["rows"] for each in told], [each["gain"] for each in told])
            told[-1]["foretold"] = curve.at(rows)
            if (found := _enough(told, (1 - epsilon) * curve.at(rows))) is not None:
                break
    arms_cost, found = total.to_json(), found or told[-1]
    total.add(contest.shared_ledger())
    record = {
        "measure": name,
        "better": way,
        "epsilon": epsilon,
        "seeds": list(seeds),
        "untuned": untuned["metrics"][name],
        "sizes": told,
        "passed_over": passed,
        "curve": curve and curve._asdict(),
        "rows": found["rows"],
        "of": rows,
        "expected": _expected(curve, found, rows),
        "spent": total.to_json(),
    }
    return Grown(found["rows"], record, arms_cost, *_measured(contest, label, part, found, seeds))


def _enough(told: Sequence[dict[str, Any]], wanted: float) -> dict[str, Any] | None:
    """The smallest size whose gain is shown and whose interval reaches what is wanted."""
    return next((each for each in told if each["low"] > 0 and each["high"] >= wanted), None)


def _arms(
    contest: Contest, label: str, part: Method, size: int, seeds: Sequence[int]
) -> list[dict[str, Any]] | None:
    """The arms of a size under every seed; None where the method cannot give so few or so many."""
    if size == len(contest.pool):
        return [run_arm(contest, Arm(FULL, None, None, seed), None) for seed in seeds]
    here = _asking(contest, part, size)
    try:
        return [run_arm(here, Arm(label, part, str(size), seed), None) for seed in seeds]
    except BudgetError:
        return None


def _asking(contest: Contest, part: Method, size: int) -> Contest:
    """The contest for one size; a method that tunes is asked for all sizes at once if they nest."""
    sizes = ladder(len(contest.pool))[:-1] if hasattr(part, "plan") else [size]
    return replace(contest, budgets={str(k): Budget(float(k), "rows") for k in sizes})


def _measured(
    contest: Contest, label: str, part: Method, found: Mapping[str, Any], seeds: Sequence[int]
) -> tuple[str | None, list[str]]:
    """The selection of a size that was measured first: its folder, and its rows' ids."""
    if found["rows"] == len(contest.pool):
        return None, list(contest.pool.ids)
    here = _asking(contest, part, found["rows"])
    picks_K, facts = rows_of(here, Arm(label, part, str(found["rows"]), seeds[0]))
    return None if facts is None else facts["name"], [contest.pool.ids[i] for i in picks_K]


def _known(gain_SN: np.ndarray) -> np.ndarray:
    known_N: np.ndarray = np.isfinite(gain_SN).all(axis=0)
    return known_N


def _told(size: int, arms: Sequence[Mapping[str, Any]], gain: Interval) -> dict[str, Any]:
    return {
        "rows": size,
        "tokens": float(np.mean([arm["tokens"] for arm in arms])),
        "gain": gain.mean,
        "low": gain.low,
        "high": gain.high,
        "seeds": gain.seeds,
        "foretold": None,  # the gain of the whole pool, from the sizes so far
    }


def _expected(curve: Curve | None, found: Mapping[str, Any], rows: int) -> dict[str, float] | None:
    """What the curve expects of more rows, beyond what the chosen ones brought."""
    if curve is None:
        return None
    here = curve.at(found["rows"])
    doubled = min(2 * found["rows"], rows)
    return {"doubled": curve.at(doubled) - here, "whole_pool": curve.at(rows) - here}
