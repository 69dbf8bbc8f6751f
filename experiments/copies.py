"""By which view is a near copy of a row told from another row?

Of 50 of the Dolly rows, and of TREC's short questions, a copy is made whose user says a word more.
Kept are quantiles of the cosine between row and copy, and between a row and the other most like
it; and how many of the rows stay where none may be more alike than a limit.
`results/copies.json` holds all of it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import pieces
from pieces import Row

from modicum import Pool, find_model
from modicum.meter import Meter
from modicum.selection import apart
from modicum.views import View
from modicum.views.hidden import Hidden
from modicum.views.lexical import Lexical

NAME = "copies"
COPIES, LIMITS, QUANTILES = 50, (0.95, 0.9, 0.8), (0.05, 0.5, 0.95, 0.99)
VIEWS: Mapping[str, View] = {
    "hidden": Hidden(),
    "hidden, whitened": Hidden(whiten=True),
    "lexical": Lexical(),
}


def main() -> None:
    options = pieces.parser(__doc__, NAME, rows=1500).parse_args()
    path = pieces.results(options.name).with_suffix(".json")
    if not options.table:
        told = {"rows": options.rows, "copies": COPIES, "quantiles": list(QUANTILES)}
        pieces.once(path, told, partial(measured, options.name, options.rows))
    show(json.loads(path.read_text(encoding="utf-8")))


def measured(name: str, rows: int) -> Row:
    """What every view makes of both pools."""
    meter, found = Meter(find_model()), dict[str, Any]()
    real = {
        "dolly": pieces.real_rows("dolly_15k"),
        "trec": pieces.real_rows("cls_train", task="trec"),
    }
    for pool_name, every in real.items():
        some = pieces.evenly(every, rows)
        both = [*some, *map(with_a_word_more, some[:COPIES])]
        pool = Pool.read(pieces.write_rows(pieces.work(name) / f"{pool_name}.jsonl", both))
        found[pool_name] = {
            label: likeness(np.asarray(view(pool, meter), dtype=np.float64), len(some))
            for label, view in VIEWS.items()
        }
    return {"pools": found}


def with_a_word_more(row: Row) -> Row:
    """A copy that says nothing else."""
    first, *others = row["messages"]
    said = {**first, "content": first["content"] + " Please."}
    return {**row, "id": f"{row['id']}-copy", "messages": [said, *others]}


def likeness(vectors_ND: np.ndarray, rows: int) -> Row:
    """Cosines of copies and of the others most alike, and the rows that stay at each limit."""
    unit_ND = vectors_ND / np.linalg.norm(vectors_ND, axis=1, keepdims=True)
    own_NN = unit_ND[:rows] @ unit_ND[:rows].T
    np.fill_diagonal(own_NN, -1)
    copy_C = np.einsum("cd,cd->c", unit_ND[:COPIES], unit_ND[rows:])
    stay = [sum(1 for _ in apart(vectors_ND[:rows], np.zeros(rows), limit)) for limit in LIMITS]
    return {
        "copy": quantiles(copy_C),
        "other": quantiles(own_NN.max(axis=1)),
        "stay": dict(zip(map(str, LIMITS), stay, strict=True)),
    }


def quantiles(values: np.ndarray) -> list[float]:
    return [round(float(value), 4) for value in np.quantile(values, QUANTILES)]


def show(found: Row) -> None:
    """A table a pool."""
    for pool, views in found["pools"].items():
        print(f"\n{pool}: quantiles {', '.join(map(str, QUANTILES))} of the cosine\n")
        told = (
            (view, said["copy"], said["other"], *said["stay"].values())
            for view, said in views.items()
        )
        limits = (f"stay at {limit}" for limit in LIMITS)
        pieces.print_table(("view", "of a copy", "of the other most alike", *limits), told)


if __name__ == "__main__":
    main()
