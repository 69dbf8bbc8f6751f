"""Facility location against brute force, and the limits of its sparse form."""

from __future__ import annotations

from importlib import import_module
from itertools import combinations, islice, pairwise

import numpy as np
import pytest

from modicum.errors import AlignmentError, OptionError
from modicum.selection import facility

room = import_module("modicum.selection.facility")  # beside the function of that name


def vectors(n: int = 30, width: int = 5, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, width)).astype(np.float32)


def likeness(vectors_ND: np.ndarray) -> np.ndarray:
    unit_ND = vectors_ND / np.linalg.norm(vectors_ND.astype(np.float64), axis=1, keepdims=True)
    return np.maximum(unit_ND @ unit_ND.T, 0)


def greedy(like_NN: np.ndarray, k: int, served_N: np.ndarray | None = None) -> list[int]:
    """Every candidate looked at for every pick."""
    best_N = np.zeros(len(like_NN)) if served_N is None else served_N.copy()
    picks: list[int] = []
    for _ in range(k):
        gain_N = np.maximum(like_NN - best_N, 0).sum(axis=1)
        gain_N[picks] = -1
        picks.append(int(gain_N.argmax()))
        best_N = np.maximum(best_N, like_NN[picks[-1]])
    return picks


def taken(k: int, *args: object, **more: object) -> list[int]:
    return [step.pick for step in islice(facility(*args, **more), k)]  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(5))
def test_it_picks_what_brute_force_picks_and_says_what_it_adds(seed: int):
    vectors_ND = vectors(seed=seed)
    like_NN = likeness(vectors_ND)
    steps = list(islice(facility(vectors_ND), 12))
    assert [step.pick for step in steps] == greedy(like_NN, 12)
    values = [like_NN[[step.pick for step in steps[:k]]].max(axis=0).sum() for k in range(1, 13)]
    assert np.cumsum([step.gain for step in steps]) == pytest.approx(values, abs=1e-4)
    assert all(a.gain >= b.gain for a, b in pairwise(steps))


def test_it_reaches_its_share_of_the_best_there_is():
    like_NN = likeness(vectors(10))
    best = max(like_NN[list(three)].max(axis=0).sum() for three in combinations(range(10), 3))
    found = like_NN[taken(3, vectors(10))].max(axis=0).sum()
    assert (1 - 1 / np.e) * best <= found <= best


@pytest.mark.parametrize("memory", [None, 40_000])
def test_rows_with_all_neighbours_are_as_all_rows(
    monkeypatch: pytest.MonkeyPatch, memory: int | None
):
    whole = taken(30, vectors())
    assert taken(30, vectors(), memory=memory) == whole
    monkeypatch.setattr(room, "DENSE", 1)
    assert taken(30, vectors()) == whole


def test_few_neighbours_serve_the_nearest_only(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(room, "DENSE", 1)
    monkeypatch.setattr(room, "NEIGHBOURS", 4)
    like_NN = likeness(vectors())
    for row_N in like_NN:  # of equals the lower row, as there are none here
        row_N[np.argsort(-row_N)[4:]] = 0
    assert taken(10, vectors()) == greedy(like_NN.T, 10)


def test_given_rows_serve_from_the_start():
    vectors_ND = vectors()
    like_NN = likeness(vectors_ND)
    expected = greedy(like_NN, 31, like_NN[[3, 8]].max(axis=0))[:8]
    assert taken(8, vectors_ND, start_MD=vectors_ND[[3, 8]]) == expected


def test_quality_alone_is_the_order_of_the_values():
    values_N = np.random.default_rng(1).permutation(30).astype(float)
    values_N[4] = np.nan
    picks = taken(30, vectors(), values_N=values_N, quality=1.0)
    assert picks == [int(i) for i in np.argsort(-values_N) if i != 4]


def test_quality_is_weighed_against_the_gain():
    vectors_ND = vectors()
    values_N = np.random.default_rng(1).random(30)
    worth_N = (values_N - values_N.min()) / np.ptp(values_N)
    best_N, picks, like_NN = np.zeros(30), list[int](), likeness(vectors_ND)
    for _ in range(10):
        gain_N = 0.7 * np.maximum(like_NN - best_N, 0).sum(axis=1) / 30 + 0.3 * worth_N
        gain_N[picks] = -1
        picks.append(int(gain_N.argmax()))
        best_N = np.maximum(best_N, like_NN[picks[-1]])
    assert taken(10, vectors_ND, values_N=values_N, quality=0.3) == picks


def test_what_it_cannot_take_is_refused():
    with pytest.raises(OptionError, match=r"quality=1\.5"):
        facility(vectors(), quality=1.5)
    with pytest.raises(AlignmentError, match="none values for 30"):
        facility(vectors(), quality=0.5)
