"""How far does a row's loss move with the batch it is in? Batches of 1, of 16, and of 16 reversed.

Measured for the loss given the prompt and for the loss of the answer alone, in each precision:
the largest and the mean difference to batches of one, in nats, and the rank correlation.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.stats import spearmanr

from modicum import Pool, find_model
from modicum.forward import (
    Batch,
    answers_alone,
    forward_hidden,
    make_ready,
    start_token,
)
from modicum.head import answer_means
from modicum.meter import Meter
from modicum.render import Rendered

EXAMPLE = Path(__file__).parent.parent / "examples" / "pool.jsonl"


def main() -> None:
    options = _options()
    pool = Pool.read(options.pool)
    chosen = np.unique(np.linspace(0, len(pool) - 1, options.rows).astype(int))
    lines = []
    for precision in options.precision.split(","):
        model = find_model(options.model, precision=precision)
        rows = Meter(model).rendered(pool).take(chosen)
        rows = rows.take(np.flatnonzero(rows.lengths_N > 0))
        network = make_ready(model.network)
        alone, _ = answers_alone(rows, start_token(model.tokenizer))
        for name, rendered in (("given the prompt", rows), ("answer alone", alone)):
            one = losses(network, rendered, _batches(np.arange(len(rendered)), 1))
            for order in ("16", "16 reversed"):
                places = np.arange(len(rendered))[:: -1 if "reversed" in order else 1]
                many = losses(network, rendered, _batches(places, 16))
                lines.append(_line(precision, name, order, one, many))
    if options.json:
        print(json.dumps({"rows": len(chosen), "pool": options.pool, "differences": lines}))
    else:
        show(len(chosen), lines)


def losses(network: Any, rendered: Rendered, batches: Iterator[np.ndarray]) -> np.ndarray:
    """The loss of every row, the rows sent in these batches."""
    loss_N = np.full(len(rendered), np.nan)
    for rows_B in batches:
        batch = Batch.of(rendered, rows_B)
        hidden_BTD = forward_hidden(network, batch, [-1])[-1]
        loss_N[rows_B] = answer_means(network, hidden_BTD, batch, ["loss"])["loss"]
    return loss_N


def _batches(places: np.ndarray, size: int) -> Iterator[np.ndarray]:
    return (places[start : start + size] for start in range(0, len(places), size))


def _line(
    precision: str, loss: str, batches: str, one: np.ndarray, many: np.ndarray
) -> dict[str, Any]:
    gap = np.abs(one - many)
    return {
        "precision": precision,
        "loss": loss,
        "batches": batches,
        "max": float(gap.max()),
        "mean": float(gap.mean()),
        "spearman": float(spearmanr(one, many).statistic),
    }


def show(rows: int, lines: list[dict[str, Any]]) -> None:
    table = Table("precision", "loss", "batches of", "max", "mean", "Spearman")
    for line in lines:
        words = (line["precision"], line["loss"], line["batches"])
        table.add_row(
            *words, f"{line['max']:.2g}", f"{line['mean']:.2g}", f"{line['spearman']:.6f}"
        )
    out = Console(highlight=False, width=100)
    out.print(f"{rows} rows: loss in nats, against batches of one")
    out.print(table)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pool", default=str(EXAMPLE), help="rows to measure")
    parser.add_argument("--rows", type=int, default=64, help="how many of them")
    parser.add_argument("--precision", default="bfloat16,float32")
    parser.add_argument("--model", default=None)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
