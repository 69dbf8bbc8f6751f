"""What every selector of the room keeps to, present and future.

Selectors are found by their annotation (they return `Iterator[Step]`); a new one fails here
until `CALLS` says how to call it on the common example, and `NEEDS` what memory it says it needs.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from itertools import islice
from typing import Any, get_type_hints

import numpy as np
import pytest

import modicum.selection
from modicum.errors import OptionError
from modicum.selection import (
    Step,
    apart,
    balanced,
    band,
    by_quota,
    coresets,
    densities,
    facility,
    inverse_propensity,
    kcenter,
    kmeans,
    near_groups,
    near_target,
    uniform,
)
from modicum.selection.clusters import needs as kmeans_needs
from modicum.selection.coresets import needs as coresets_needs
from modicum.selection.density import needs as density_needs
from modicum.selection.facility import needs as facility_needs
from modicum.selection.kcenter import needs as kcenter_needs
from modicum.selection.memory import needs as order_needs
from modicum.selection.nearest import needs as near_needs
from modicum.selection.threshold import needs as apart_needs
from modicum.selection.turns import needs as turns_needs

# What spends steps or shares a budget, what compares and weighs, where, and what checks arrays.
NOT_SELECTORS = {
    *(
        "apportion",
        "budget",
        "devices",
        "distances",
        "diversity",
        "insinfo",
        "lloyd",
        "memory",
        "over",
        "quotas",
        "rows",
    ),
    "transport",
}


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
    "coresets": lambda e, seed: coresets(e.vectors_ND, len(e.vectors_ND), 4, seed=seed),
    "facility": lambda e, seed: facility(e.vectors_ND),
    "inverse_propensity": lambda e, seed: inverse_propensity(1 + e.values_N, seed),
    "kcenter": lambda e, seed: kcenter(e.vectors_ND, seed=seed),
    "near_groups": lambda e, seed: near_groups(
        e.vectors_ND, e.target_MD, ["a", "b", "a"][: len(e.target_MD)]
    ),
    "near_target": lambda e, seed: near_target(e.vectors_ND, e.target_MD),
    "uniform": lambda e, seed: uniform(len(e.vectors_ND), seed),
}


# Without a limit, and in so little memory that its blocks are smaller; (rows, width) → bytes.
Needs = Callable[[int, int, int | None], int]
NEEDS: dict[str, Needs] = {
    "apart": lambda n, d, memory: apart_needs(n, d, memory=memory),
    "balanced": lambda n, d, memory: order_needs(n),
    "band": lambda n, d, memory: order_needs(n),
    "by_quota": lambda n, d, memory: order_needs(n),
    "coresets": lambda n, d, memory: coresets_needs(n, d, picks=500, shards=4, memory=memory),
    "densities": lambda n, d, memory: density_needs(n, d, memory=memory),
    "facility": lambda n, d, memory: facility_needs(n, d, memory=memory),
    "inverse_propensity": lambda n, d, memory: order_needs(n),
    "kcenter": lambda n, d, memory: kcenter_needs(n, d, memory=memory),
    "kmeans": lambda n, d, memory: kmeans_needs(n, d, clusters=20, memory=memory),
    "near_groups": lambda n, d, memory: turns_needs(n, d, 60, groups=3, memory=memory),
    "near_target": lambda n, d, memory: near_needs(n, d, targets=60, memory=memory),
    "uniform": lambda n, d, memory: order_needs(n),
}
# What is asked of them there, with the memory that they are given.
LARGE: dict[str, Callable[[Example, int | None], Any]] = {
    "apart": lambda e, memory: apart(e.vectors_ND, e.values_N, 0.4, memory=memory),
    "coresets": lambda e, memory: coresets(e.vectors_ND, 500, 4, memory=memory),
    "densities": lambda e, memory: iter(densities(e.vectors_ND, 1.0, 0, memory=memory)),
    "facility": lambda e, memory: islice(facility(e.vectors_ND, memory=memory), 200),
    "kcenter": lambda e, memory: islice(kcenter(e.vectors_ND, memory=memory), 500),
    "kmeans": lambda e, memory: iter(kmeans(e.vectors_ND, 20, 0, memory=memory)),
    "near_groups": lambda e, memory: near_groups(
        e.vectors_ND, e.target_MD, [str(m % 3) for m in range(len(e.target_MD))], memory=memory
    ),
    "near_target": lambda e, memory: near_target(e.vectors_ND, e.target_MD, memory=memory),
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


# --- memory ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def large() -> Example:
    rng = np.random.default_rng(0)
    n = 20_000
    return Example(
        vectors_ND=rng.standard_normal((n, 64)).astype(np.float32),
        values_N=rng.standard_normal(n).astype(np.float32),
        labels_N=rng.integers(0, 50, n),
        groups_N=tuple(rng.choice(["alpaca", "dolly", "flan"], n)),
        target_MD=rng.standard_normal((60, 64)).astype(np.float32),
    )


def peak(name: str, pool: Example, memory: int | None) -> int:
    """The most bytes in use at once while a selector works, beside what it was given."""
    work = LARGE.get(name, lambda e, memory: call(name, e))
    for _ in work(example(300), None):
        pass  # what is imported when first used is not the selector's
    tracemalloc.start()
    for _ in work(pool, memory):
        pass
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most


def test_every_selector_says_what_memory_it_needs() -> None:
    assert sorted(NEEDS) == sorted([*FOUND, "densities", "kmeans"])
    assert {name for name in FOUND if "vectors_ND" in FOUND[name].__annotations__} < set(LARGE)


@pytest.mark.parametrize("name", sorted(NEEDS))
def test_it_takes_no_more_memory_than_it_said(name: str, large: Example) -> None:
    said = NEEDS[name](20_000, 64, None)
    assert peak(name, large, None) <= said


@pytest.mark.parametrize("name", sorted(LARGE))
def test_what_it_said_is_no_more_than_four_times_what_it_takes(name: str, large: Example) -> None:
    assert NEEDS[name](20_000, 64, None) < 4 * peak(name, large, None)


@pytest.mark.parametrize("name", sorted(set(LARGE) - {"kmeans"}))  # which has no blocks
def test_in_half_the_memory_it_takes_at_most_that(name: str, large: Example) -> None:
    memory = NEEDS[name](20_000, 64, None) // 2
    assert NEEDS[name](20_000, 64, memory) <= memory
    assert peak(name, large, memory) <= memory


@pytest.mark.parametrize("name", sorted(LARGE))
def test_too_little_memory_is_refused_before_it_starts(name: str, large: Example) -> None:
    for refused in (lambda: NEEDS[name](20_000, 64, 1000), lambda: LARGE[name](large, 1000)):
        with pytest.raises(OptionError, match="memory"):
            refused()
