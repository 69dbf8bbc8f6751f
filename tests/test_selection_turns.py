"""Groups of target rows in turn, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from modicum.errors import AlignmentError, InputError
from modicum.selection import near_groups

EAST, NORTH = [1.0, 0.0], [0.0, 1.0]


def test_each_group_takes_the_row_most_like_any_of_its_rows():
    rows_ND = np.array([[1.0, 0.1], [1.0, 0.5], [0.1, 1.0], [0.5, 1.0], [-1.0, 0.0]])
    steps = list(near_groups(rows_ND, np.array([EAST, NORTH]), ["east", "north"]))
    assert [step.pick for step in steps] == [0, 2, 1, 3, 4]
    assert [step.gain for step in steps[:2]] == pytest.approx([1 / np.sqrt(1.01)] * 2, abs=1e-6)
    assert steps[1].reason == "0.995 to target rows of north, whose turn it was"


def test_the_nearest_row_of_a_group_counts_and_not_its_mean():
    rows_ND = np.array([[1.0, 1.0], [0.99, 0.1]])
    first = next(near_groups(rows_ND, np.array([EAST, NORTH]), ["both", "both"]))
    assert first.pick == 1  # the mean of the two points to row 0


def test_a_row_goes_to_the_group_whose_turn_comes_first():
    rows_ND = np.array([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    target_MD, groups = np.array([EAST, EAST, NORTH]), ["b", "a", "a"]
    steps = list(near_groups(rows_ND, target_MD, groups))
    assert [step.pick for step in steps] == [0, 2, 1]  # a: row 0 before row 1, both at cosine 1


def test_what_it_cannot_take_is_refused():
    with pytest.raises(InputError, match="no rows"):
        near_groups(np.ones((2, 2)), np.ones((0, 2)), [])
    with pytest.raises(AlignmentError, match="1 groups for 2"):
        near_groups(np.ones((2, 2)), np.ones((2, 2)), ["a"])
