"""Densities by hand, and draws that are as likely as they should be."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

import modicum.selection.density as room
from modicum.errors import OptionError
from modicum.selection import densities, inverse_propensity


def test_the_densities_of_three_rows_by_hand():
    density_N = densities(np.array([[0.0], [1.0], [3.0]]), 1.0, 0)
    near, middle, far = np.exp(-0.5), np.exp(-2.0), np.exp(-4.5)
    expected = [(1 + near + far) / 3, (1 + near + middle) / 3, (1 + middle + far) / 3]
    assert density_N == pytest.approx(expected, abs=1e-12)


def test_a_sample_is_near_the_whole(monkeypatch: pytest.MonkeyPatch):
    vectors_ND = np.random.default_rng(0).standard_normal((1500, 3))
    whole_N = densities(vectors_ND, 1.0, 0)
    monkeypatch.setattr(room, "SAMPLE", 500)
    assert densities(vectors_ND, 1.0, 0) == pytest.approx(whole_N, rel=0.3)
    assert np.corrcoef(densities(vectors_ND, 1.0, 0), whole_N)[0, 1] > 0.99


def test_a_row_that_is_not_finite_has_no_density_and_changes_none():
    vectors_ND = np.array([[0.0], [np.nan], [1.0]])
    assert (
        densities(vectors_ND, 1.0, 0)[[0, 2]].tolist()
        == densities(vectors_ND[[0, 2]], 1.0, 0).tolist()
    )
    assert np.isnan(densities(vectors_ND, 1.0, 0)[1])


def test_blocks_of_any_size_give_the_same():
    vectors_ND = np.random.default_rng(0).standard_normal((300, 4))
    small_N = densities(vectors_ND, 1.0, 0, memory=room.needs(300, 4, memory=400_000))
    assert small_N == pytest.approx(densities(vectors_ND, 1.0, 0), abs=1e-12)


def test_the_first_draw_is_as_likely_as_one_over_the_density():
    firsts = Counter(
        next(inverse_propensity(np.array([1.0, 2.0, 4.0]), seed)).pick for seed in range(4000)
    )
    shares = np.array([firsts[0], firsts[1], firsts[2]]) / 4000
    assert shares == pytest.approx([4 / 7, 2 / 7, 1 / 7], abs=0.03)


def test_rows_without_a_density_are_not_offered():
    picks = {step.pick for step in inverse_propensity(np.array([1.0, np.nan, 0.0, np.inf, 2]), 0)}
    assert picks == {0, 4}


def test_a_bandwidth_must_be_a_distance():
    with pytest.raises(OptionError, match="bandwidth=0"):
        densities(np.ones((2, 2)), 0, 0)
