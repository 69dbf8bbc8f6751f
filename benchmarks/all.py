"""Everything side by side: run the benchmarks, keep what each found, write one table.

`make bench` runs those that have no result yet in `benchmarks/results`; give names to run them
again. Real rows come from the folder named by MODICUM_DATA, else the example pool is used, and
vectors are generated unless `--vectors` names a file. `--table` only writes the table.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS = HERE / "results"
Facts = dict[str, Any]
Line = tuple[str, ...]


def main() -> None:
    options = _options()
    RESULTS.mkdir(exist_ok=True)
    for name, words in runs(options).items():
        done = (RESULTS / f"{name}.json").exists() and name not in options.names
        if not options.table and not done and (not options.names or name in options.names):
            run(name, words)
    table = "\n".join(rows())
    (RESULTS / "table.md").write_text(table + "\n", encoding="utf-8")
    print(table)


def runs(options: argparse.Namespace) -> dict[str, list[str]]:
    """The words of each benchmark."""
    data = os.environ.get("MODICUM_DATA")
    pool = ["--pool", str(Path(data) / "pools" / "alpaca_52k.parquet")] if data else []
    vectors = ["--vectors", options.vectors] if options.vectors else []
    large = ["--sizes", "100000", "1000000", "--picks", "10000"]
    peers = ["--peers"] if options.peers else []
    return {
        "scoring": ["scoring.py", *pool, "--rows", "256", "--slice", "256", *peers],
        "scoring-eager": ["scoring.py", *pool, "--rows", "256", "--slice", "256", "--eager"],
        "tuning": ["tuning.py", *pool, "--repeats", "5"],
        "kcenter": ["kcenter.py", *vectors, "--picks", "1000", "10000", *peers],
        "kcenter-published": ["kcenter.py", *vectors, "--rows", "10000"],
        "selecting": ["selecting.py", *vectors, "--repeats", "5"],
        "facility": ["facility.py", *vectors, "--sizes"],
        "facility-alone": ["facility.py", *vectors, "--rows"],
        "scale": ["scale.py"],
        "scale-picks": ["scale.py", *large],
        "scale-command": ["scale.py", "--command", *pool, *large, "--only", "k-center"],
        "transport": ["transport.py"],
        "evaluating": ["evaluating.py"],
        "startup": ["startup.py", *pool],
    }


def run(name: str, words: list[str]) -> None:
    """Keep what one benchmark prints as JSON, and the line that made it."""
    print(f"{name}: {' '.join(words)}", file=sys.stderr, flush=True)
    line = [sys.executable, str(HERE / words[0]), *words[1:], "--json"]
    made = subprocess.run(line, stdout=subprocess.PIPE, text=True, check=True).stdout
    starts = [made.index(mark) for mark in ("{\n", "[\n") if mark in made]  # trainers speak before
    told = [Path(word).name if "/" in word else word for word in words]
    kept = {"line": " ".join(told), "found": json.loads(made[min(starts) :])}
    text = json.dumps(kept, indent=1)
    (RESULTS / f"{name}.json").write_text(text + "\n", encoding="utf-8")


def rows() -> Iterator[str]:
    """The table in Markdown."""
    yield "| what | beside | Modicum is faster by | of the limit |"
    yield "|---|---|---|---|"
    for name, lines in LINES.items():
        path = RESULTS / f"{name}.json"
        if path.exists():
            for line in lines(json.loads(path.read_text(encoding="utf-8"))["found"]):
                yield f"| {' | '.join(line)} |"


def scoring(found: Facts) -> Iterator[Line]:
    what = f"IFD and hidden states, {found['rows']} rows, layers {found['layers']}"
    share = f"{found['share_of_matmul_limit']:.0%} of {_gflops(found)}"
    yield what, "public way", _times(found["ratio_to_public_way"]), share
    yield what, "careful loop", _times(found["ratio_to_careful_loop"]), ""
    if alone := found.get("without_compiler"):
        times = _times(alone / found["share_of_matmul_limit"])
        yield "the same without a compiler", "with one", times, f"{alone:.0%}"
    if ratio := found.get("ratio_to_wana"):
        yield what, "wana", _times(ratio), ""


def tuning(found: Facts) -> Iterator[Line]:
    share = f"{found['share_of_matmul_limit']:.0%} of {_gflops(found)}"
    yield f"tuning, {found['steps']} steps", "TRL", _times(found["ratio_to_trl"]), share


def kcenter(found: list[Facts]) -> Iterator[Line]:
    for pool in found:
        what = f"k-center, {pool['rows']:,} × {pool['width']}, {pool['picks']:,} picks"
        best = pool["best_brute_force"]
        share = (
            f"{pool['share_of_product_limit']:.0%} of {pool['product_limit_gflops']:,.0f} GFLOP/s"
        )
        yield what, f"best {best}", _times(pool["ratio"][best]), share
        if published := pool["ratio"].get("published way"):
            yield what, "published way", _times(published), ""


def transport(found: Facts) -> Iterator[Line]:
    exact = {row["points"]: row["seconds"] for row in found["sizes"] if row["way"] == "exact"}
    for row in found["sizes"]:
        if row["way"] == "samples" and row["points"] > found["support"]:
            what = f"distance of {row['points']:,} points by samples, {row['relative_error']:+.1%}"
            yield what, "exact", _times(exact[row["points"]] / row["seconds"]), ""


def selecting(found: Facts) -> Iterator[Line]:
    names = {"walk": "threshold walk", "target": "near target", "kmeans": "k-means"}
    for name, way in found["ways"].items():
        what = f"{names[name]}, {found['rows']:,} × {found['width']}"
        yield what, "plain way", _times(way["ratio"]), ""


def facility(found: Facts) -> Iterator[Line]:
    for each in found["compared"]:
        what = f"facility, {each['rows']:,} × {each['width']}, {found['picks']:,} picks"
        for name, ratio in each["ratio"].items():
            if not name.startswith("modicum"):
                yield what, name, _times(ratio), ""
    for each in found["alone"]:
        what = f"facility, {found['picks']:,} of {each['rows']:,} rows"
        yield what, f"{each['seconds']:.1f} s, each with {each['among']}", "", ""


def scale(found: Facts) -> Iterator[Line]:
    rows = max(each["rows"] for each in found["found"])
    for each in found["found"]:
        if each["rows"] == rows:
            own = f"{each['own_bytes'] / 2**20:,.0f} MiB"
            grown = f"time grows as rows to the {found['exponents'][each['name']]:.2f}"
            what = f"{found['what']}: {each['name']}, {found['picks']:,} of {rows:,} rows"
            yield what, grown, "", own


def evaluating(found: Facts) -> Iterator[Line]:
    options = found["options"]
    what = f"{options['options']} options of {found['rows']} rows"
    yield what, "a row per option", _times(options["ratio"]), ""
    what = f"answers of {found['generation']['new_tokens']} tokens"
    yield what, "transformers' default cache", _times(found["generation"]["ratio"]), ""


def _times(ratio: float) -> str:
    return f"{ratio:.2f} ×"


def _gflops(found: Facts) -> str:
    return f"{found['matmul_limit_gflops']:,.0f} GFLOP/s"


LINES: dict[str, Callable[[Any], Iterator[Line]]] = {
    "scoring": scoring,
    "scoring-eager": scoring,
    "tuning": tuning,
    "kcenter": kcenter,
    "kcenter-published": kcenter,
    "selecting": selecting,
    "facility": facility,
    "facility-alone": facility,
    "scale": scale,
    "scale-picks": scale,
    "scale-command": scale,
    "transport": transport,
    "evaluating": evaluating,
}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", help="only these, again")
    parser.add_argument("--vectors", help="a .npy file to select from, a row a vector")
    parser.add_argument("--peers", action="store_true", help="also packages that are installed")
    parser.add_argument("--table", action="store_true", help="write the table of what is there")
    return parser.parse_args()


if __name__ == "__main__":
    main()
