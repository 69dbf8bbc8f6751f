"""What do the two methods that train cost on 2,000 rows, and what was said before?"""

from __future__ import annotations

import json
import time
from functools import partial
from pathlib import Path
from typing import Any

import pieces

RUNS = {
    "diverse-evol": ("-k", "300", "--set", "rounds=3"),
    "lobass": ("-k", "6%", "--set", "reference_share=25%"),
}


def main() -> None:
    options = pieces.parser(__doc__, "large", rows=2000).parse_args()
    if not options.table:
        folder = pieces.work(options.name)
        rows = pieces.evenly(pieces.real_rows("dolly_15k"), options.rows)
        pool = pieces.write_rows(folder / "pool.jsonl", rows)
        for method, words in RUNS.items():
            line = ["select", str(pool), "-m", method, *words, "--seed", "0"]
            line += pieces.each("--train", options.train)
            pieces.once(
                pieces.results(options.name) / f"{method}.json",
                {"rows": options.rows, "train": options.train, "line": list(words)},
                partial(timed, line, folder / method),
            )
    show(options.name)


def timed(line: list[str], run: Path) -> dict[str, Any]:
    """One run, and what its manifest says. `resumed`: the seconds are of its last part only."""
    resumed, began = (run / "command.json").exists(), time.monotonic()
    pieces.modicum(*line, "-o", run)
    seconds = time.monotonic() - began
    manifest = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    told = {key: manifest.get(key) for key in ("counts", "predicted", "cost", "ledger")}
    rounds = run / "rounds.json"
    if rounds.exists():
        told["rounds"] = json.loads(rounds.read_text(encoding="utf-8"))
    return {"seconds": seconds, "resumed": resumed, **told}


def show(name: str) -> None:
    """One line per method; what was predicted and spent as the manifest has it."""
    head = ("method", "rows", "picked", "wall seconds", "predicted", "cost")
    lines = []
    for method, found in pieces.finished(name).items():
        seconds = f"{found['seconds']:,.0f}{' (its last part)' if found['resumed'] else ''}"
        picked = found["counts"]["picked"]
        told = (json.dumps(found[key], ensure_ascii=False) for key in ("predicted", "cost"))
        lines.append((method, found["options"]["rows"], picked, seconds, *told))
    pieces.print_table(head, lines)


if __name__ == "__main__":
    main()
