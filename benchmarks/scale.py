"""How do time and memory grow from ten thousand rows to a million?

Each selector in a process of its own, on vectors of `--width` numbers that lie on disk as float16,
drawn around 300 centres, or on the rows of `--vectors`. With `--command` the whole of `modicum
select` instead, on Parquet shards of 50,000 rows each: the rows of `--pool`, again and again, each
time with another number behind the first turn's words, in the lexical view.

Memory is what a process had in use at most, looked at fifty times a second: `own` of it cannot be
given back (anonymous), the rest are pages of files that were mapped. The exponent is that of the
seconds between the two largest sizes; of selectors quicker than a second, medians of nine.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice, pairwise
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does

import numpy as np

EXAMPLE = Path(__file__).parent.parent / "examples" / "pool.jsonl"
SHARD, BLOCK = 50_000, 1 << 14  # rows
TARGETS, CLUSTERS = 100, 100
SHARDS, ALIKE = 8, 0.9
SELECTORS = ("random", "longest", "k-center", "k-center, 8 shards", "k-means")
SELECTORS += ("near target", "none too alike")
METHODS = ("random", "longest", "k-center", "kmeans", "ltd")
LOOKED = 0.02  # seconds between looks at a process's memory
REPEATS, ENOUGH = 9, 1.0  # of what is quicker than so many seconds, the median
Facts = dict[str, Any]


def main() -> None:
    options = _options()
    if options.select:
        selected(options)
        return
    found = []
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for rows in options.sizes:
            made = commands(rows, options, Path(folder))
            if not options.command:
                made = alone(rows, options, Path(folder))
            found += [{"rows": rows, **each} for each in made]
    about = {"picks": options.picks, "width": options.width, "memory": options.memory}
    result = {"what": "command" if options.command else "selectors", **about, "found": found}
    result["exponents"] = exponents(found)
    print(json.dumps(result, indent=1)) if options.json else show(result)


def alone(rows: int, options: argparse.Namespace, folder: Path) -> Iterator[Facts]:
    """Every selector on so many vectors."""
    path = Path(options.vectors) if options.vectors else drawn(rows, options.width, folder)
    for name in options.only or SELECTORS:
        words = [sys.executable, __file__, "--select", name, "--vectors", path, "--sizes", rows]
        words += ["--picks", options.picks, "--memory", options.memory]
        yield {"name": name, **watched([*map(str, words)], json.loads)}
    if not options.vectors:
        path.unlink()


def selected(options: argparse.Namespace) -> None:
    """One selector in this process: its seconds, as JSON."""
    from modicum.selection import apart, coresets, kcenter, kmeans, near_target
    from modicum.selection.memory import parse
    from modicum.selection.ranking import band, uniform

    vectors_ND = np.load(options.vectors, mmap_mode="r")[: options.sizes[0]]
    rows, memory = len(vectors_ND), parse(options.memory)
    drawn = np.random.default_rng(1)
    lengths_N = drawn.integers(10, 2000, rows)
    target_MD = vectors_ND[drawn.choice(rows, TARGETS, replace=False)].astype(np.float32)
    target_MD += 0.01 * drawn.standard_normal(target_MD.shape).astype(np.float32)
    ways: dict[str, Callable[[], Iterator[Any]]] = {
        "random": lambda: uniform(rows, 0),
        "longest": lambda: band(lengths_N),
        "k-center": lambda: kcenter(vectors_ND, memory=memory),
        "k-center, 8 shards": lambda: coresets(vectors_ND, options.picks, SHARDS, memory=memory),
        "k-means": lambda: iter(kmeans(vectors_ND, CLUSTERS, 0, memory=memory).labels_N),
        "near target": lambda: near_target(vectors_ND, target_MD, memory=memory),
        "none too alike": lambda: apart(vectors_ND, lengths_N, ALIKE, memory=memory),
    }
    seconds: list[float] = []
    while len(seconds) < REPEATS and sum(seconds) < ENOUGH:
        began = time.perf_counter()
        picked = sum(1 for _ in islice(ways[options.select](), options.picks))
        seconds.append(time.perf_counter() - began)
        assert picked == min(rows, options.picks)
    print(json.dumps({"seconds": median(seconds), "repeats": len(seconds)}))


def drawn(rows: int, width: int, folder: Path) -> Path:
    """Vectors of length 1 around centres, on disk."""
    rng = np.random.default_rng(0)
    centres_CD = rng.standard_normal((300, width), dtype=np.float32)
    path = folder / f"{rows}.npy"
    held = np.lib.format.open_memmap(path, "w+", np.float16, (rows, width))
    for start in range(0, rows, BLOCK):
        made = rng.standard_normal((min(BLOCK, rows - start), width), dtype=np.float32)
        made += centres_CD[rng.integers(0, 300, len(made))]
        held[start : start + BLOCK] = made / np.linalg.norm(made, axis=1, keepdims=True)
    held.flush()
    return path


def commands(rows: int, options: argparse.Namespace, folder: Path) -> Iterator[Facts]:
    """`modicum select` by every method, from Parquet shards of so many rows."""
    if not options.command:
        return
    from modicum import Pool

    shards = folder / f"pool-{rows}"
    target = write_shards(Pool.read(options.pool), rows, shards)
    for name in options.only or METHODS:
        out = folder / f"{rows}-{name}"
        words = ["select", str(shards), "-m", name, "-k", str(options.picks), "-o", str(out)]
        words += ["--memory", options.memory, "--max-tokens", "1024"]
        if name not in ("random", "longest"):
            words += ["--set", "view=lexical", "--set", f"dimensions={options.width}"]
        if name == "ltd":
            words += ["--target", str(target), "--set", "region=1.0"]

        def took(_: str, out: Path = out) -> Facts:
            ledger = json.loads((out / "manifest.json").read_text())["ledger"]
            return {"stages": ledger["seconds"]}

        yield {"name": name, **watched([sys.executable, "-m", "modicum", *words], took)}


def write_shards(pool: Any, rows: int, folder: Path) -> Path:
    """So many rows in Parquet shards, none like another; and the file of a few to aim at."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir()
    some = [[turn._asdict() for turn in example.turns] for example in islice(pool, SHARD)]
    for start in range(0, rows, SHARD):
        made = []
        for row in range(start, min(rows, start + SHARD)):
            turns = [{k: turn[k] for k in ("role", "content")} for turn in some[row % len(some)]]
            turns[0]["content"] += f" ({row})"
            made.append({"id": f"row-{row}", "messages": turns})
        pq.write_table(pa.Table.from_pylist(made), folder / f"part-{start // SHARD:03}.parquet")
    target = folder.with_suffix(".jsonl")
    lines = (json.dumps({"messages": row["messages"]}) for row in made[:: len(made) // TARGETS + 1])
    target.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return target


def watched(line: list[str], read: Callable[[str], Facts]) -> Facts:
    """Seconds and memory of a process, and what is read from its output."""
    began = time.perf_counter()
    own = whole = 0
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as process:
        while process.poll() is None:
            try:
                said = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
            except OSError:  # it has just ended
                break
            memory = {k: 1024 * int(v) for k, v in re.findall(r"^(\w+):\s+(\d+) kB$", said, re.M)}
            own, whole = max(own, memory.get("RssAnon", 0)), max(whole, memory.get("VmRSS", 0))
            time.sleep(LOOKED)
        told = process.stdout.read() if process.stdout else ""
    if process.returncode:
        raise SystemExit(f"{' '.join(line)} ended with {process.returncode}")
    took = {"seconds": time.perf_counter() - began, "own_bytes": own, "bytes": whole}
    return {**took, **read(told)}


def exponents(found: list[Facts]) -> dict[str, float | None]:
    """How the seconds of each grow with the rows, between the two largest sizes."""
    grown: dict[str, float | None] = {}
    for name in dict.fromkeys(each["name"] for each in found):
        mine = [each for each in found if each["name"] == name]
        steps = [
            math.log(b["seconds"] / a["seconds"]) / math.log(b["rows"] / a["rows"])
            for a, b in pairwise(mine)
        ]
        grown[name] = steps[-1] if steps else None
    return grown


def show(result: Facts) -> None:
    from rich.console import Console
    from rich.table import Table

    out = Console(highlight=False, width=100)
    out.print(f"{result['what']}, {result['picks']:,} picks, --memory {result['memory']}")
    table = Table("", "rows", "seconds", "own memory", "with mapped files", "exponent")
    for each in result["found"]:
        grown = result["exponents"][each["name"]]
        last = each["rows"] == max(other["rows"] for other in result["found"])
        exponent = f"{grown:.2f}" if last and grown is not None else ""
        sizes = (f"{each[key] / 2**20:,.0f} MiB" for key in ("own_bytes", "bytes"))
        table.add_row(each["name"], f"{each['rows']:,}", f"{each['seconds']:.2f}", *sizes, exponent)
    out.print(table)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--picks", type=int, default=1_000)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--memory", default="1GiB", help="a selector may take beside its vectors")
    parser.add_argument("--vectors", help="a .npy file of rows; made here if not given")
    parser.add_argument("--command", action="store_true", help="the whole command, from shards")
    parser.add_argument("--pool", default=str(EXAMPLE), help="whose rows the shards hold")
    parser.add_argument("--only", nargs="+", help="these selectors or methods")
    parser.add_argument("--folder", help="where vectors and shards lie meanwhile")
    parser.add_argument("--select", help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser.parse_args()


if __name__ == "__main__":
    main()
