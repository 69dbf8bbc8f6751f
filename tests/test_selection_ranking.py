from __future__ import annotations

import numpy as np
import pytest

from modicum.errors import AlignmentError, InputError, OptionError
from modicum.selection import balanced, band, uniform


def test_uniform_draws_every_row_equally_often_first() -> None:
    first = [next(uniform(4, seed)).pick for seed in range(400)]
    assert np.bincount(first).min() > 70  # 100 expected, standard deviation 9


def test_balanced_takes_turns_and_leaves_what_is_over_to_the_others() -> None:
    groups = ["b", "a", "b", "b", "a", "b", "c"]
    taken = [groups[step.pick] for step in balanced(groups, seed=0)]
    assert taken == ["a", "b", "c", "a", "b", "b", "b"]


def test_balanced_draws_at_random_inside_a_group() -> None:
    groups = ["a", "b", "a", "b", "a"]
    assert {next(balanced(groups, seed)).pick for seed in range(30)} == {0, 2, 4}


@pytest.mark.parametrize(
    ("where", "picks"),
    [("top", [3, 1, 4, 0]), ("bottom", [0, 4, 1, 3]), ("middle", [1, 4, 0, 3])],
)
def test_band_by_hand(where: str, picks: list[int]) -> None:
    values = np.array([1.0, 4.0, np.nan, 9.0, 3.0])  # the median is 3.5
    steps = list(band(values, where))  # type: ignore[arg-type]
    assert [step.pick for step in steps] == picks
    assert [step.gain for step in steps] == values[picks].tolist()


def test_the_middle_of_tied_distances_is_the_lower_position() -> None:
    assert [s.pick for s in band(np.array([5, 1, 3, 3, 1, 5]), "middle")] == [2, 3, 0, 1, 4, 5]


def test_the_reason_names_the_value_and_its_rank() -> None:
    assert next(band(np.array([0.5, 0.25]))).reason == "value 0.5, number 1 from the top"
    longest = next(band(np.array([12_345.0, np.inf]), name="length"))
    assert longest.reason == "length 12345, number 1 from the top"


def test_band_of_nothing_finite_offers_nothing() -> None:
    assert list(band(np.array([np.nan, np.inf]), "middle")) == []


def test_band_refuses_what_it_cannot_rank() -> None:
    with pytest.raises(OptionError, match="where='side'"):
        band(np.ones(2), "side")  # type: ignore[arg-type]
    with pytest.raises(AlignmentError, match=r"\(2, 2\)"):
        band(np.ones((2, 2)))
    with pytest.raises(InputError, match="numbers are needed"):
        band(np.array(["1", "2"]))
