"""The Wasserstein distance: by hand, by its laws, and how well samples tell it."""

import json
import runpy
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from modicum.errors import AlignmentError, InputError, OptionError
from modicum.selection import transport
from modicum.selection.transport import pairwise, wasserstein

SCRIPTS = Path(__file__).parent.parent / "benchmarks"
EAST, NORTH, WEST = [1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]


def around(angle: float, rows: int, seed: int) -> np.ndarray:
    """Points scattered round an angle of the unit circle's first two dimensions, in 8."""
    chance = np.random.default_rng(seed)
    centre = np.array([np.cos(angle), np.sin(angle), *[0.0] * 6])
    return centre + 0.2 * chance.normal(size=(rows, 8))


def test_one_point_is_its_cosine_distance_away() -> None:
    assert wasserstein(np.array([EAST]), np.array([NORTH])) == pytest.approx(1.0)
    assert wasserstein(np.array([EAST]), np.array([WEST])) == pytest.approx(2.0)
    assert wasserstein(np.array([EAST]), np.array([[7.0, 0.0]])) == pytest.approx(0.0)


def test_a_set_shifted_by_a_quarter_turn_is_one_away() -> None:
    # East → north and north → west cost 1 each; straight across would cost 0 and 2.
    shifted = wasserstein(np.array([EAST, NORTH]), np.array([NORTH, WEST]))
    assert shifted == pytest.approx(1.0)


def test_masses_say_how_much_has_to_move() -> None:
    both = np.array([EAST, NORTH])
    # From (3/4, 1/4) to (1/4, 3/4): one half moves by 1.
    moved = wasserstein(both, both, np.array([3, 1]), np.array([1, 3]))
    assert moved == pytest.approx(0.5)


def test_sets_of_different_sizes_are_compared_whole() -> None:
    assert wasserstein(np.array([EAST]), np.array([EAST, NORTH])) == pytest.approx(0.5)


@given(st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_it_is_the_best_assignment_symmetric_and_zero_to_itself(seed: int) -> None:
    chance = np.random.default_rng(seed)
    one, other = chance.normal(size=(2, 6, 3))
    unit_one, unit_other = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (one, other))
    cost = 1 - unit_one @ unit_other.T
    best = cost[linear_sum_assignment(cost)].mean()
    assert wasserstein(one, other) == pytest.approx(best, abs=1e-9)
    assert wasserstein(other, one) == pytest.approx(best, abs=1e-9)
    assert wasserstein(one, one) == pytest.approx(0, abs=1e-9)


def test_equal_sizes_are_compared_exactly() -> None:
    new, near, far = around(0, 50, 1), around(0.3, 50, 2), around(1.5, 50, 3)
    found = pairwise([near, far, new])
    assert (found.support, found.draws, found.error_JJ.max()) == (50, 1, 0.0)
    expected = [wasserstein(near, new), wasserstein(far, new), 0.0]
    assert found.value_JJ[:, 2].tolist() == pytest.approx(expected)
    assert (found.value_JJ == found.value_JJ.T).all()


def test_unequal_sizes_are_compared_at_the_smallest() -> None:
    """A set of 20 seems farther than a set of 200 of the same make, unless both are 20."""
    new, large, small = around(0, 200, 1), around(0.5, 200, 2), around(0.5, 20, 2)
    biased = wasserstein(small, new) - wasserstein(large, new)
    alike = pairwise([large, small, new], draws=40)
    assert alike.support == 20
    assert abs(alike.value_JJ[1, 2] - alike.value_JJ[0, 2]) < biased


@pytest.mark.parametrize(("limit", "worst"), [(100, 0.25), (200, 0.1)])
def test_samples_miss_the_exact_distance_by_little_and_keep_the_order(
    limit: int, worst: float
) -> None:
    """Their mean lies above the exact value (it is biased by size), most where that is small."""
    sets = [around(0, 400, 0), *(around(angle, 400, 9) for angle in (0.4, 0.8, 1.2, 1.6))]
    exact = np.array([wasserstein(other, sets[0]) for other in sets[1:]])
    sampled = pairwise(sets, limit=limit)
    off = sampled.value_JJ[0, 1:] / exact - 1
    assert ((off > -0.02) & (off < worst)).all()
    assert np.argsort(sampled.value_JJ[0, 1:]).tolist() == np.argsort(exact).tolist()
    assert ((sampled.error_JJ[0, 1:] > 0) & (sampled.error_JJ[0, 1:] < 0.05 * exact)).all()


def test_the_same_seed_draws_the_same() -> None:
    sets = [around(0, 60, 1), around(0.5, 30, 2)]
    first = pairwise(sets, seeds=[3, 5]).value_JJ
    assert (pairwise(sets, seeds=[3, 5]).value_JJ == first).all()
    assert (pairwise(sets, seeds=[4, 5]).value_JJ != first).any()


def test_a_draw_does_not_depend_on_the_other_sets() -> None:
    new, old, more = around(0, 60, 1), around(0.5, 30, 2), around(1, 30, 3)
    alone = pairwise([old, new], seeds=[1, 9]).value_JJ[0, 1]
    assert pairwise([more, old, new], seeds=[2, 1, 9]).value_JJ[1, 2] == alone


def test_masses_count_however_few_points_are_drawn() -> None:
    """East has 999 of 1,000 rows: almost nothing has to move, though one point stands alone."""
    found = pairwise(
        [np.array([EAST, NORTH]), np.array([EAST])], [np.array([999, 1]), np.array([1])]
    )
    assert (found.support, found.draws) == (1, 1000)
    assert found.value_JJ[0, 1] < 0.02


def test_one_set_of_a_single_point_leaves_the_others_in_order() -> None:
    """At support 1 a distance is the mean over pairs of points, and tells near from far."""
    sets = [around(angle, 200, 9) for angle in (0.3, 0.8, 1.3)]
    found = pairwise([*sets, around(2, 1, 3), around(0, 200, 0)], to_last=True)
    near, middle, far = found.value_JJ[:3, -1]
    assert found.support == 1 and near < middle < far
    assert (found.error_JJ[:4, -1] < 0.1 * far).all()


def test_only_those_to_the_last_set_are_worked_out_if_no_others_are_asked_for() -> None:
    sets = [around(angle, 20, 1) for angle in (0, 1, 2)]
    some, every = pairwise(sets, to_last=True), pairwise(sets)
    assert some.value_JJ[:, 2].tolist() == every.value_JJ[:, 2].tolist()
    assert some.to_json()["matrix"][0][1] is None


def test_a_vector_that_is_not_finite_is_in_no_sample() -> None:
    new, old = around(0, 10, 1), around(0.5, 11, 2)
    old[4] = np.nan
    found = pairwise([old, new])
    assert (found.support, found.draws) == (10, 1)
    assert np.isfinite(found.value_JJ).all()
    assert found.unseen_J.tolist() == [1, 0]


def test_what_is_left_of_a_sets_masses_is_scaled_to_1() -> None:
    """Without its row that is not finite, a set is what it would have been without that row."""
    new, old, mass_N = around(0, 30, 1), around(0.5, 40, 2), np.arange(1.0, 41.0)
    spoilt = old.copy()
    spoilt[:10] = np.inf
    for limit in (30, 12):  # 12 are drawn of either; all 30 are met where both have as many
        found = pairwise([spoilt, new], [mass_N, np.ones(30)], limit=limit)
        alone = pairwise([old[10:], new], [mass_N[10:], np.ones(30)], limit=limit)
        assert found.value_JJ[0, 1] == pytest.approx(alone.value_JJ[0, 1], rel=1e-12)
    assert pairwise([old[10:], new], [mass_N[10:], np.ones(30)]).draws == 1


@pytest.mark.parametrize("rows", [90, 3000])
def test_costs_are_worked_out_once_where_draws_meet_again_and_are_the_same(
    rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """90 × 60 pairs are fewer than 20 draws of 50 × 50; 3,000 × 60 are more."""
    made: list[tuple[int, ...]] = []

    def counted(one_ND: np.ndarray, other_MD: np.ndarray) -> np.ndarray:
        made.append((len(one_ND), len(other_MD)))
        return costs(one_ND, other_MD)

    costs = transport._costs
    monkeypatch.setattr(transport, "_costs", counted)
    one, other = around(0, rows, 1), around(0.5, 60, 2)
    found = pairwise([one, other], limit=50, seeds=[1, 2]).value_JJ[0, 1]
    assert made == ([(90, 60)] if rows == 90 else [(50, 50)] * 20)
    chance = np.random.default_rng([1, 2])
    drawn = [
        [each[transport._sample(transport._usable(each, None, ""), 50, chance)] for each in pair]
        for pair in [(one, other)] * 20
    ]
    assert found == pytest.approx(np.mean([wasserstein(*pair) for pair in drawn]), abs=1e-12)


def test_a_set_that_is_much_larger_than_its_samples_is_not_copied() -> None:
    large = np.random.default_rng(1).normal(size=(100_000, 64)).astype(np.float32)
    small = large[:100] + np.float32(0.5)
    pairwise([large[:200], small])  # loads the solver
    tracemalloc.start()
    pairwise([large, small])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < large.nbytes / 4  # its masses, an order, blocks of rows


def test_what_is_kept_is_json() -> None:
    told = pairwise([np.eye(2), np.eye(2)[::-1]]).to_json()
    assert told["how"] == "exact"
    assert told["matrix"] == [[0.0, 0.0], [0.0, 0.0]]


def test_mistakes_are_refused() -> None:
    with pytest.raises(InputError, match="set 0 has no vector that is finite"):
        pairwise([np.full((3, 2), np.nan), np.eye(2)])
    with pytest.raises(AlignmentError, match="same view"):
        wasserstein(np.eye(2), np.eye(3))
    with pytest.raises(InputError, match="not a number above 0"):
        wasserstein(np.eye(2), np.eye(2), np.array([1, 0]))
    with pytest.raises(OptionError, match="draws=1"):
        pairwise([np.eye(2)], draws=1)


def test_the_benchmark_tells_seconds_and_errors(monkeypatch, capsys) -> None:
    options = ["--sizes", "20", "40", "--support", "20", "--repeats", "1", "--width", "8"]
    monkeypatch.setattr(sys, "argv", ["transport.py", *options, "--json"])
    runpy.run_path(str(SCRIPTS / "transport.py"), run_name="__main__")
    rows = json.loads(capsys.readouterr().out)["sizes"]
    found = {(row["points"], row["way"]): row for row in rows}
    assert len(found) == 2 * 4 and all(row["seconds"] > 0 for row in rows)
    assert found[20, "samples"]["error"] == pytest.approx(0, abs=1e-9)
    assert found[40, "samples"]["error"] > 0  # few points seem farther apart than many
    assert found[40, "entropic"]["error"] > 0  # its coupling is not the cheapest
