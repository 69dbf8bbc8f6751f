"""Unit length and whitening."""

import numpy as np
import pytest

from modicum.errors import InputError
from modicum.geometry import largest_cosine, unit_rows, whitener

NAN = np.nan


def test_rows_get_length_one_and_keep_their_direction():
    assert unit_rows(np.array([[3.0, 4.0], [0.0, -2.0]])).tolist() == [
        pytest.approx([0.6, 0.8]),
        [0.0, -1.0],
    ]


def test_a_row_of_zeros_stays_and_nan_stays_nan():
    made_ND = unit_rows(np.array([[0.0, 0.0], [NAN, 1.0], [2.0, 0.0]]))
    assert made_ND[0].tolist() == [0.0, 0.0]
    assert np.isnan(made_ND[1]).all()
    assert made_ND[2].tolist() == [1.0, 0.0]
    assert made_ND.dtype == np.float32


def test_the_largest_cosine_of_each_row_is_to_the_one_most_alike():
    rows_ND, others_MD = np.array([[3.0, 4.0], [0.0, -2.0], [NAN, 1.0]]), np.array([[1, 0], [0, 5]])
    found_N = largest_cosine(rows_ND, others_MD)
    assert found_N[:2].tolist() == [pytest.approx(0.8), 0.0]
    assert np.isnan(found_N[2])
    assert largest_cosine(rows_ND, others_MD[:0]).tolist() == [0.0, 0.0, 0.0]


def test_whitened_rows_have_mean_zero_and_unit_covariance():
    mixed_ND = np.random.default_rng(0).normal(size=(200, 3)) @ [[5, 1, 0], [0, 1, 0], [0, 3, 0.1]]
    mixed_ND += np.array([1, 2, 3])
    made_ND = whitener(mixed_ND)(mixed_ND)
    assert made_ND.mean(0) == pytest.approx(np.zeros(3), abs=1e-5)
    assert np.cov(made_ND.T, ddof=0) == pytest.approx(np.eye(3), abs=1e-4)


def test_whitening_learns_from_one_pool_and_is_used_on_another():
    learned_ND = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 4.0], [2.0, 4.0]])  # mean 1, 2; std 1, 2
    made_1D = np.abs(whitener(learned_ND)(np.array([[4.0, 10.0]])))
    assert sorted(made_1D[0].tolist()) == pytest.approx([3.0, 4.0])


def test_a_direction_without_variance_is_dropped():
    flat_ND = np.array([[0.0, 7.0], [1.0, 7.0], [2.0, 7.0]])
    assert whitener(flat_ND)(flat_ND).shape == (3, 1)


def test_rows_with_nan_teach_nothing_and_stay_nan():
    known_ND = np.array([[0.0], [2.0]])
    made_ND = whitener(np.vstack([known_ND, [[NAN]]]))(np.array([[3.0], [NAN]]))
    assert np.abs(made_ND[0]).tolist() == [2.0]
    assert np.isnan(made_ND[1]).all()


@pytest.mark.parametrize("rows_ND", [[[1.0, 2.0], [NAN, 0.0]], [[0.1, 2.0]] * 3])
def test_rows_that_do_not_differ_cannot_be_whitened(rows_ND):
    with pytest.raises(InputError, match="whitening needs"):
        whitener(np.array(rows_ND))
