from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from math import exp, isnan, log, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from modicum.errors import AlignmentError, InputError
from modicum.selection import diversity, nearest_distance, vendi

MEASURES = [vendi, nearest_distance]
INTEGERS = st.tuples(st.integers(1, 12), st.integers(1, 5)).flatmap(
    lambda shape: arrays(np.int64, shape, elements=st.integers(-3, 3))
)


def entropy(*shares: float) -> float:
    return -sum(share * log(share) for share in shares)


def vendi_of_all_cosines(points_MD: np.ndarray) -> float:
    """The paper's formula, over the whole matrix; no row of zeros."""
    unit = points_MD / np.linalg.norm(points_MD, axis=1, keepdims=True)
    shares = np.linalg.eigvalsh(unit @ unit.T / len(unit))
    return exp(entropy(*shares[shares > 1e-14].tolist()))


def brute_force_distance(points_MD: np.ndarray) -> float:
    points = points_MD.tolist()
    nearest = [
        min(
            sqrt(sum((a - b) ** 2 for a, b in zip(p, q, strict=True)))
            for j, q in enumerate(points)
            if j != i
        )
        for i, p in enumerate(points)
    ]
    return sum(nearest) / len(nearest)


@pytest.mark.parametrize("n", [1, 2, 7])
def test_orthogonal_rows_count_each_and_equal_rows_once(n: int) -> None:
    assert vendi(np.eye(n) * np.arange(1, n + 1)) == pytest.approx(n, rel=1e-12)
    assert vendi(np.tile([3.0, 4.0, 12.0], (n, 1))) == pytest.approx(1, rel=1e-12)


def test_one_row_is_exactly_one() -> None:
    assert vendi(np.array([[0.1, 0.2, 0.3]])) == 1.0


def test_vendi_of_two_rows_is_that_of_half_of_one_plus_and_minus_their_cosine() -> None:
    rows = np.array([[2.0, 0.0], [3.0, 4.0]])  # cosine 3/5: eigenvalues 4/5 and 1/5
    assert vendi(rows) == pytest.approx(exp(entropy(4 / 5, 1 / 5)))
    opposite = np.array([[1.0, 0.0], [-5.0, 0.0]])  # eigenvalues 1 and 0
    assert vendi(opposite) == pytest.approx(1)


@pytest.mark.parametrize("shape", [(5, 9), (9, 5), (7, 7), (7, 6), (200, 3), (3, 200)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_vendi_is_the_formula_over_all_cosines_for_more_rows_or_more_columns(shape, dtype) -> None:
    points = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    assert vendi(points) == pytest.approx(vendi_of_all_cosines(points.astype(float)), rel=1e-9)


def test_every_row_many_times_over_changes_nothing() -> None:
    points = np.random.default_rng(0).standard_normal((40, 64))
    assert vendi(np.tile(points, (150, 1))) == pytest.approx(vendi(points), rel=1e-9)


@settings(max_examples=100, deadline=None)
@given(INTEGERS, st.randoms(use_true_random=False))
def test_vendi_keeps_its_bounds_and_forgets_order_length_and_sign(points, random) -> None:
    score = vendi(points)
    assert 1 - 1e-9 <= score <= len(points) + 1e-9
    order = random.sample(range(len(points)), len(points))
    factors = np.array([[random.choice([-3.0, 0.5, 40.0])] for _ in order])
    assert vendi(points[order] * factors) == pytest.approx(score, rel=1e-9)


@settings(max_examples=100, deadline=None)
@given(INTEGERS, st.randoms(use_true_random=False))
def test_one_more_row_moves_the_entropy_by_no_more_than_the_theory_allows(points, random) -> None:
    # n/(n+1) of the old entropy (concavity), and that plus what telling the new row apart adds.
    n = len(points)
    more = np.concatenate([points, points[[random.randrange(n)]]])
    least = n / (n + 1) * log(vendi(points))
    told_apart = entropy(n / (n + 1), 1 / (n + 1))
    assert least - 1e-9 <= log(vendi(more)) <= least + told_apart + 1e-9


def test_one_more_copy_lowers_vendi_for_a_common_row_and_raises_it_for_a_rare_one() -> None:
    common, rare = [[1.0, 0.0]], [[0.0, 1.0]]
    before = vendi(np.array(common * 3 + rare))
    assert before == pytest.approx(exp(entropy(3 / 4, 1 / 4)))
    one_more, one_rarer = vendi(np.array(common * 4 + rare)), vendi(np.array(common * 3 + rare * 2))
    assert one_more == pytest.approx(exp(entropy(4 / 5, 1 / 5)))
    assert one_rarer == pytest.approx(exp(entropy(3 / 5, 2 / 5)))
    assert one_more < before < one_rarer


@pytest.mark.parametrize("n", range(1, 8))
def test_a_copy_among_orthogonal_rows_lowers_vendi(n: int) -> None:
    rows = np.eye(n + 1)
    assert vendi(np.concatenate([rows, rows[:1]])) < n + 1


def test_rows_of_zeros_are_alike_and_unlike_all_others() -> None:
    assert vendi(np.zeros((4, 2))) == 1.0
    two_and_two = np.array([[0.0, 0.0], [0.0, 0.0], [5.0, 0.0], [1.0, 0.0]])
    assert vendi(two_and_two) == pytest.approx(2)
    assert vendi(two_and_two[1:3]) == pytest.approx(2)  # the other route: no more rows than columns


def test_nearest_distance_on_a_line() -> None:
    assert nearest_distance(np.array([[0.0], [1.0], [3.0], [9.0]])) == (1 + 1 + 2 + 6) / 4
    assert nearest_distance(np.array([[0, 0], [3, 4]])) == 5.0


@settings(max_examples=100, deadline=None)
@given(INTEGERS.filter(lambda points: len(points) > 1), st.sampled_from([np.float32, np.float64]))
@pytest.mark.parametrize("pairs", [1, 30, 1 << 22])
def test_nearest_distance_equals_brute_force(pairs, points, dtype) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(diversity, "_PAIRS", pairs)
        patch.setattr(diversity, "_NUMBERS", pairs)
        found = nearest_distance(points.astype(dtype))
    assert found == pytest.approx(brute_force_distance(points), rel=1e-14)


@pytest.mark.parametrize("scale", [1e-200, 1e-30, 1.0, 1e30, 1e200])
def test_near_duplicates_are_told_apart_at_any_scale(scale: float) -> None:
    points = np.random.default_rng(0).standard_normal((60, 20))
    points[20:40] = points[:20] * (1 + 1e-9)
    points[40:] = points[:20] * (1 - 3e-12)
    expected = brute_force_distance(points)
    assert expected < 1e-8
    assert nearest_distance(points * scale) == pytest.approx(expected * scale, rel=1e-3, abs=0)


@pytest.mark.parametrize("offset", [0, 1e3, 1e4])
def test_rows_that_all_have_a_duplicate_are_exactly_zero_apart(offset: float) -> None:
    points = np.random.default_rng(0).standard_normal((100, 384)).astype(np.float32)
    points += np.float32(offset)
    assert nearest_distance(points) > 20
    assert nearest_distance(np.concatenate([points, points])) == 0.0


def test_no_matrix_of_all_distances_is_made() -> None:
    points = np.random.default_rng(0).standard_normal((6000, 8)).astype(np.float32)
    tracemalloc.start()
    nearest_distance(points)
    vendi(points)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 150e6  # a 6000 × 6000 float64 matrix takes 288e6


def test_fewer_than_two_rows_have_no_nearest_distance() -> None:
    assert isnan(nearest_distance(np.ones((1, 3))))
    assert isnan(nearest_distance(np.ones((0, 3))))


def test_no_rows_have_no_vendi_score() -> None:
    with pytest.raises(InputError, match="no rows"):
        vendi(np.ones((0, 3)))


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_refused_with_its_row(
    measure: Callable[[np.ndarray], float], bad: float
) -> None:
    with pytest.raises(InputError, match="row 2 of vectors_MD"):
        measure(np.array([[1.0], [2.0], [bad]]))


@pytest.mark.parametrize("measure", MEASURES)
def test_what_is_not_one_vector_per_row_is_refused(measure: Callable[[np.ndarray], float]) -> None:
    with pytest.raises(AlignmentError, match=r"\(4,\)"):
        measure(np.ones(4))
    with pytest.raises(InputError, match="numbers are needed"):
        measure(np.array([["a"]]))


@pytest.mark.parametrize("measure", MEASURES)
def test_the_rows_are_left_as_they_were(measure: Callable[[np.ndarray], float]) -> None:
    points = np.random.default_rng(0).standard_normal((9, 4))
    untouched = points.copy()
    measure(points)
    assert np.array_equal(points, untouched)
