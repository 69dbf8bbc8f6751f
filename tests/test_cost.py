"""What a selection cost, and whether it pays."""

from __future__ import annotations

from typing import Any

import numpy as np

from modicum.cost import beside_actual, cost
from modicum.ledger import SET_UP, Ledger
from modicum.training import Recipe

TWICE = Recipe({"num_train_epochs": 2})
SUBSET_M, POOL_N = np.array([200, 300]), np.full(20, 500)


def told(ledger: Ledger, recipe: Recipe, subset_M: Any = SUBSET_M, pool_N: Any = POOL_N) -> Any:
    return cost(ledger, subset_tokens_M=subset_M, pool_tokens_N=pool_N, recipe=recipe)


def test_ratios_by_hand():
    ledger = Ledger(forward_tokens=4000, seconds={"measure": 5})
    for _ in range(4):  # tunings, each with 2 s around its steps
        ledger.trained(250, 5, {"setup": 1.5, "train": 5.0, "save": 0.5})
    found = told(ledger, TWICE)
    assert found["epochs"] == 2
    assert found["selection"] == {"compute": 4000 + 3 * 1000, "seconds": 5 + 20 + 8}
    assert found["tuning_on_subset"] == {"compute": 3 * 1000, "seconds": 2 + 1000 * 20 / 1000}
    assert found["tuning_on_pool"] == {"compute": 3 * 20_000, "seconds": 2 + 20_000 * 20 / 1000}
    assert found["selection_to_tuning"] == {"compute": 2.3333, "seconds": 1.5}
    assert found["selection_and_tuning_to_whole"] == {"compute": 0.1667, "seconds": 0.1368}


def test_the_tuning_that_is_counted_ends_with_max_steps():
    found = told(Ledger(), Recipe({"max_steps": "10"}))
    # One step holds the subset's 500 tokens. The pool's 10,000 are 10 packs, of which 4 a step.
    assert found["epochs"] == 10
    assert found["tuning_on_subset"]["compute"] == 3 * 10 * 500
    assert found["tuning_on_pool"]["compute"] == round(3 * 10 * 10_000 / 3, 2)


def test_without_a_training_there_are_no_seconds_of_tuning():
    ledger = Ledger(forward_tokens=4000, seconds={"measure": 5})
    found = told(ledger, Recipe())
    assert found["tuning_on_subset"] == {"compute": 4500, "seconds": None}
    assert found["selection_to_tuning"] == {"compute": 0.8889, "seconds": None}
    assert found["selection_and_tuning_to_whole"] == {"compute": 0.0944, "seconds": None}


def test_nothing_has_no_ratio():
    found = told(Ledger(), Recipe(), np.zeros(0, int), np.zeros(0, int))
    assert found["selection_to_tuning"] == {"compute": None, "seconds": None}


def test_the_actual_figures_stand_beside_the_predicted():
    ledger = Ledger(forward_tokens=7, backward_tokens=9)
    ledger.seconds = {"load model": 1.0, "measure": 2.0, "train": 3.004, "select": 9.0, SET_UP: 1}
    found = beside_actual({"forward_tokens": 8}, ledger)
    assert found["forward_tokens"] == 8
    assert found["actual"] == {
        "forward_tokens": 7,
        "backward_tokens": 9,
        "seconds": {"measure": 3.0, "train": 4.0, "total": 7.0},
    }
