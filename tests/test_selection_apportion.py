"""Shares in whole numbers: they add up, and are as fair as whole numbers can be."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modicum.errors import AlignmentError, BudgetError
from modicum.selection.apportion import apportion

MANY = [1000] * 3


def test_shares_are_in_proportion() -> None:
    assert apportion(10, [0.5, 0.3, 0.2], MANY).tolist() == [5, 3, 2]


def test_the_largest_remainder_gets_what_is_left() -> None:
    # 7 × (0.5, 0.3, 0.2) = 3.5, 2.1, 1.4: the one left goes to 0.5.
    assert apportion(7, [0.5, 0.3, 0.2], MANY).tolist() == [4, 2, 1]


def test_equal_remainders_go_to_the_larger_weight_and_then_to_the_lower_position() -> None:
    assert apportion(2, [1, 1, 1], MANY).tolist() == [1, 1, 0]
    # 2 × (3/8, 3/8, 2/8) = 0.75, 0.75, 0.5
    assert apportion(1, [1, 1.5, 1.5], MANY).tolist() == [0, 1, 0]


def test_what_a_full_group_cannot_take_goes_to_the_others() -> None:
    assert apportion(10, [8, 1, 1], [2, 100, 100]).tolist() == [2, 4, 4]


def test_a_group_of_weight_zero_comes_after_all_others() -> None:
    assert apportion(5, [0, 1, 0], [10, 10, 10]).tolist() == [0, 5, 0]
    assert apportion(16, [0, 1, 0], [10, 10, 10]).tolist() == [3, 10, 3]


def test_weights_that_are_all_zero_share_by_what_there_is() -> None:
    assert apportion(6, [0, 0], [20, 10]).tolist() == [4, 2]


def test_no_more_is_shared_than_there_is() -> None:
    assert apportion(100, [5, 1], [3, 4]).tolist() == [3, 4]


def test_a_floor_saves_a_group_that_weighs_next_to_nothing() -> None:
    assert apportion(100, [1e-9, 1, 1], [50, 200, 200], floor=10).tolist() == [10, 45, 45]
    assert apportion(100, [0, 1, 1], [4, 200, 200], floor=10).tolist() == [4, 48, 48]


def test_floors_beyond_the_total_are_shared_equally() -> None:
    assert apportion(4, [0, 9], [100, 100], floor=10).tolist() == [2, 2]
    assert apportion(7, [5, 5, 1], [1, 100, 100], floor=10).tolist() == [1, 3, 3]


@pytest.mark.parametrize("weights", [[np.nan, 1], [-1, 1], [np.inf, 1]])
def test_weights_that_are_no_shares_are_refused(weights: list[float]) -> None:
    with pytest.raises(BudgetError, match="finite numbers, none below 0"):
        apportion(3, weights, [5, 5])


def test_mistakes_are_refused() -> None:
    with pytest.raises(AlignmentError, match="shape"):
        apportion(3, [1, 1, 1], [5, 5])
    with pytest.raises(BudgetError, match="whole numbers"):
        apportion(3, [1, 1], [5.5, 5])
    with pytest.raises(BudgetError, match="a total of -1"):
        apportion(-1, [1, 1], [5, 5])


GROUPS = st.lists(
    st.tuples(
        st.one_of(st.just(0.0), st.sampled_from([1.0, 2.0]), st.floats(1e-12, 1e12)),
        st.integers(0, 60),
    ),
    min_size=1,
    max_size=8,
)


@given(GROUPS, st.integers(0, 200), st.integers(0, 5))
def test_shares_add_up_within_their_limits(
    groups: list[tuple[float, int]], total: int, floor: int
) -> None:
    weights, available = (np.array(each) for each in zip(*groups, strict=True))
    shares = apportion(total, weights, available, floor)
    assert shares.sum() == min(total, available.sum())
    assert (shares >= 0).all() and (shares <= available).all()
    if np.minimum(floor, available).sum() <= total:
        assert (shares >= np.minimum(floor, available)).all()


@given(GROUPS, st.integers(0, 200))
def test_unlimited_shares_are_within_one_of_the_exact_ones(
    groups: list[tuple[float, int]], total: int
) -> None:
    weights = np.array([weight for weight, _ in groups]) + 1e-3
    shares = apportion(total, weights, np.full(len(weights), total))
    assert (abs(shares - total * weights / weights.sum()) < 1 + 1e-6).all()


@given(GROUPS, st.integers(0, 200))
def test_a_heavier_group_with_room_never_gets_less(
    groups: list[tuple[float, int]], total: int
) -> None:
    weights, available = (np.array(each) for each in zip(*groups, strict=True))
    shares = apportion(total, weights, available)
    for a in range(len(weights)):
        for b in range(len(weights)):
            if weights[a] > weights[b] and shares[a] < available[a]:
                assert shares[a] >= shares[b] or weights[a] == 0
