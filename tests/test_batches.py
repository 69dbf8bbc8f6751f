"""Batches of about equal cost, always the same for the same lengths."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modicum.batches import plan_batches
from modicum.errors import OptionError


def plan(lengths, budget):
    return [batch_B.tolist() for batch_B in plan_batches(np.array(lengths, np.int64), budget)]


def test_the_longest_come_first_and_equal_lengths_keep_their_order():
    assert plan([2, 5, 2, 5, 2], budget=10) == [[1, 3], [0, 2, 4]]


def test_a_row_longer_than_the_budget_goes_alone():
    assert plan([3, 50, 3], budget=6) == [[1], [0, 2]]


def test_no_rows_make_no_batches():
    assert plan([], budget=10) == []


def test_a_budget_of_nothing_is_refused():
    with pytest.raises(OptionError, match="0 tokens"):
        plan([1], budget=0)


@given(st.lists(st.integers(0, 60), max_size=40), st.integers(1, 100))
def test_every_row_is_in_one_batch_within_the_budget(lengths, budget):
    batches = plan(lengths, budget)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= budget
