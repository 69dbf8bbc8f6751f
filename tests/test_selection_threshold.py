from __future__ import annotations

import numpy as np
import pytest

from modicum.errors import AlignmentError, OptionError
from modicum.selection import apart

EAST, NORTH, NORTH_EAST, WEST, NOWHERE = [1, 0], [0, 1], [3, 3], [-2, 0], [0, 0]


def picks(vectors: object, values: object, at_most: float, **given: np.ndarray) -> list[int]:
    return [s.pick for s in apart(np.array(vectors), np.array(values), at_most, **given)]


def test_a_row_too_like_a_better_one_is_left_out() -> None:
    points = [EAST, NORTH_EAST, NORTH, [2, 0]]
    assert picks(points, [4, 3, 2, 1], 0.9) == [0, 1, 2]
    assert picks(points, [4, 3, 2, 1], 0.5) == [0, 2]
    assert picks(points, [1, 2, 3, 4], 0.5) == [3, 2]


def test_a_row_too_like_a_given_one_is_left_out() -> None:
    assert picks([EAST, NORTH, WEST], [3, 2, 1], 0.5, start_MD=np.array([[5, 0]])) == [1, 2]


def test_exactly_the_limit_is_kept() -> None:
    assert picks([[1, 0], [4, 3]], [2, 1], 0.8) == [0, 1]
    assert picks([[1, 0], [4, 3]], [2, 1], 0.7999999) == [0]


def test_a_limit_of_one_keeps_duplicates() -> None:
    points = np.random.default_rng(0).standard_normal((40, 7))
    assert len(picks(np.concatenate([points, points * 3]), np.zeros(80), 1.0)) == 80


def test_a_zero_vector_is_like_nothing() -> None:
    assert picks([NOWHERE, EAST, NOWHERE], [3, 2, 1], 0.0) == [0, 1, 2]
    assert picks([NOWHERE, EAST, NOWHERE], [3, 2, 1], -0.1) == [0]


@pytest.mark.parametrize("scale", [1e-200, 1e-20, 1.0, 1e20, 1e200])
def test_length_does_not_matter(scale: float) -> None:
    points = np.random.default_rng(0).standard_normal((300, 3))
    values = np.arange(300) % 7
    assert picks(points * scale, values, 0.9) == picks(points, values, 0.9)


def test_equals_the_plain_rule_past_the_growth_of_the_kept_array() -> None:
    points = np.random.default_rng(1).standard_normal((3000, 6))
    values = np.random.default_rng(2).standard_normal(3000)
    unit = points / np.linalg.norm(points, axis=1, keepdims=True)
    kept: list[int] = []
    for row in np.argsort(-values):
        if not kept or (unit[kept] @ unit[row]).max() <= 0.97:
            kept.append(int(row))
    assert len(kept) > 1100
    assert picks(points, values, 0.97) == kept


def test_the_reason_gives_the_value_and_the_likeness() -> None:
    first, second = apart(np.array([[1.0, 0.0], [4.0, 3.0]]), np.array([2.0, 1.5]), 0.9)
    assert first.reason == "2, the first"
    assert second.reason == "1.5, at most 0.8 like any taken before"
    assert second.gain == 1.5


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(AlignmentError, match="2 values for 3 vectors"):
        apart(np.ones((3, 2)), np.ones(2), 0.9)
    for limit in (1.1, -2.0, float("nan")):
        with pytest.raises(OptionError, match="max_similarity"):
            apart(np.ones((3, 2)), np.ones(3), limit)
