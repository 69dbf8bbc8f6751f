"""Do the workers of a Ray measure and pick what one process does?

The same Dolly rows are measured and chosen from twice, each time into a store of its own: by this
process, and by the workers of a Ray, one for every processor of the machine (or of the cluster at
`--ray-address`). What differs is kept in `results/engines.json`, with the seconds of both.
"""

from __future__ import annotations

import time
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pieces
from pieces import Row

from modicum import Pool, find_model, select
from modicum.models import Model
from modicum.scale import engine_of
from modicum.scores.ifd import Ifd
from modicum.store import Store
from modicum.usable import meter_of, unusable
from modicum.wants import HiddenState, Loss

NAME = "engines"
WANTS = (Loss(), Loss(prompt=False), HiddenState())
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "ifd": ("ifd", {}),
    "k-center": ("k-center", {}),
    "k-center, 4 shards": ("k-center", {"shards": 4}),
}
BUDGET = "5%"
Measured = tuple[Row, dict[str, np.ndarray], dict[str, np.ndarray]]


def main() -> None:
    parser = pieces.parser(__doc__, NAME, rows=2000)
    parser.add_argument("--max-tokens", type=int, default=512, help="default 512")
    parser.add_argument("--ray-address", help="of a running cluster; else a Ray of this machine")
    options = parser.parse_args()
    path = pieces.results(options.name).with_suffix(".json")
    told = {"rows": options.rows, "max_tokens": options.max_tokens, "budget": BUDGET}
    if not options.table:
        piece = partial(compared, options.name, told, options.ray_address)
        pieces.once(path, told, piece)
    show(path, told)


def compared(name: str, told: Row, address: str | None) -> Row:
    """Both runs, and what is between them."""
    folder = pieces.work(name)
    rows = pieces.evenly(pieces.real_rows("dolly_15k"), told["rows"])
    pool, model = Pool.read(pieces.write_rows(folder / "pool.jsonl", rows)), find_model()
    runs = {
        engine: carried_out(engine, address, pool, model, folder / engine, told)
        for engine in ("local", "ray")
    }
    (_, here, ours), (_, there, theirs) = runs["local"], runs["ray"]
    return {
        "engines": {engine: about for engine, (about, _, _) in runs.items()},
        "measured": {want: difference(here[want], there[want]) for want in here},
        "same_picks": {method: np.array_equal(ours[method], theirs[method]) for method in METHODS},
        "picks": {method: len(picks_K) for method, picks_K in ours.items()},
        "picks_in_common": {
            method: len(np.intersect1d(ours[method], theirs[method])) for method in METHODS
        },
    }


def carried_out(
    engine: str, address: str | None, pool: Pool, model: Model, folder: Path, told: Row
) -> Measured:
    """What it took, the measurements by name, and the picks of each method in their order."""
    store, began = Store(folder), time.monotonic()
    limits: dict[str, Any] = {"too_long": "drop", "max_tokens": told["max_tokens"], "store": store}
    where: dict[str, Any] = {"engine": engine}
    if engine == "ray":
        where |= {"ray_address": address}
    with closing(engine_of(**where)) as runner:
        meter = meter_of(model, precision="auto", engine=runner, **limits)
        kept_M = np.setdiff1d(np.arange(len(pool)), list(unusable(pool, meter, "drop")))
        kept = meter.narrow(pool, kept_M)
        meter.prepare(kept, WANTS)
    about = {"seconds": round(time.monotonic() - began), "measured_rows": len(kept)}
    values = {want.name: meter.measured(kept, want) for want in WANTS} | {"ifd": Ifd()(kept, meter)}
    picks = {
        label: select(pool, method, BUDGET, model, **limits, **options, **where).picks
        for label, (method, options) in METHODS.items()
    }
    return {**about, "ledger": meter.ledger.to_json()}, values, picks


def difference(here: np.ndarray, there: np.ndarray) -> Row:
    """The largest difference, and beside the largest value; of rows that either lacks, how many."""
    unlike = np.isfinite(here) != np.isfinite(there)
    gap, largest = float(np.nanmax(np.abs(here - there))), float(np.nanmax(np.abs(here)))
    return {"largest": gap, "of_largest_value": gap / largest, "lacking": int(unlike.sum())}


def show(path: Path, told: Row) -> None:
    """The figures as tables."""
    found = pieces.once(path, told, dict)
    lines = [
        (engine, about["seconds"], about["measured_rows"], about["ledger"]["ray_workers"])
        for engine, about in found["engines"].items()
    ]
    pieces.print_table(("engine", "seconds", "rows", "workers"), lines)
    lines = [(want, f"{gap['largest']:.2g}") for want, gap in found["measured"].items()]
    pieces.print_table(("measured", "largest difference"), lines)
    lines = [
        (method, "same" if same else f"{found['picks_in_common'][method]} in common")
        for method, same in found["same_picks"].items()
    ]
    pieces.print_table(("picks of", f"{told['budget']} of the rows"), lines)


if __name__ == "__main__":
    main()
