"""k-means over blocks of rows, beside the plain way."""

from __future__ import annotations

import numpy as np
import pytest

from modicum.selection import kmeans, over
from modicum.selection import lloyd as module
from modicum.selection.clusters import LEARNED_ROWS
from modicum.selection.lloyd import lloyd, shared
from modicum.selection.rows import FloatArray


@pytest.fixture
def heaps() -> FloatArray:
    drawn = np.random.default_rng(1)
    middles_CD = drawn.normal(size=(8, 6)) * 4
    return (middles_CD[drawn.integers(8, size=3000)] + drawn.normal(size=(3000, 6))).astype("f4")


def plain(vectors_ND: FloatArray, centers_CD: FloatArray) -> tuple[np.ndarray, np.ndarray]:
    labels_N = np.full(len(vectors_ND), -1)
    for _ in range(module.PASSES):
        before_N = labels_N
        square_NC = ((vectors_ND[:, None].astype("f8") - centers_CD) ** 2).sum(axis=2)
        labels_N = square_NC.argmin(axis=1)
        groups = [vectors_ND[labels_N == c].astype("f8") for c in range(len(centers_CD))]
        centers_CD = np.array([group.mean(axis=0) for group in groups], dtype="f4")
        if (labels_N != before_N).sum() < 1e-3 * len(labels_N):
            break
    return labels_N, centers_CD


def test_passes_end_where_the_plain_way_ends(heaps: FloatArray) -> None:
    labels_N, centers_CD = lloyd(heaps, heaps[:8])
    expected_N, expected_CD = plain(heaps, heaps[:8])
    assert np.array_equal(labels_N, expected_N)
    assert np.allclose(centers_CD, expected_CD, atol=1e-5)
    assert len(set(labels_N.tolist())) == 8


def test_clusters_are_the_same_however_many_work(
    heaps: FloatArray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST", 100)
    found = []
    for workers in (1, 3):
        monkeypatch.setattr(over, "threads", lambda workers=workers: workers)
        found.append(lloyd(heaps, heaps[:8]))
    assert np.array_equal(found[0][0], found[1][0]) and np.array_equal(found[0][1], found[1][1])


def test_rows_that_are_not_finite_are_in_no_cluster_and_move_no_centre(heaps: FloatArray) -> None:
    broken = np.concatenate([heaps, [[np.nan] * 6, [np.inf] + [0.0] * 5]]).astype("f4")
    labels_N, centers_CD = lloyd(broken, heaps[:8])
    whole_N, whole_CD = lloyd(heaps, heaps[:8])
    assert labels_N[-2:].tolist() == [-1, -1]
    assert np.array_equal(labels_N[:-2], whole_N)
    assert np.allclose(centers_CD, whole_CD, atol=1e-5)


def test_a_share_holds_each_row_once_and_ties_go_to_the_lower_centre() -> None:
    found = shared(np.array([[0.0], [1.0], [2.0]], "f4"), np.array([[0.0], [2.0]], "f4"))
    assert found.labels_B.tolist() == [0, 0, 1]
    assert found.sums_CD.tolist() == [[1.0], [2.0]]
    assert found.rows_C.tolist() == [2, 1]


def test_a_centre_without_rows_stays() -> None:
    points = np.array([[0.0], [1.0]], "f4")
    labels_N, centers_CD = lloyd(points, np.array([[0.5], [99.0]], "f4"))
    assert labels_N.tolist() == [0, 0] and centers_CD.tolist() == [[0.5], [99.0]]


def test_many_rows_are_clustered_as_well_as_by_all_at_once() -> None:
    from sklearn.cluster import KMeans

    drawn = np.random.default_rng(0)
    middles_CD = drawn.normal(size=(30, 8)) * 2
    rows = 2 * LEARNED_ROWS
    points = (middles_CD[drawn.integers(30, size=rows)] + drawn.normal(size=(rows, 8))).astype("f4")
    found = kmeans(points, 30, seed=0)

    def within(labels_N: np.ndarray, centers_CD: np.ndarray) -> float:
        return float(((points - centers_CD[labels_N]) ** 2).sum())

    whole = KMeans(30, n_init=3, random_state=0).fit(points)
    mine = within(found.labels_N, found.centers_CD)
    assert mine <= 1.02 * within(whole.labels_, whole.cluster_centers_)
