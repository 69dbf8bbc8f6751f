"""What every filter keeps to, present and future. A new one needs a line in `EXAMPLES`."""

from __future__ import annotations

import pkgutil
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import modicum.filters
from modicum.choose import select
from modicum.context import Context
from modicum.errors import BudgetError
from modicum.meter import Meter
from modicum.models import Model
from modicum.parts import build, describe, find, members
from modicum.pool import Pool
from modicum.question import ask
from modicum.store import Store

FILTERS = members("modicum.filters")
EXAMPLES: dict[str, dict[str, Any]] = {
    "band": {"score": "loss", "share": 0.5},
    "between": {"score": "length", "most": 9},
    "duplicates": {},
    "semdedup": {"clusters": 2, "max_similarity": 0.5},
}
NOTHING_MEASURED = {"duplicates"}
every_filter = pytest.mark.parametrize("name", FILTERS)


def sieve(name: str) -> Any:
    if name not in EXAMPLES:
        pytest.fail(f"say in EXAMPLES with which options to try {name}")
    return build(FILTERS[name], EXAMPLES[name])


@pytest.fixture
def context(tiny_pool: Pool, tiny_model: Model, store: Store) -> Context:
    return ask(tiny_pool, "random", 2, Meter(tiny_model, store), 0).context


def test_every_module_of_the_room_holds_a_filter():
    files = {info.name for info in pkgutil.iter_modules(modicum.filters.__path__)}
    assert {kind.__module__.rpartition(".")[2] for kind in FILTERS.values()} == files


@every_filter
def test_it_says_of_every_row_whether_it_stays(name: str, context: Context):
    stays_N = sieve(name)(context)
    assert stays_N.dtype == bool
    assert stays_N.shape == (len(context.pool),)
    assert 0 < stays_N.sum() < len(context.pool), "an example that tells rows apart"
    assert sieve(name).reason.strip()
    assert FILTERS[name].__doc__


@every_filter
def test_it_says_the_same_again(name: str, context: Context):
    first, again = sieve(name)(context), sieve(name)(replace(context, scored={}, unseen={}))
    assert first.tolist() == again.tolist()


@every_filter
def test_a_row_that_cannot_be_measured_does_not_stay(
    name: str, tiny_pool: Pool, tiny_model: Model, store: Store, monkeypatch: pytest.MonkeyPatch
):
    if name in NOTHING_MEASURED:
        return
    part = sieve(name)
    for room in ("modicum.views", "modicum.scores"):
        for kind in members(room).values():
            monkeypatch.setattr(kind, "__call__", without_row(7, kind.__call__, tiny_pool))
    chosen = select(tiny_pool, "random", 2, tiny_model, store=store, filters=[part])
    assert 7 in chosen.left_out
    assert not chosen.left_out[7].startswith("filter ")


def without_row(row: int, call: Any, pool: Pool) -> Any:
    def measured(self: Any, seen: Pool, meter: Meter, **more: Any) -> np.ndarray:
        values_N = np.array(call(self, seen, meter, **more))
        values_N[[i for i, name in enumerate(seen.ids) if name == pool.ids[row]]] = np.nan
        return values_N

    return measured


@every_filter
def test_what_it_leaves_out_is_never_picked_and_is_named(
    name: str, context: Context, tiny_pool: Pool, tiny_model: Model, store: Store
):
    part = sieve(name)
    stays_N = part(context)
    stay = int(stays_N.sum())
    chosen = select(tiny_pool, "longest", stay, tiny_model, store=store, filters=[part])
    assert sorted(chosen.picks.tolist()) == np.flatnonzero(stays_N).tolist()
    reason = f"filter {name}: {part.reason}"
    assert chosen.left_out == {int(i): reason for i in np.flatnonzero(~stays_N)}
    assert chosen.given["filters"] == [describe(part)]
    assert f"filter {name}: {stay} of 12 rows stay" in chosen.notes
    with pytest.raises(BudgetError, match=f"filter {name} leaves {stay} of 12 rows, {stay + 1} "):
        select(tiny_pool, "longest", stay + 1, tiny_model, store=store, filters=[part])


@every_filter
def test_its_description_builds_it_again(name: str):
    told = describe(sieve(name))
    flat = {k: v["name"] if isinstance(v, dict) else v for k, v in told.items() if k != "name"}
    flat = {k: str(v) for k, v in flat.items() if v is not None}
    assert build(find("modicum.filters", name), flat) == sieve(name)
