"""k-center in shards: the bound, where it is exact, and what stays as it is in one piece."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any

import numpy as np
import pytest

from modicum.choose import select
from modicum.errors import OptionError
from modicum.methods.k_center import KCenter
from modicum.models import Model
from modicum.pool import Pool
from modicum.selection import Step, coresets, kcenter
from modicum.store import Store


def vectors(n: int = 600, d: int = 4, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


def picked(steps: Iterable[Step]) -> list[int]:
    return [step.pick for step in steps]


def radius(vectors_ND: np.ndarray, picks: list[int]) -> float:
    """The largest distance of a row from its nearest pick."""
    gaps_NKD = vectors_ND[:, None] - vectors_ND[picks][None]
    return float(np.linalg.norm(gaps_NKD, axis=2).min(axis=1).max())


def test_two_lines_of_points_are_cut_where_they_lie():
    line = np.array([0.0, 1, 2, 3, 100, 101, 102, 103])[:, None]
    steps = list(coresets(line, 2, 2, seed=0))
    assert {pick // 4 for pick in picked(steps)} == {0, 1}  # one of each end
    assert steps[1].gain == abs(line[steps[1].pick] - line[steps[0].pick])[0]
    assert steps[1].reason.endswith(f"row {steps[0].pick}, the nearest earlier pick")


@pytest.mark.parametrize("shards", [2, 3, 8])
@pytest.mark.parametrize("k", [5, 40])
def test_no_row_is_farther_than_four_times_the_best_distance(shards: int, k: int):
    vectors_ND = vectors()
    exact = picked(islice(kcenter(vectors_ND), k))  # at least as far as the best
    found = picked(coresets(vectors_ND, k, shards))
    assert len(set(found)) == k
    assert radius(vectors_ND, found) <= 4 * radius(vectors_ND, exact)


@pytest.mark.parametrize("shards", [1, 4])
def test_parts_that_give_all_their_rows_make_it_exact(shards: int):
    vectors_ND = vectors(40)
    given = {"seed": 3, "start_MD": vectors(2, seed=9)}
    exact = list(kcenter(vectors_ND, **given))
    assert list(coresets(vectors_ND, 40, shards, **given)) == exact


def test_given_rows_are_kept_away_from_and_rows_have_the_pools_names():
    vectors_ND = np.array([[0.0], [1], [10], [11]])
    names_N = np.array([5, 7, 8, 9])
    (step,) = coresets(vectors_ND, 1, 2, start_MD=np.array([[0.5]]), positions_N=names_N)
    assert (step.pick, step.gain) == (9, 10.5)
    assert step.reason == "10.5 from given row 0"


def test_more_shards_than_rows_and_rows_without_a_vector():
    vectors_ND = vectors(5)
    vectors_ND[2] = np.nan
    assert sorted(picked(coresets(vectors_ND, 4, 9))) == [0, 1, 3, 4]
    assert picked(coresets(vectors_ND[2:3], 1, 2)) == []


def test_parts_may_be_worked_on_in_any_order():
    def backwards(function: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
        return [function(item) for item in reversed(list(items))][::-1]

    vectors_ND = vectors()
    assert list(coresets(vectors_ND, 9, 4, mapped=backwards)) == list(coresets(vectors_ND, 9, 4))


def test_less_than_one_shard_is_refused():
    with pytest.raises(OptionError, match="shards=0; at least 1 is needed"):
        coresets(vectors(5), 2, 0)


def test_the_method_takes_shards(tiny_pool: Pool, tiny_model: Model, store: Store):
    given = {"store": store, "view": "lexical"}
    exact = select(tiny_pool, "k-center", 12, tiny_model, **given)
    whole = select(tiny_pool, "k-center", 12, tiny_model, **given, shards=3)
    assert whole.picks.tolist() == exact.picks.tolist()  # every part gives all its rows
    few = select(tiny_pool, "k-center", 3, tiny_model, **given, shards=3)
    assert len(set(few.picks.tolist())) == 3
    assert KCenter().nested
    assert not KCenter(shards=3).nested


def test_the_method_refuses_shards_where_it_does_not_know_how_many_to_offer(
    tiny_pool: Pool, tiny_model: Model
):
    with pytest.raises(OptionError, match="a budget of 200tok does not say; give -k in rows"):
        select(tiny_pool, "k-center", "200tok", tiny_model, shards=2)
    with pytest.raises(OptionError, match="shards=0; at least 1 is needed"):
        select(tiny_pool, "k-center", 2, tiny_model, shards=0)
