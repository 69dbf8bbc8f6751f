"""How long does a Wasserstein distance take, and how far off are the ways to approximate it?

exact          `modicum.selection.wasserstein`: POT's network simplex
samples        Modicum's `pairwise`: the mean over samples of `--support` points a side; at sizes up
               to that it is exact. It lies above the exact value, the more the smaller the sample
sliced         POT's, 1-Wasserstein along random lines. Another distance, brought to the scale of
               the exact one by their ratio at the first size, so its error there is 0
entropic       POT's Sinkhorn at the given regularisation, the cost of its coupling

Two sets of equal size: rows of two arrays (`--vectors ONE.npy OTHER.npy`), or else gaussians that
are shifted against each other. The ways take turns.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("POT_BACKEND_DISABLE_PYTORCH", "1")  # arrays only; it takes seconds to load

import numpy as np
from rich.console import Console
from rich.table import Table

from modicum.selection.rows import unit_rows
from modicum.selection.transport import EXACT_UP_TO, pairwise, wasserstein

LINES = 200  # of the sliced distance
REG = 0.02

Way = Callable[[np.ndarray, np.ndarray], float]


def main() -> None:
    options = _options()
    sizes = sorted(options.sizes)
    one_ND, other_ND, made = vectors(options, sizes[-1])
    result = {
        "vectors": made,
        "support": options.support,
        "reg": REG,
        "repeats": options.repeats,
        "sizes": by_size(one_ND, other_ND, sizes, options),
    }
    if options.json:
        print(json.dumps(result, indent=1))
    else:
        show(result)


def by_size(
    one_ND: np.ndarray, other_ND: np.ndarray, sizes: list[int], options: argparse.Namespace
) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    scale = None
    for size in sizes:
        one_SD, other_SD = one_ND[:size], other_ND[:size]
        ways = {name: way for name, way in _ways(options.support).items() if name in options.ways}
        for way in ways.values():
            way(one_SD[:20], other_SD[:20])  # loads its library
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        values: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(options.repeats):
            for name, way in ways.items():
                began = time.perf_counter()
                values[name].append(way(one_SD, other_SD))
                seconds[name].append(time.perf_counter() - began)
        exact = values["exact"][0]
        if scale is None and "sliced" in ways:
            scale = exact / values["sliced"][0]
        for name in ways:
            told = values[name][0] * (scale or 1.0 if name == "sliced" else 1.0)
            found.append(
                {
                    "points": size,
                    "way": name,
                    "seconds": statistics.median(seconds[name]),
                    "value": told,
                    "error": told - exact,
                    "relative_error": told / exact - 1,
                    "mib": _mib(name, one_SD, other_SD) if name in options.memory else None,
                }
            )
    return found


def _ways(support: int) -> dict[str, Way]:
    return {
        "exact": wasserstein,
        "samples": lambda one, other: samples(one, other, support),
        "sliced": sliced,
        "entropic": entropic,
    }


def samples(one_ND: np.ndarray, other_ND: np.ndarray, support: int) -> float:
    return float(pairwise([one_ND, other_ND], limit=support).value_JJ[0, 1])


def sliced(one_ND: np.ndarray, other_ND: np.ndarray) -> float:
    import ot

    one_ND, other_ND = unit_rows(one_ND), unit_rows(other_ND)
    return float(ot.sliced_wasserstein_distance(one_ND, other_ND, n_projections=LINES, p=1, seed=0))


def entropic(one_ND: np.ndarray, other_ND: np.ndarray) -> float:
    import ot

    with warnings.catch_warnings():  # that it did not converge; its error says so, too
        warnings.simplefilter("ignore")
        return float(ot.sinkhorn2([], [], _costs(one_ND, other_ND), REG, numItermax=1000))


def _costs(one_ND: np.ndarray, other_ND: np.ndarray) -> np.ndarray:
    return np.maximum(1.0 - unit_rows(one_ND) @ unit_rows(other_ND).T, 0.0)


def _mib(name: str, one_SD: np.ndarray, other_SD: np.ndarray) -> float:
    """What a way takes beside the vectors, measured in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as fresh:
        return fresh.apply(_peak, (name, one_SD, other_SD))


def _peak(name: str, one_SD: np.ndarray, other_SD: np.ndarray) -> float:
    way = _ways(EXACT_UP_TO)[name]  # `samples` takes as much at any size above
    way(one_SD[:20], other_SD[:20])  # loads the libraries
    before = _status("VmRSS")
    way(one_SD, other_SD)
    return (_status("VmHWM") - before) / 1024


def _status(name: str) -> int:
    """A figure of Linux about this process, in KiB. Its getrusage counts the parent's, too."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def vectors(options: argparse.Namespace, most: int) -> tuple[np.ndarray, np.ndarray, str]:
    chance = np.random.default_rng(options.seed)
    if options.vectors is None:
        one_ND, other_ND = chance.normal(size=(2, most, options.width))
        one_ND[:, 0] += options.shift
        other_ND[:, 1] += options.shift
        return one_ND, other_ND, f"gaussians, {options.width} wide, {options.shift:g} from 0"
    found = []
    for path in options.vectors:
        every_ND = np.load(path, allow_pickle=False)
        if len(every_ND) < most:
            raise SystemExit(f"{path} has {len(every_ND)} rows; --sizes asks for {most}")
        found.append(every_ND[chance.permutation(len(every_ND))[:most]])
    return found[0], found[1], " and ".join(Path(path).stem for path in options.vectors)


def show(result: dict[str, Any]) -> None:
    out = Console(highlight=False, width=100)
    out.print(
        f"{result['vectors']}; samples of {result['support']} points, entropic at {result['reg']}"
    )
    table = Table("points a side", "way", "s", "distance", "error", "relative", "MiB beside")
    for row in result["sizes"]:
        told = [f"{row['seconds']:.3f}", f"{row['value']:.4f}", f"{row['error']:+.4f}"]
        mib = "" if row["mib"] is None else f"{row['mib']:.0f}"
        table.add_row(str(row["points"]), row["way"], *told, f"{row['relative_error']:+.1%}", mib)
    out.print(table)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    ways = list(_ways(0))
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 250, 500, 1000, 2000])
    parser.add_argument("--vectors", nargs=2, default=None, help="two .npy files, a row a point")
    parser.add_argument("--support", type=int, default=EXACT_UP_TO)
    parser.add_argument("--ways", nargs="+", choices=ways, default=ways, help="exact among them")
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--shift", type=float, default=5.0)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--memory", nargs="+", choices=ways, default=[], help="measure it")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
