"""Groups of alike rows: making them, sharing a budget over them, finding those near a target."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from modicum.errors import AlignmentError, InputError, OptionError
from modicum.selection.budget import Step
from modicum.selection.lloyd import lloyd
from modicum.selection.lloyd import needs as passes_need
from modicum.selection.memory import spare
from modicum.selection.over import Over
from modicum.selection.rows import (
    Array,
    BoolArray,
    FloatArray,
    IntArray,
    as_values,
    as_vectors,
    as_wide_as,
    best_first,
    finite_rows,
    shown,
    squared_distances,
)

LEARNED_ROWS, _PER_CLUSTER = 20_000, 20  # that centres begin from, at least
RESTARTS = 3
_LABELS = 100  # bytes a row: distances, labels, and those sorted
_FEW = 1 << 20  # bytes for any number of rows


class Clusters(NamedTuple):
    """Which cluster each row is in (-1: none, its vector is not finite), and their centres."""

    labels_N: IntArray
    centers_CD: FloatArray
    note: str = ""  # what a reader should be told: that fewer were made than asked


class Near(NamedTuple):
    """Clusters from the nearest to the target to the farthest, and each cluster's votes."""

    order_C: IntArray
    votes_C: IntArray


def kmeans(
    vectors_ND: Array,
    clusters: int,
    seed: int,
    *,
    memory: int | None = None,
    over: Over | None = None,
) -> Clusters:
    """k-means with k-means++ starts; same seed, same clusters; no cluster is empty.

    Fewer distinct rows than `clusters` make one cluster each, and `note` says so. On unit
    vectors it agrees with clustering by cosine. scikit-learn does it; of more than `LEARNED_ROWS`
    rows (or 20 a cluster) it clusters as many, drawn by the seed, and passes over all rows follow,
    see `lloyd`, by threads of this process or `over` others. Beside the vectors it takes what
    `needs` says, and is refused if that is more than `memory` bytes.
    """
    vectors_ND = as_vectors(vectors_ND, "vectors_ND")
    if clusters < 1:
        raise OptionError(f"clusters={clusters}; at least 1 is needed")
    finite_N = finite_rows(vectors_ND)
    if not finite_N.any():
        raise InputError(f"none of the {len(vectors_ND)} vectors is finite; nothing to cluster")
    size = 8 if vectors_ND.dtype == np.float64 else 4
    needs(*vectors_ND.shape, clusters=clusters, size=size, memory=memory)
    rows_M = _learned(np.flatnonzero(finite_N), clusters, seed)
    rows_MD = vectors_ND[rows_M].astype(f"f{size}", copy=False)
    made = min(clusters, _distinct(rows_MD, clusters))
    note = f"{clusters} clusters asked, {made} distinct rows: {made} made" * (made < clusters)
    all_fitted = len(rows_M) == np.count_nonzero(finite_N)
    fitted_M, centers_CD = _fit(rows_MD, made, seed, RESTARTS if all_fitted else 1)
    del rows_MD
    labels_N = np.full(len(vectors_ND), -1, dtype=np.int64)
    if all_fitted:
        labels_N[rows_M] = fitted_M
    else:
        labels_N[:], centers_CD = lloyd(vectors_ND, centers_CD, over)
    used = np.unique(labels_N[finite_N])
    labels_N[finite_N] = np.searchsorted(used, labels_N[finite_N])
    return Clusters(labels_N, centers_CD[used], note)


def needs(rows: int, width: int, *, clusters: int, size: int = 4, memory: int | None = None) -> int:
    """Bytes that `kmeans` takes at most beside so many vectors, of numbers of `size` bytes.

    It has no blocks that could be made smaller.
    """
    learned = _enough(rows, clusters)
    used = 3 * (learned + clusters) * width * size  # scikit-learn copies its rows twice
    if learned < rows:
        used = max(used, passes_need(rows, width, clusters))
    used += _FEW + _LABELS * rows
    spare("kmeans", used, 0, memory, "select from fewer rows")
    return used


def by_quota(labels_N: Array, values_N: Array, name: str = "value") -> Iterator[Step]:
    """Best value first inside each cluster, the clusters sharing in proportion to their size.

    At every length a cluster holds its exact share of the picks to within one row, until one
    runs out of rows that can be offered; from then on it leaves its share to the others. Rows
    labelled below 0 are in no cluster. The gain is the value, and reasons call it `name`.

    The quota method of Balinski & Young 1975: the highest average of size / (picks + 1) among
    the clusters that stay within their rounded-up share. Largest remainders are not nested, and
    highest averages alone (Sainte-Laguë) would begin with the large clusters only.
    """
    labels_N, values_N = _labels(labels_N), as_values(values_N, "values_N")
    if labels_N.shape != values_N.shape:
        raise AlignmentError(f"{len(labels_N)} labels for {len(values_N)} values")
    clusters_C, sizes = np.unique(labels_N[labels_N >= 0], return_counts=True)
    order_K = best_first(values_N, np.isfinite(values_N) & (labels_N >= 0))
    # One stable sort groups the rows by cluster and keeps the best first inside each.
    grouped_K = order_K[np.argsort(labels_N[order_K], kind="stable")]
    ends = np.searchsorted(labels_N[grouped_K], clusters_C, side="right")
    queues_C = [part.tolist() for part in np.split(grouped_K, ends[:-1])] if len(clusters_C) else []
    return _share(clusters_C, sizes, queues_C, values_N, name)


def near(centers_CD: Array, target_MD: Array) -> Near:
    """Clusters in order of how near they are to the target rows.

    Each target row votes for its nearest centre (equally near: the lower one). Most votes first;
    equal votes by the distance of the centre to the mean of the target rows. LTD (arXiv
    2305.09246) keeps the target's region; that it votes is ours, its text does not say.
    """
    centers_CD = as_vectors(centers_CD, "centers_CD")
    target_MD = as_wide_as(centers_CD, target_MD, "target_MD")
    if not len(target_MD):
        raise InputError("the target has no rows; clusters cannot be near to nothing")
    chosen_M = [int(np.argmin(squared_distances(centers_CD, row_D))) for row_D in target_MD]
    votes_C = np.bincount(chosen_M, minlength=len(centers_CD)).astype(np.int64)
    mean_D = target_MD.mean(axis=0, dtype=np.float64)
    return Near(np.lexsort((squared_distances(centers_CD, mean_D), -votes_C)), votes_C)


def _share(
    clusters_C: IntArray,
    sizes: IntArray,
    queues_C: list[list[int]],
    values_N: FloatArray,
    name: str,
) -> Iterator[Step]:
    rows_C = np.array([len(queue) for queue in queues_C], dtype=np.int64)
    picks_C, sharing_C = np.zeros_like(rows_C), np.ones(len(rows_C), dtype=bool)
    for _ in range(int(rows_C.sum())):
        c = _next_cluster(sizes, rows_C, picks_C, sharing_C)
        pick = queues_C[c][picks_C[c]]
        picks_C[c] += 1
        value = float(values_N[pick])
        reason = f"{name} {shown(value)}, number {picks_C[c]} of cluster {clusters_C[c]}"
        yield Step(pick, reason, value)


def _next_cluster(
    sizes: IntArray, rows_C: IntArray, picks_C: IntArray, sharing_C: BoolArray
) -> int:
    """The cluster whose turn it is; those whose share outgrew their rows leave `sharing_C`."""
    while True:
        length = int(picks_C[sharing_C].sum()) + 1
        # Shares at the length about to be reached, times the total, so that they are integers.
        share_C, total = length * sizes, int(sizes[sharing_C].sum())
        short_C = sharing_C & (picks_C == rows_C) & (rows_C < sizes) & (rows_C * total <= share_C)
        if not short_C.any():
            break
        sharing_C &= ~short_C
    within_C = sharing_C & (picks_C < rows_C) & (picks_C * total < share_C)
    return int(np.argmax(np.where(within_C, sizes / (picks_C + 1), -1.0)))


def _labels(labels_N: Array) -> IntArray:
    found = np.asarray(labels_N)
    if found.ndim != 1 or not np.issubdtype(found.dtype, np.integer):
        raise AlignmentError(
            f"labels_N has shape {found.shape} of {found.dtype}; one int per row is needed"
        )
    return found.astype(np.int64)


def _distinct(vectors_ND: FloatArray, enough: int) -> int:
    """How many distinct rows there are, counted up to `enough`."""
    seen: set[bytes] = set()
    for row_D in vectors_ND:
        seen.add((row_D + 0.0).tobytes())  # -0.0 + 0.0 is 0.0: equal rows get equal bytes
        if len(seen) == enough:
            break
    return len(seen)


def _enough(rows: int, clusters: int) -> int:
    return min(rows, max(LEARNED_ROWS, _PER_CLUSTER * clusters))


def _learned(rows_M: IntArray, clusters: int, seed: int) -> IntArray:
    """The rows that centres begin from: all, or as many as are enough."""
    if (enough := _enough(len(rows_M), clusters)) == len(rows_M):
        return rows_M
    return np.sort(np.random.default_rng(seed).choice(rows_M, enough, replace=False))


def _fit(
    vectors_ND: FloatArray, clusters: int, seed: int, starts: int
) -> tuple[IntArray, FloatArray]:
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    # One thread: several add their partial sums in the order they finish, so that the last bits
    # of a centre, and with them a label, would change from run to run.
    with threadpool_limits(1):
        fitted = KMeans(clusters, random_state=seed, n_init=starts).fit(vectors_ND)
    return fitted.labels_.astype(np.int64), fitted.cluster_centers_
