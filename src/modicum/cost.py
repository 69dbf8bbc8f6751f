"""Whether a selection pays its way: what it cost beside what tuning costs."""

from __future__ import annotations

from typing import Any

import numpy as np

from modicum.ledger import SET_UP, Ledger
from modicum.plan import epochs_of
from modicum.training.options import Recipe

TRAINED = 3  # a token trained on goes forward once and backward, which is twice the work


def cost(
    ledger: Ledger, *, subset_tokens_M: np.ndarray, pool_tokens_N: np.ndarray, recipe: Recipe
) -> dict[str, Any]:
    """The selection's cost, that of tuning on the subset and on the whole pool, and two ratios.

    The tokens are those of each row. `compute` counts a token sent forward as 1 and one trained on
    as 3. Seconds of tuning are of steps as fast, and of a setting up as long, as in this ledger's
    trainings; null where nothing was trained. `epochs` are the subset's.
    """
    selection = {
        "compute": float(ledger.forward_tokens + TRAINED * ledger.backward_tokens),
        "seconds": sum(ledger.seconds.values()),
    }
    subset, whole = (
        _tuning(tokens_M, recipe, ledger) for tokens_M in (subset_tokens_M, pool_tokens_N)
    )
    return {
        "epochs": round(_epochs(recipe, subset_tokens_M), 4),
        "selection": _rounded(selection),
        "tuning_on_subset": _rounded(subset),
        "tuning_on_pool": _rounded(whole),
        "selection_to_tuning": _ratio(selection, None, subset),
        "selection_and_tuning_to_whole": _ratio(selection, subset, whole),
    }


def beside_actual(predicted: dict[str, Any], ledger: Ledger) -> dict[str, Any]:
    """A prediction, and for each figure of it what it came to."""
    took = ledger.seconds
    seconds = {
        "measure": took.get("measure", 0.0) + took.get("load model", 0.0),
        "train": took.get("train", 0.0) + took.get(SET_UP, 0.0),
    }
    actual = {
        "forward_tokens": ledger.forward_tokens,
        "backward_tokens": ledger.backward_tokens,
        "seconds": _rounded(seconds | {"total": sum(seconds.values())}),
    }
    return {**predicted, "actual": actual}


def _epochs(recipe: Recipe, tokens_M: np.ndarray) -> float:
    return epochs_of(recipe, len(tokens_M), float(tokens_M.sum()))


def _tuning(tokens_M: np.ndarray, recipe: Recipe, ledger: Ledger) -> dict[str, float | None]:
    tokens, seconds = _epochs(recipe, tokens_M) * float(tokens_M.sum()), None
    if ledger.backward_tokens:
        steps = tokens * ledger.seconds["train"] / ledger.backward_tokens
        seconds = steps + ledger.seconds[SET_UP] / ledger.trainings
    return {"compute": TRAINED * tokens, "seconds": seconds}


def _ratio(
    cost: dict[str, Any], more: dict[str, Any] | None, of: dict[str, Any]
) -> dict[str, float | None]:
    ratios: dict[str, float | None] = {}
    for unit, base in of.items():
        total = cost[unit] if more is None else _plus(cost[unit], more[unit])
        ratios[unit] = None if not base or total is None else round(total / base, 4)
    return ratios


def _plus(one: float, other: float | None) -> float | None:
    return None if other is None else one + other


def _rounded(figures: dict[str, Any]) -> dict[str, Any]:
    return {key: None if value is None else round(value, 2) for key, value in figures.items()}
