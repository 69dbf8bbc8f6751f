"""Does data chosen for one model suit another? Overlap of the picks for two bases.

The bases are the default model and the same cut to every second layer and tuned briefly on other
rows. Same pool, same method, same seed; beside the overlap stands what chance would give, and how
much the picks of one base overlap between seeds.
"""

from __future__ import annotations

from argparse import Namespace
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pieces
import pyarrow.parquet as pq
from pieces import Row
from scipy.stats import spearmanr

from modicum import find_model

METHODS = {
    "k-center": ["view=hidden", "pooling=mean"],
    "diverse-evol": ["initial=20", "rounds=2"],
    "lobass": ["reference_share=25%"],
}
BASES = ("default", "half")
BUDGET = "10%"
TUNED_ON = 300  # rows


def main() -> None:
    options = _options()
    if not options.table:
        choose_all(options)
    show(options.name)


def choose_all(options: Namespace) -> None:
    """Every method and seed that is not done yet."""
    folder, rows = pieces.work(options.name), pieces.real_rows("dolly_15k")
    sample = pieces.evenly(rows, options.rows)
    used = {row["id"] for row in sample}
    others = pieces.evenly([row for row in rows if row["id"] not in used], TUNED_ON)
    pieces.write_rows(folder / "pool.jsonl", sample)
    pieces.write_rows(folder / "others.jsonl", others)
    told = {"rows": options.rows, "train": options.train}
    for method in METHODS:
        for seed in range(options.seeds):
            result = pieces.results(options.name) / f"{method}-seed-{seed}.json"
            pieces.once(result, told, partial(both, folder, method, seed, options.train))


def both(folder: Path, method: str, seed: int, train: list[str]) -> dict[str, Any]:
    """The picks for both bases and their overlap; for LoBaSS, how alike the scores rank."""
    half, rows = halved(folder), {}
    for base in BASES:
        out = folder / f"{method}-seed-{seed}-{base}"
        line = ["select", str(folder / "pool.jsonl"), "-m", method, "-k", BUDGET]
        line += ["--seed", str(seed), "-o", str(out)]
        line += pieces.each("--set", METHODS[method])
        line += pieces.each("--train", train if method != "k-center" else [])
        line += ["--model", str(half)] if base == "half" else []
        pieces.modicum(*line)
        rows[base] = pq.read_table(out / "rows.parquet")
    picks = {base: pieces.picks_of(found) for base, found in rows.items()}
    result = {"overlap": overlap(*picks.values()), "picks": picks}
    if method == "lobass":
        scores_2N = np.stack([pieces.numbers(found["lobass"]) for found in rows.values()])
        scored_N = np.isfinite(scores_2N).all(axis=0)
        result["spearman"] = float(spearmanr(*scores_2N[:, scored_N]).statistic)
    return result


def halved(folder: Path) -> Path:
    """The default model with every second layer, tuned on the other rows for one epoch."""
    cut, tuned = folder / "cut", folder / "half"
    pieces.once(cut / "whole.json", {}, partial(cut_layers, cut))
    words = ("--model", cut, "--train", "num_train_epochs=1")
    pieces.modicum("train", folder / "others.jsonl", "-o", tuned, *words)
    return tuned


def cut_layers(folder: Path) -> dict[str, Any]:
    """Save the default model without its second, fourth, … layer."""
    import torch

    model = find_model(precision="float32")
    network: Any = model.network
    before = len(network.model.layers)
    network.model.layers = torch.nn.ModuleList(network.model.layers[::2])
    for i, layer in enumerate(network.model.layers):
        layer.self_attn.layer_idx = i
    network.config.num_hidden_layers = len(network.model.layers)
    network.save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)
    return {"layers": [before, len(network.model.layers)]}


def overlap(one: list[int], other: list[int]) -> float:
    """|A ∩ B| / k, of as many picks on both sides."""
    return len(set(one) & set(other)) / max(len(one), len(other))


def show(name: str) -> None:
    """One line per method: mean and range over the seeds."""
    head = ("method", "seeds", "overlap of two bases", "by chance", "of two seeds", "ρ of scores")
    lines = []
    for method in METHODS:
        found = list(pieces.finished(name, f"{method}-seed-*").values())
        if found:
            ranks = [one["spearman"] for one in found if "spearman" in one]
            lines.append(
                (
                    method,
                    len(found),
                    pieces.spread(one["overlap"] for one in found),
                    f"{len(found[0]['picks']['default']) / found[0]['options']['rows']:.2f}",
                    _between_seeds(found),
                    pieces.spread(ranks) if ranks else "",
                )
            )
    pieces.print_table(head, lines)


def _between_seeds(found: list[Row]) -> str:
    """Overlap of the same base's picks with two seeds, over both bases and all pairs."""
    pairs = [
        overlap(one["picks"][base], other["picks"][base])
        for one, other in combinations(found, 2)
        for base in BASES
    ]
    return pieces.spread(pairs) if pairs else ""


def _options() -> Namespace:
    parser = pieces.parser(__doc__, "bases", rows=600)
    parser.add_argument("--seeds", type=int, default=2)
    return parser.parse_args()


if __name__ == "__main__":
    main()
