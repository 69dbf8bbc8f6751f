"""What every selector of the room keeps to, present and future.

Selectors are found by their annotation (they return `Iterator[Step]`); a new one fails here
until `CALLS` says how to call it on the common example.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from itertools import islice
from typing import Any, get_type_hints

import numpy as np
import pytest

import modicum.selection
from modicum.selection import (
    Step,
    apart,
    balanced,
    band,
    by_quota,
    kcenter,
    near_target,
    uniform,
)

# What spends steps or shares a budget, what compares and weighs, and what checks the arrays.
NOT_SELECTORS = {"apportion", "budget", "diversity", "insinfo", "quotas", "rows", "transport"}


@dataclass(frozen=True)
class Example:
    """A pool of N rows as selectors see it."""

    vectors_ND: np.ndarray
    values_N: np.ndarray
    labels_N: np.ndarray
    groups_N: tuple[str, ...]
    target_MD: np.ndarray


CALLS: dict[str, Callable[[Example, int], Iterator[Step]]] = {
    "apart": lambda e, seed: apart(e.vectors_ND, e.values_N, 1.0),  # 1.0: nothing is left out
    "balanced": lambda e, seed: balanced(e.groups_N, seed),
    "band": lambda e, seed: band(e.values_N, "top"),
    "by_quota": lambda e, seed: by_quota(e.labels_N, e.values_N),
    "kcenter": lambda e, seed: kcenter(e.vectors_ND, seed=seed),
    "near_target": lambda e, seed: near_target(e.vectors_ND, e.target_MD),
    "uniform": lambda e, seed: uniform(len(e.vectors_ND), seed),
}


def modules() -> dict[str, Any]:
    room = modicum.selection
    names = [m.name for m in pkgutil.iter_modules(room.__path__) if m.name not in NOT_SELECTORS]
    return {name: importlib.import_module(f"{room.__name__}.{name}") for name in names}


def selectors_of(module: Any) -> dict[str, Callable[..., Iterator[Step]]]:
    return {
        name: found
        for name, found in inspect.getmembers(module, inspect.isfunction)
        if found.__module__ == module.__name__
        and not name.startswith("_")
        and get_type_hints(found).get("return") == Iterator[Step]
    }


FOUND = {n: f for module in modules().values() for n, f in selectors_of(module).items()}
MEASURED = [n for n, f in FOUND.items() if {"vectors_ND", "values_N"} & set(f.__annotations__)]


def example(n: int = 40, dtype: type = np.float64) -> Example:
    rng = np.random.default_rng(7)
    return Example(
        vectors_ND=rng.integers(-9, 10, (n, 3)).astype(dtype),
        values_N=rng.integers(0, 20, n).astype(dtype),
        labels_N=rng.integers(0, 4, n),
        groups_N=tuple(rng.choice(["alpaca", "dolly", "flan"], n)),
        target_MD=rng.integers(-9, 10, (3, 3)).astype(dtype),
    )


def constant(n: int) -> Example:
    ones = np.ones((n, 3))
    return Example(ones, np.ones(n), np.zeros(n, dtype=int), ("alpaca",) * n, ones[:2])


def call(name: str, pool: Example, seed: int = 0) -> Iterator[Step]:
    assert name in CALLS, f"say in CALLS how to call {name} on the common example"
    return CALLS[name](pool, seed)


def picks(name: str, pool: Example, k: int | None = None, seed: int = 0) -> list[int]:
    return [step.pick for step in islice(call(name, pool, seed), k)]


@pytest.mark.parametrize("name", sorted(modules()))
def test_every_module_of_the_room_offers_a_selector(name: str) -> None:
    found = sorted(selectors_of(modules()[name]))
    print(f"selection/{name}.py: {', '.join(found)}")  # noqa: T201
    assert found, f"selection/{name}.py has no public function that returns Iterator[Step]"


def test_every_entry_of_the_table_is_a_selector() -> None:
    assert sorted(CALLS) == sorted(FOUND)


@pytest.mark.parametrize("name", sorted(FOUND))
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_row_is_offered_once_in_either_precision(name: str, dtype: type) -> None:
    assert sorted(picks(name, example(dtype=dtype))) == list(range(40))


@pytest.mark.parametrize("name", sorted(FOUND))
def test_both_precisions_give_the_same_picks(name: str) -> None:
    assert picks(name, example(dtype=np.float32)) == picks(name, example(dtype=np.float64))


@pytest.mark.parametrize("name", sorted(FOUND))
def test_same_seed_same_picks(name: str) -> None:
    assert picks(name, example(), seed=3) == picks(name, example(), seed=3)


@pytest.mark.parametrize("name", sorted(n for n in FOUND if "seed" in FOUND[n].__annotations__))
def test_another_seed_gives_other_picks(name: str) -> None:
    assert len({tuple(picks(name, example(), seed=seed)) for seed in range(5)}) > 1


@pytest.mark.parametrize("name", sorted(FOUND))
def test_no_global_random_state_is_used(name: str) -> None:
    np.random.seed(1)  # noqa: NPY002
    before = picks(name, example())
    np.random.seed(2)  # noqa: NPY002
    assert picks(name, example()) == before


@pytest.mark.parametrize("name", sorted(FOUND))
def test_inputs_are_left_as_they_were(name: str) -> None:
    pool, untouched = example(), example()
    list(call(name, pool))
    for field in fields(Example):
        assert np.array_equal(getattr(pool, field.name), getattr(untouched, field.name))


@pytest.mark.parametrize("name", sorted(FOUND))
def test_the_picks_for_five_start_the_picks_for_nine(name: str) -> None:
    assert picks(name, example(), 9)[:5] == picks(name, example(), 5)


@pytest.mark.parametrize("name", sorted(FOUND))
def test_duplicates_are_offered_once_each(name: str) -> None:
    once = example(8)
    twice = Example(
        *(np.concatenate([a, a]) for a in (once.vectors_ND, once.values_N, once.labels_N)),
        groups_N=once.groups_N * 2,
        target_MD=once.target_MD,
    )
    assert sorted(picks(name, twice)) == list(range(16))


@pytest.mark.parametrize("name", sorted(MEASURED))
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_rows_that_are_not_finite_are_never_offered(name: str, bad: float) -> None:
    pool = example()
    for row in (0, 17, 39):
        pool.vectors_ND[row, 1] = pool.values_N[row] = bad
    steps = list(call(name, pool))
    assert sorted(step.pick for step in steps) == sorted(set(range(40)) - {0, 17, 39})
    assert all(np.isfinite(step.gain) for step in steps[1:])


@pytest.mark.parametrize("name", sorted(MEASURED))
def test_ties_go_to_the_lower_position(name: str) -> None:
    taken = picks(name, constant(30))
    drawn = 1 if "seed" in FOUND[name].__annotations__ else 0
    assert taken[drawn:] == sorted(taken[drawn:])


@pytest.mark.parametrize("name", sorted(FOUND))
def test_an_empty_pool_offers_nothing(name: str) -> None:
    assert picks(name, example(0)) == []


@pytest.mark.parametrize("name", sorted(FOUND))
def test_every_step_says_why(name: str) -> None:
    assert all(step.reason and type(step.pick) is int for step in call(name, example()))
