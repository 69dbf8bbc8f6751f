"""Whether a selection pays its way: what it cost beside what tuning costs."""

from __future__ import annotations

from typing import Any

from modicum.ledger import Ledger

TRAINED = 3  # a token trained on goes forward once and backward, which is twice the work


def cost(
    ledger: Ledger,
    *,
    subset_tokens: int,
    pool_tokens: int,
    epochs: float,
    seconds_per_trained_token: float | None = None,
) -> dict[str, Any]:
    """The selection's cost, that of tuning on the subset and on the whole pool, and two ratios.

    `compute` counts a token sent forward as 1 and one trained on as 3. Seconds of tuning are those
    of the training in this ledger, or of a calibration; null where nothing was ever trained.
    """
    if ledger.backward_tokens:
        seconds_per_trained_token = ledger.seconds["train"] / ledger.backward_tokens
    selection = {
        "compute": float(ledger.forward_tokens + TRAINED * ledger.backward_tokens),
        "seconds": sum(ledger.seconds.values()),
    }
    subset, whole = (
        _tuning(tokens * epochs, seconds_per_trained_token)
        for tokens in (subset_tokens, pool_tokens)
    )
    return {
        "epochs": epochs,
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
        "train": took.get("train", 0.0),
    }
    actual = {
        "forward_tokens": ledger.forward_tokens,
        "backward_tokens": ledger.backward_tokens,
        "seconds": _rounded(seconds | {"total": sum(seconds.values())}),
    }
    return {**predicted, "actual": actual}


def _tuning(tokens: float, seconds_per_token: float | None) -> dict[str, float | None]:
    seconds = None if seconds_per_token is None else tokens * seconds_per_token
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
