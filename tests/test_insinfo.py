"""InsInfo by hand, and how a quota is shared by it."""

from math import log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modicum.errors import AlignmentError, BudgetError, InputError
from modicum.selection.insinfo import insinfo, share_over

MANY = [1000] * 3
GROUPS = st.lists(
    st.tuples(st.sampled_from([0.0, 0.5, 1.0, 3.0]), st.integers(0, 6)), min_size=1, max_size=8
)


def test_the_insinfo_of_four_instructions_is_what_a_hand_gets() -> None:
    # write: 2 of 4 instructions, poem: 1, sum: 2.
    found = insinfo([("write", "poem"), ("write", "sum"), ("sum",), ()])
    assert found == pytest.approx([log(2) + log(4), 2 * log(2), log(2), 0.0])


def test_a_tag_counts_once_in_an_instruction() -> None:
    assert insinfo([("a", "a"), ("b",)]) == pytest.approx([log(2), log(2)])


def test_a_tag_that_every_instruction_has_says_nothing() -> None:
    assert insinfo([("task",), ("task",)]).tolist() == [0.0, 0.0]


def test_no_instructions_have_no_insinfo() -> None:
    assert insinfo([]).shape == (0,)


@given(st.lists(st.lists(st.sampled_from("abcdefgh"), unique=True), min_size=1, max_size=6))
def test_insinfo_depends_on_no_order(tags: list[list[str]]) -> None:
    found = insinfo(tags)
    assert insinfo([tag[::-1] for tag in tags]).tolist() == found.tolist()
    assert insinfo(tags[::-1]).tolist() == found[::-1].tolist()


def test_fewer_places_than_instructions_go_one_each_to_the_most_informative() -> None:
    assert share_over(2, [0.5, 2.0, 1.0], MANY).tolist() == [0, 1, 1]


def test_of_equally_informative_instructions_the_first_has_the_place() -> None:
    assert share_over(1, [1.0, 1.0, 1.0], MANY).tolist() == [1, 0, 0]
    assert share_over(2, [0.0, 0.0, 0.0], MANY).tolist() == [1, 1, 0]


def test_enough_places_are_shared_in_proportion_and_at_least_one_each() -> None:
    assert share_over(10, [0.5, 0.3, 0.2], MANY).tolist() == [5, 3, 2]
    assert share_over(3, [9.0, 0.1, 0.0], MANY).tolist() == [1, 1, 1]
    assert share_over(20, [1.0, 1.0, 0.0], MANY).tolist() == [10, 9, 1]


def test_what_an_instruction_does_not_have_goes_to_the_others() -> None:
    assert share_over(10, [8.0, 1.0, 1.0], [2, 100, 100]).tolist() == [2, 4, 4]


def test_an_instruction_without_rows_has_no_place() -> None:
    assert share_over(1, [5.0, 1.0], [0, 3]).tolist() == [0, 1]
    assert share_over(2, [5.0, 1.0, 2.0], [0, 3, 3]).tolist() == [0, 1, 1]


def test_instructions_that_say_nothing_share_equally() -> None:
    assert share_over(6, [0.0, 0.0, 0.0], [100, 10, 10]).tolist() == [2, 2, 2]


@given(GROUPS, st.integers(0, 60))
def test_counts_add_up_and_stay_within_what_there_is(
    groups: list[tuple[float, int]], quota: int
) -> None:
    info_K, available_K = np.array(groups).T
    counts_K = share_over(quota, info_K, available_K.astype(int))
    assert counts_K.sum() == min(quota, available_K.sum())
    assert ((counts_K >= 0) & (counts_K <= available_K)).all()
    if quota >= np.count_nonzero(available_K):
        assert (counts_K[available_K > 0] >= 1).all()


def test_what_is_no_insinfo_is_refused() -> None:
    with pytest.raises(InputError, match="instruction 1 is nan"):
        share_over(1, [1.0, np.nan], [1, 1])
    with pytest.raises(AlignmentError, match=r"\(2,\), \(1,\) available"):
        share_over(1, [1.0, 1.0], [1])
    with pytest.raises(BudgetError, match="quota of -1"):
        share_over(-1, [1.0], [1])
