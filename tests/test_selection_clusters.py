from __future__ import annotations

from fractions import Fraction
from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modicum.errors import AlignmentError, InputError, OptionError
from modicum.selection import by_quota, kmeans, near
from modicum.selection.clusters import LEARNED_ROWS

THREE_HEAPS = np.array([[0, 0], [0, 1], [9, 9], [9, 8], [-9, 9], [0, 0.5]])


def test_kmeans_finds_the_heaps() -> None:
    labels, centers, note = kmeans(THREE_HEAPS, 3, seed=0)
    assert labels[0] == labels[1] == labels[5] != labels[2] == labels[3] != labels[4] != labels[0]
    assert centers[labels[2]].tolist() == [9, 8.5]
    assert note == ""


def test_kmeans_leaves_rows_that_are_not_finite_in_no_cluster() -> None:
    labels = kmeans(np.array([[0.0], [np.nan], [9.0], [np.inf]]), 2, seed=0).labels_N
    assert labels[[1, 3]].tolist() == [-1, -1]
    assert sorted(labels[[0, 2]].tolist()) == [0, 1]


def test_kmeans_of_few_distinct_rows_makes_fewer_clusters_and_says_so() -> None:
    found = kmeans(np.array([[0.0], [-0.0], [1.0], [1.0]]), 3, seed=0)
    assert found.centers_CD.shape == (2, 1)
    assert found.note == "3 clusters asked, 2 distinct rows: 2 made"
    assert kmeans(np.ones((4, 2)), 1, seed=0).note == ""


@pytest.mark.parametrize("n", [500, LEARNED_ROWS + 1])
def test_kmeans_gives_the_same_clusters_for_the_same_seed(n: int) -> None:
    points = np.random.default_rng(0).standard_normal((n, 4)).astype(np.float32)
    one, again = kmeans(points, 12, seed=5), kmeans(points, 12, seed=5)
    assert np.array_equal(one.labels_N, again.labels_N)
    assert np.array_equal(one.centers_CD, again.centers_CD)
    assert np.bincount(one.labels_N).min() > 0


def test_kmeans_refuses_what_it_cannot_cluster() -> None:
    with pytest.raises(OptionError, match="clusters=0"):
        kmeans(THREE_HEAPS, 0, seed=0)
    with pytest.raises(InputError, match="none of the 2"):
        kmeans(np.full((2, 2), np.nan), 1, seed=0)


def test_quota_by_hand() -> None:
    labels = np.array([0, 0, 0, 0, 1, 1, 7, -1])
    values = np.array([1.0, 3.0, 2.0, 3.0, 5.0, 6.0, 9.0, 99.0])
    steps = list(by_quota(labels, values))
    # 4 : 2 : 1. At length 3 the first cluster may hold two rows (12/7 rounded up), at 5 three.
    assert [step.pick for step in steps] == [1, 3, 5, 2, 4, 0, 6]
    assert steps[2].reason == "value 6, number 1 of cluster 1"
    assert steps[2].gain == 6.0


def test_many_small_clusters_are_not_kept_waiting_by_a_large_one() -> None:
    labels = np.array([0] * 50 + list(range(1, 51)))
    first_20 = [labels[s.pick] for s in islice(by_quota(labels, np.zeros(100)), 20)]
    assert first_20.count(0) == 10


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=12))
def test_every_cluster_has_its_exact_share_to_within_one_row_at_every_length(sizes) -> None:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    counts = [0] * len(sizes)
    for length, step in enumerate(by_quota(labels, np.zeros(len(labels))), start=1):
        counts[labels[step.pick]] += 1
        for count, size in zip(counts, sizes, strict=True):
            assert abs(count - Fraction(size * length, len(labels))) < 1


def test_a_cluster_that_runs_out_leaves_its_share_to_the_others() -> None:
    labels = np.repeat([0, 1, 2], 4)
    values = np.array([1, np.nan, np.nan, np.nan] + [1.0] * 8)
    taken = [int(labels[step.pick]) for step in by_quota(labels, values)]
    assert taken == [0, 1, 2, 1, 2, 1, 2, 1, 2]


def test_labels_and_values_of_different_pools_are_refused() -> None:
    with pytest.raises(AlignmentError, match="2 labels for 3 values"):
        by_quota(np.zeros(2, dtype=int), np.zeros(3))
    with pytest.raises(AlignmentError, match="float64"):
        by_quota(np.zeros(3), np.zeros(3))


def test_clusters_with_more_of_the_target_come_first_then_those_nearer_its_mean() -> None:
    centers = np.array([[9.0], [-5.0], [0.0], [5.0]])
    order, votes = near(centers, np.array([[-1.0], [1.0], [6.0]]))  # their mean is 2
    assert votes.tolist() == [0, 0, 2, 1]
    assert order.tolist() == [2, 3, 0, 1]  # 9 and -5 are both 7 away: the lower first


def test_near_nothing_is_refused() -> None:
    with pytest.raises(InputError, match="no rows"):
        near(np.ones((2, 3)), np.ones((0, 3)))
    with pytest.raises(AlignmentError, match=r"\(1, 2\)"):
        near(np.ones((2, 3)), np.ones((1, 2)))
