"""How fast is facility location, and what is it worth? The same vectors several ways in one run.

plain way      the n × n matrix of cosines in float32, and every gain anew for each pick (numpy)
apricot        apricot-select's lazy greedy on that matrix, if it can be imported: as it is, which
               compiles its loops at every call, and with these compiled before the clock starts
submodlib      submodlib-py's lazy greedy on that matrix, if it can be imported
modicum        `facility`; and as it works above 10,000 rows, where rows meet their nearest only

Every way begins with the vectors and takes turns with the others. Ratios are of processor time,
which other jobs disturb least; give all ways one thread (OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1),
or those that use more are wronged. The value is what all of them make large, Σ over rows of the
likeness to the most like pick, measured anew in float64: equal values are picks of equal worth.
With `--sizes`, Modicum alone, once, on so many rows within `--memory`. Without `--vectors`, rows
are drawn around centres.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import sys
import time
from collections.abc import Callable
from importlib import import_module
from itertools import islice
from statistics import median
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does

import numpy as np
from rich.console import Console
from rich.table import Table

from modicum.selection import facility
from modicum.selection.facility import DENSE, needs
from modicum.selection.memory import parse, shown
from modicum.selection.rows import unit_rows

BLOCK = 1024  # rows that are measured at once
CENTRES = 300
Facts = dict[str, Any]
Way = Callable[[np.ndarray, int], list[int]]


def main() -> None:
    options = _options()
    ways = _ways(options.without)
    result = {
        "threads": int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)),
        "vectors": "given" if options.vectors else f"around {CENTRES} centres",
        "picks": options.picks,
        "repeats": options.repeats,
        "compared": [compared(load(options, rows), ways, options) for rows in options.rows],
        "memory": options.memory,
        "alone": [alone(load(options, rows), options) for rows in options.sizes],
    }
    print(json.dumps(result, indent=1)) if options.json else show(result)


def compared(vectors_ND: np.ndarray, ways: dict[str, Way], options: argparse.Namespace) -> Facts:
    """Every way `repeats` times, in turns; what its picks are worth, and how many are ours."""
    k = min(options.picks, len(vectors_ND))
    for way in ways.values():
        way(vectors_ND[:50], 2)  # loads its library, and compiles what is compiled once
    took: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    picks: dict[str, list[int]] = {}
    for _ in range(options.repeats):
        for name, way in ways.items():
            picks[name], *both = timed(lambda way=way: way(vectors_ND, k))
            took[name].append((both[0], both[1]))
    ours = picks["modicum"]
    return {
        "rows": len(vectors_ND),
        "width": vectors_ND.shape[1],
        "seconds": {name: median(wall for wall, _ in each) for name, each in took.items()},
        "processor_seconds": {name: median(own for _, own in each) for name, each in took.items()},
        "ratio": {
            name: median(a / b for (_, a), (_, b) in zip(each, took["modicum"], strict=True))
            for name, each in took.items()
        },
        "value": {name: value(vectors_ND, found) for name, found in picks.items()},
        "the_same_picks": {
            name: sum(a == b for a, b in zip(found, ours, strict=True)) / k
            for name, found in picks.items()
        },
        "needs_bytes": needs(*vectors_ND.shape),
    }


def alone(vectors_ND: np.ndarray, options: argparse.Namespace) -> Facts:
    """Modicum once, on so many rows within so much memory."""
    k, memory = min(options.picks, len(vectors_ND)), parse(options.memory)
    picks, seconds, own = timed(
        lambda: [step.pick for step in islice(facility(vectors_ND, memory=memory), k)]
    )
    return {
        "rows": len(vectors_ND),
        "width": vectors_ND.shape[1],
        "seconds": seconds,
        "processor_seconds": own,
        "needs_bytes": needs(*vectors_ND.shape, memory=memory),
        "among": "all" if len(vectors_ND) <= DENSE else "the nearest",
        "value": value(vectors_ND, picks),
    }


def timed(way: Callable[[], list[int]]) -> tuple[list[int], float, float]:
    """Picks, seconds, and seconds of the processor."""
    began, own = time.perf_counter(), time.process_time()
    picks = way()
    return picks, time.perf_counter() - began, time.process_time() - own


def _ways(without: list[str]) -> dict[str, Way]:
    """Those that can be imported; what is left out is said."""
    ways: dict[str, Way] = {"modicum": modicum, "modicum, nearest only": nearest_only}
    ways["plain way"] = plain
    for package, found in PEERS.items():
        try:
            import_module(package)
        except ImportError as error:
            print(f"note: {package} cannot be imported ({error}); it is left out", file=sys.stderr)
        else:
            ways |= found
    return {name: way for name, way in ways.items() if name not in without}


def modicum(vectors_ND: np.ndarray, k: int) -> list[int]:
    return [step.pick for step in islice(facility(vectors_ND), k)]


def nearest_only(vectors_ND: np.ndarray, k: int) -> list[int]:
    """As if these were more rows than are compared in full."""
    room = import_module("modicum.selection.facility")
    dense, room.DENSE = room.DENSE, 0
    try:
        return modicum(vectors_ND, k)
    finally:
        room.DENSE = dense


def plain(vectors_ND: np.ndarray, k: int) -> list[int]:
    """Every candidate looked at for every pick."""
    like_NN = likeness(vectors_ND)
    served_N, taken = np.zeros(len(like_NN), dtype=np.float32), list[int]()
    for _ in range(k):
        gain_N = np.array([np.maximum(like_N - served_N, 0).sum() for like_N in like_NN])
        gain_N[taken] = -1
        taken.append(int(gain_N.argmax()))
        np.maximum(served_N, like_NN[taken[-1]], out=served_N)
    return taken


def apricot(vectors_ND: np.ndarray, k: int) -> list[int]:
    made = import_module("apricot").FacilityLocationSelection(
        k, metric="precomputed", optimizer="lazy"
    )
    return [int(i) for i in made.fit(likeness(vectors_ND).astype(np.float64)).ranking]


def apricot_compiled(vectors_ND: np.ndarray, k: int) -> list[int]:
    """With its loops kept from one call to the next, which it does not do itself."""
    room = import_module("apricot.functions.facilityLocation")
    own = {name: getattr(room, name) for name in ("calculate_gains", "calculate_gains_sieve")}
    try:
        for name, make in own.items():
            setattr(room, name, _kept(make))
        return apricot(vectors_ND, k)
    finally:
        for name, make in own.items():
            setattr(room, name, make)


@functools.cache
def _kept(make: Callable[..., Any]) -> Callable[..., Any]:
    return functools.cache(make)


def submodlib(vectors_ND: np.ndarray, k: int) -> list[int]:
    made = import_module("submodlib").FacilityLocationFunction(
        n=len(vectors_ND), mode="dense", sijs=likeness(vectors_ND), separate_rep=False
    )
    how = {"stopIfZeroGain": False, "stopIfNegativeGain": False, "show_progress": False}
    return [int(i) for i, _ in made.maximize(budget=k, optimizer="LazyGreedy", **how)]


PEERS: dict[str, dict[str, Way]] = {
    "apricot": {"apricot": apricot, "apricot, compiled": apricot_compiled},
    "submodlib": {"submodlib": submodlib},
}


def likeness(vectors_ND: np.ndarray) -> np.ndarray:
    """(N, N) cosines from 0 on, as the others take them."""
    unit_ND = unit_rows(vectors_ND).astype(np.float32)
    like_NN = unit_ND @ unit_ND.T
    return np.maximum(like_NN, 0, out=like_NN)


def value(vectors_ND: np.ndarray, picks: list[int]) -> float:
    """Σ over rows of the likeness to the pick most like it."""
    picked_KD = unit_rows(vectors_ND[picks])
    found = 0.0
    for start in range(0, len(vectors_ND), BLOCK):
        like_BK = unit_rows(vectors_ND[start : start + BLOCK]) @ picked_KD.T
        found += float(np.maximum(like_BK.max(axis=1), 0).sum())
    return found


def load(options: argparse.Namespace, rows: int) -> np.ndarray:
    """(N, D) float32."""
    if options.vectors:
        return np.load(options.vectors, mmap_mode="r")[:rows].astype(np.float32)
    rng = np.random.default_rng(0)
    centres_CD = rng.standard_normal((CENTRES, options.width), dtype=np.float32)
    made_ND = rng.standard_normal((rows, options.width), dtype=np.float32)
    made_ND += centres_CD[rng.integers(0, CENTRES, rows)]
    return made_ND


def show(result: Facts) -> None:
    out = Console(highlight=False, width=100)
    for each in result["compared"]:
        out.print(f"{each['rows']:,} × {each['width']}, {result['picks']:,} picks")
        columns = ("seconds", "of processor", "Modicum is faster by", "value", "the same picks")
        table = Table("way", *columns)
        for name, seconds in each["seconds"].items():
            ratio = "" if name == "modicum" else f"{each['ratio'][name]:.2f} ×"
            same = f"{each['the_same_picks'][name]:.0%}"
            own, worth = f"{each['processor_seconds'][name]:.3f}", f"{each['value'][name]:.2f}"
            table.add_row(name, f"{seconds:.3f}", own, ratio, worth, same)
        out.print(table)
    columns = ("seconds", "of processor", "needs", "each compared with", "value")
    table = Table("rows alone", *columns)
    for each in result["alone"]:
        seconds = (f"{each[key]:.2f}" for key in ("seconds", "processor_seconds"))
        about = (shown(each["needs_bytes"]), each["among"], f"{each['value']:.2f}")
        table.add_row(f"{each['rows']:,}", *seconds, *about)
    out.print(table)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--vectors", help="a .npy file of rows; made here if not given")
    parser.add_argument("--rows", type=int, nargs="*", default=[1_000, 5_000], help="compared")
    parser.add_argument("--sizes", type=int, nargs="*", default=[10_000, 20_000], help="alone")
    parser.add_argument("--width", type=int, default=384, help="of vectors made here")
    parser.add_argument("--picks", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--memory", default="1GiB", help="beside the vectors, alone")
    parser.add_argument("--without", nargs="*", default=[], help="ways to leave out")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser.parse_args()


if __name__ == "__main__":
    main()
