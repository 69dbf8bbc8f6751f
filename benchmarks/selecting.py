"""How fast are the selectors? Each beside the straightforward way, in one run.

walk     by value, none too like one kept: a product of every candidate with all kept rows, one
         candidate after the other, in float32
target   rows nearest to target rows in turn: the whole matrix of similarities in float32, each
         target row's rows sorted
kmeans   scikit-learn's KMeans with its defaults over all rows; beside both stands what they are
         worth, the sum of squared distances to the centres

The ways take turns. The similarities that the plain ways compute are counted: they do not depend
on noise. Without --vectors, rows are drawn around centres.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Iterator
from itertools import islice
from statistics import median
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does

import numpy as np
from rich.console import Console
from rich.table import Table

from modicum.selection import Step, apart, kmeans, near_target
from modicum.selection.clusters import LEARNED_ROWS
from modicum.selection.clusters import needs as kmeans_needs
from modicum.selection.memory import shown
from modicum.selection.nearest import needs as near_needs
from modicum.selection.threshold import needs as apart_needs

Way = Callable[[], Any]


def main() -> None:
    options = _options()
    vectors_ND = load(options)
    rng = np.random.default_rng(0)
    values_N = rng.standard_normal(len(vectors_ND))
    # Near rows of the pool, as a task's rows are; none of them equal to one.
    drawn_M = rng.choice(len(vectors_ND), options.targets, replace=False)
    noise_MD = rng.standard_normal((options.targets, vectors_ND.shape[1]))
    spread = float(vectors_ND.std())
    target_MD = (vectors_ND[drawn_M] + spread * noise_MD).astype(np.float32)
    n, d = vectors_ND.shape
    k, limit = min(options.picks, n), options.max_similarity
    found = {
        "walk": compare(
            lambda: plain_walk(vectors_ND, values_N, limit, k),
            lambda: picks(apart(vectors_ND, values_N, limit), k),
            options.repeats,
        )
        | {"needs_bytes": apart_needs(n, d)},
        "target": compare(
            lambda: plain_target(vectors_ND, target_MD, k),
            lambda: picks(near_target(vectors_ND, target_MD), k),
            options.repeats,
        )
        | {"needs_bytes": near_needs(n, d, targets=options.targets)},
    }
    found["walk"]["similarities"] = walked(found["walk"].pop("result"), values_N)
    found["target"]["similarities"] = options.targets * n
    found["target"].pop("result")
    if options.clusters:
        found["kmeans"] = clustered(vectors_ND, options)
    about = {"rows": n, "width": d, "picks": k, "repeats": options.repeats}
    result = about | {"targets": options.targets, "max_similarity": limit, "ways": found}
    print(json.dumps(result, indent=1)) if options.json else show(result)


def load(options: argparse.Namespace) -> np.ndarray:
    """(N, D) float32."""
    if options.vectors:
        return np.load(options.vectors).astype(np.float32)[: options.rows]
    rng = np.random.default_rng(0)
    centres_CD = rng.standard_normal((300, options.width))
    noise_ND = rng.standard_normal((options.rows, options.width))
    made_ND = centres_CD[rng.integers(0, 300, options.rows)] + noise_ND
    return (made_ND / np.linalg.norm(made_ND, axis=1, keepdims=True)).astype(np.float32)


def compare(plain: Way, ours: Way, repeats: int) -> dict[str, Any]:
    """Median seconds of both, the ratio, and whether they agree."""
    seconds: dict[str, list[float]] = {"plain way": [], "modicum": []}
    results: dict[str, Any] = {}
    for _ in range(repeats):
        for name, way in (("plain way", plain), ("modicum", ours)):
            began = time.perf_counter()
            results[name] = way()
            seconds[name].append(time.perf_counter() - began)
    middle = {name: median(each) for name, each in seconds.items()}
    ratio = median(p / o for p, o in zip(*seconds.values(), strict=True))
    same = [a == b for a, b in zip(*results.values(), strict=True)]
    agree = sum(same) / max(1, len(same))
    return {"seconds": middle, "ratio": ratio, "agree": agree, "result": results["modicum"]}


def plain_walk(vectors_ND: np.ndarray, values_N: np.ndarray, limit: float, k: int) -> list[int]:
    """One product with all kept rows a candidate."""
    unit_ND = unit(vectors_ND)
    kept_KD, kept = np.empty((k, unit_ND.shape[1]), dtype=np.float32), list[int]()
    for row in np.argsort(-values_N, kind="stable").tolist():
        if not kept or (kept_KD[: len(kept)] @ unit_ND[row]).max() <= limit:
            kept_KD[len(kept)] = unit_ND[row]
            kept.append(row)
            if len(kept) == k:
                break
    return kept


def plain_target(vectors_ND: np.ndarray, target_MD: np.ndarray, k: int) -> list[int]:
    """The whole matrix, sorted for every target row."""
    order_MN = np.argsort(-(unit(target_MD) @ unit(vectors_ND).T), axis=1, kind="stable")
    lists = [iter(order_N.tolist()) for order_N in order_MN]
    taken: dict[int, None] = {}
    for turn in range(k):
        taken[next(row for row in lists[turn % len(lists)] if row not in taken)] = None
    return list(taken)


def unit(vectors_ND: np.ndarray) -> np.ndarray:
    return vectors_ND / np.linalg.norm(vectors_ND, axis=1, keepdims=True)


def picks(steps: Iterator[Step], k: int) -> list[int]:
    return [step.pick for step in islice(steps, k)]


def walked(kept: list[int], values_N: np.ndarray) -> int:
    """Similarities of the plain walk: of each candidate to those kept before it."""
    order = np.argsort(-values_N, kind="stable")
    seen = np.isin(order[: int(np.flatnonzero(order == kept[-1])[0]) + 1], kept)
    return int((np.cumsum(seen) - seen).sum())


def clustered(vectors_ND: np.ndarray, options: argparse.Namespace) -> dict[str, Any]:
    from sklearn.cluster import KMeans

    c, worth = options.clusters, dict[str, float]()

    def plain() -> list[int]:  # of picks, for `compare`: there are none
        worth["plain way"] = float(KMeans(c, random_state=0).fit(vectors_ND).inertia_)
        return []

    def ours() -> list[int]:
        made = kmeans(vectors_ND, c, 0)
        apart_ND = vectors_ND - made.centers_CD[made.labels_N]
        worth["modicum"] = float(np.einsum("nd,nd->", apart_ND, apart_ND))
        return []

    compared = compare(plain, ours, options.repeats)
    return {
        "seconds": compared["seconds"],
        "ratio": compared["ratio"],
        "squared_distances": worth,
        "begun_from_some": len(vectors_ND) > LEARNED_ROWS,
        "needs_bytes": kmeans_needs(*vectors_ND.shape, clusters=c),
    }


def show(result: dict[str, Any]) -> None:
    out = Console(highlight=False, width=100)
    out.print(f"{result['rows']:,} rows of {result['width']}, {result['picks']:,} picks")
    table = Table("selector", "plain way, s", "modicum, s", "ratio", "needs", "the same picks")
    for name, way in result["ways"].items():
        seconds = (f"{s:.2f}" for s in way["seconds"].values())
        same = f"{way['agree']:.2%}" if "agree" in way else ""
        table.add_row(name, *seconds, f"{way['ratio']:.2f} ×", shown(way["needs_bytes"]), same)
    out.print(table)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--vectors", help="a .npy file of rows; made here if not given")
    parser.add_argument("--rows", type=int, default=20_000, help="at most, or to make")
    parser.add_argument("--width", type=int, default=384, help="of vectors made here")
    parser.add_argument("--picks", type=int, default=5_000)
    parser.add_argument("--max-similarity", type=float, default=0.9)
    parser.add_argument("--targets", type=int, default=100)
    parser.add_argument("--clusters", type=int, default=100, help="0: leave k-means out")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser.parse_args()


if __name__ == "__main__":
    main()
