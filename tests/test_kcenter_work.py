"""What k-center computes and holds, counted: bounds that do not depend on the machine's speed."""

from __future__ import annotations

import tracemalloc
from importlib import import_module
from itertools import islice

import numpy as np
import pytest

from modicum.errors import OptionError
from modicum.selection import kcenter
from modicum.selection.distances import Work
from modicum.selection.kcenter import needs

distances = import_module("modicum.selection.distances")
module = import_module("modicum.selection.kcenter")  # the name is the function's in the room


def clustered(rows: int, width: int = 32, spread: float = 0.3) -> np.ndarray:
    """Around 50 points; more rows are more of the same."""
    rng = np.random.default_rng(5)
    centres_CD = rng.standard_normal((50, width))
    noise_ND = spread * rng.standard_normal((rows, width))
    return (centres_CD[rng.integers(50, size=rows)] + noise_ND).astype(np.float32)


def counted(points_ND: np.ndarray, picks: int) -> Work:
    work = Work()
    assert len(list(islice(kcenter(points_ND, first=0, work=work), picks))) == picks
    return work


def best_gains(points_ND: np.ndarray, picks: list[int]) -> np.ndarray:
    """The largest distance that any row had, before each pick but the first."""
    wide_ND = points_ND.astype(np.float64)
    nearest_N, best = np.full(len(wide_ND), np.inf), []
    for pick in picks[:-1]:
        np.minimum(nearest_N, np.linalg.norm(wide_ND - wide_ND[pick], axis=1), out=nearest_N)
        best.append(nearest_N.max())
    return np.array(best)


@pytest.mark.parametrize("shape", ["clustered", "gaussian", "unit"])
def test_every_pick_is_the_farthest_row_there_is(shape: str) -> None:
    points = clustered(3000)
    if shape != "clustered":
        points = np.random.default_rng(1).standard_normal((3000, 48)).astype(np.float32)
    if shape == "unit":
        points /= np.linalg.norm(points, axis=1, keepdims=True)
    steps = list(islice(kcenter(points, first=0), 1500))
    gains = np.array([step.gain for step in steps[1:]])
    np.testing.assert_allclose(gains, best_gains(points, [s.pick for s in steps]), rtol=1e-12)


def test_less_than_half_the_distances_of_brute_force_are_computed() -> None:
    work = counted(clustered(20_000), 500)
    assert work.distances < 0.5 * 20_000 * 500
    assert work.differences < 0.02 * work.distances


def test_distances_grow_hardly_faster_than_the_rows() -> None:
    few, many = (counted(clustered(rows), 200).distances for rows in (5_000, 40_000))
    assert many / few < 8**1.1


def test_a_pick_looks_at_no_row_before_it_is_asked_for() -> None:
    work, points = Work(), clustered(5000)
    steps = kcenter(points, first=0, work=work)
    next(steps)
    assert work.distances == 0
    next(steps)
    assert 5000 <= work.distances < 2 * 5000


def test_rows_that_cannot_be_next_are_not_looked_at_again() -> None:
    near = np.random.default_rng(0).standard_normal((4000, 8)) * 1e-3
    far = np.eye(8)[np.arange(40) % 8] * np.arange(10, 50)[:, None]
    work = counted(np.concatenate([near, far]).astype(np.float32), 40)
    assert work.products < 4 * 4040  # and not 40 · 4040


def test_no_distance_is_computed_where_only_copies_are_left() -> None:
    points = np.repeat(clustered(20), 500, axis=0)
    work = counted(points, len(points))
    assert work.distances < 40 * len(points)


def peak(points_ND: np.ndarray, memory: int | None) -> int:
    tracemalloc.start()
    list(islice(kcenter(points_ND, first=0, memory=memory), 300))
    found = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return found


@pytest.mark.parametrize(("width", "at_least"), [(8, 0.2), (256, 0.5)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_memory_beside_the_vectors_is_what_was_said_before(
    width: int, at_least: float, dtype: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distances, "threads", lambda: 2)
    monkeypatch.setattr(module, "threads", lambda: 2)
    points = clustered(30_000, width).astype(dtype)
    usual = needs(30_000, width)
    assert at_least * usual < peak(points, None) <= usual
    assert peak(points, int(0.8 * usual)) <= 0.8 * usual


def test_memory_changes_no_pick() -> None:
    points = clustered(20_000, 64)
    little = int(0.6 * needs(20_000, 64))
    assert needs(20_000, 64, memory=little) <= little
    usual, less = (list(islice(kcenter(points, memory=m), 300)) for m in (None, little))
    assert usual[1:] == less[1:]  # the first has no gain, and NaN is not NaN


def test_too_little_memory_is_refused_with_what_is_needed() -> None:
    said = r"k-center needs .* KiB beside the vectors and may take {}; give more --memory, or use a"
    for memory, shown in ((1, "1 B"), (1000, "1000 B")):
        with pytest.raises(OptionError, match=said.format(shown)):
            kcenter(np.ones((100, 4)), memory=memory)
    with pytest.raises(
        OptionError, match=r"needs .* MiB beside the vectors and may take 9.766 KiB"
    ):
        needs(100, 4, beside=1 << 20, memory=10_000)


@pytest.mark.parametrize("threads", [1, 4])
def test_picks_and_counts_do_not_depend_on_threads(
    threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = clustered(4000)
    alone = counted(points, 200), list(kcenter(points, first=0))[1:]
    monkeypatch.setattr(distances, "_WORTH_A_THREAD", 1)
    monkeypatch.setattr(distances, "threads", lambda: threads)
    assert (counted(points, 200), list(kcenter(points, first=0))[1:]) == alone


def test_one_row_far_out_does_not_blur_the_others() -> None:
    points = clustered(2000)
    points[7] = 1e6
    work = counted(points, 300)
    assert work.differences < 0.2 * work.products
    order = [step.pick for step in islice(kcenter(points, first=0), 300)]
    assert order[1] == 7
    np.testing.assert_array_equal(len(set(order)), 300)
