"""Does LoBaSS find what the model can still learn? On pools in which that is planted.

`plant.py` says how a pool is made. Reported are the area under the ROC curve of the learnable rows
against the known ones and against the noise, each by itself, and the rank correlation (Spearman)
of the score with the answer's tokens, for the normalised score (`lobass`) and the raw one
(`lobass-raw`), from the same reference model.
"""

from __future__ import annotations

import os
from argparse import Namespace
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does

import numpy as np
import pieces
import pyarrow as pa
import pyarrow.parquet as pq
from pieces import Row
from plant import KINDS, answer_lengths, ask, moderate, plant
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from modicum import find_model
from modicum.models import Model

KNOWN = 150  # greedy answers, from which every seed draws


def main() -> None:
    options = _options()
    if not options.table:
        measure_all(options)
    show(options.name)


def measure_all(options: Namespace) -> None:
    """Every seed that is not done yet."""
    folder, model = pieces.work(options.name), find_model()
    dolly, known = moderate(model), max(KNOWN, options.rows)
    asked = pieces.once(folder / "answers.json", {"known": known}, lambda: ask(model, dolly, known))
    answers = asked["answers"]
    told = {name: getattr(options, name) for name in ("rows", "task", "folds", "train")}
    told["known_cut_short"] = sum(not answer["ended"] for answer in answers)
    reference = f"folds-{options.folds}" if options.folds else "whole"

    def piece(seed: int, name: str) -> dict[str, Any]:
        pool = plant(dolly, answers, options.task, options.rows, seed)
        return measured(pool, folder / name, model, options, seed)

    for seed in range(options.seeds):
        name = f"{options.task}-{reference}-seed-{seed}"
        result = pieces.results(options.name) / f"{name}.json"
        pieces.once(result, told, partial(piece, seed, name))


def measured(
    pool: list[Row], run: Path, model: Model, options: Namespace, seed: int
) -> dict[str, Any]:
    """Both scores of one planted pool, and what they tell apart."""
    file = pieces.write_rows(run.with_suffix(".jsonl"), pool)
    line = ["select", file, "-k", str(options.rows), "--seed", str(seed)]
    line += pieces.each("--train", options.train)
    rows, raw_N = scored(line, run, options.folds)
    kinds_N = np.array([row["kind"] for row in pool])
    lengths_N = answer_lengths(model, pool)
    scores = {"lobass": pieces.numbers(rows["lobass"]), "lobass-raw": raw_N}
    return {
        **{name: judged(score_N, kinds_N, lengths_N) for name, score_N in scores.items()},
        "picked": Counter(kinds_N[pieces.picks_of(rows)].tolist()),
        "medians": medians(rows, kinds_N),
    }


def scored(line: list[Any], run: Path, folds: int) -> tuple[pa.Table, np.ndarray]:
    """`rows.parquet` of `lobass`, and the raw score from the same reference."""
    settings = [f"folds={folds}"] if folds else []
    pieces.modicum(*line, "-m", "lobass", *pieces.each("--set", settings), "-o", run)
    rows = pq.read_table(run / "rows.parquet")
    if folds:  # no one reference could be given; the raw score is by definition the difference
        return rows, pieces.numbers(rows["loss"]) - pieces.numbers(rows["reference-loss"])
    again = run.with_name(f"{run.name}-raw")
    reference = f"reference={run / 'reference'}"
    pieces.modicum(*line, "-m", "lobass-raw", "--set", reference, "-o", again)
    return rows, pieces.numbers(pq.read_table(again / "rows.parquet")["lobass-raw"])


def judged(score_N: np.ndarray, kinds_N: np.ndarray, lengths_N: np.ndarray) -> dict[str, Any]:
    """What a score tells apart, over the rows that have one; the others are counted."""
    scored_N = np.isfinite(score_N)
    areas = {}
    for other in ("known", "noise"):
        rows_N = scored_N & np.isin(kinds_N, ["learnable", other])
        areas[f"auc_{other}"] = float(
            roc_auc_score(kinds_N[rows_N] == "learnable", score_N[rows_N])
        )
    length = spearmanr(score_N[scored_N], lengths_N[scored_N]).statistic
    unscored = Counter(kinds_N[~scored_N].tolist())
    return {**areas, "spearman_length": float(length), "unscored": unscored}


def medians(rows: pa.Table, kinds_N: np.ndarray) -> dict[str, dict[str, float]]:
    """The middle loss of each kind under both models, of the rows that were measured."""
    losses = {name: pieces.numbers(rows[name]) for name in ("loss", "reference-loss")}
    return {
        kind: {
            name: float(np.nanmedian(loss_N[kinds_N == kind])) for name, loss_N in losses.items()
        }
        for kind in KINDS
    }


def show(name: str) -> None:
    """Mean and range over the seeds, by task and reference, for both scores."""
    found = pieces.finished(name)
    lines = []
    for variant in sorted({piece.rpartition("-seed-")[0] for piece in found}):
        seeds = [one for piece, one in found.items() if piece.startswith(f"{variant}-seed-")]
        for score in ("lobass", "lobass-raw"):
            values = [one[score] for one in seeds]
            shown = ("auc_known", "auc_noise", "spearman_length")
            cells = [pieces.spread(value[key] for value in values) for key in shown]
            unscored = sum(sum(value["unscored"].values()) for value in values)
            lines.append((variant, score, len(seeds), *cells, unscored))
    head = ("pool", "score", "seeds", "AUC: known", "AUC: noise", "ρ with length", "unscored")
    pieces.print_table(head, lines)


def _options() -> Namespace:
    parser = pieces.parser(__doc__, "planted", rows=100)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--folds", type=int, default=0, help="cross-fit references; 0: one, of all")
    parser.add_argument("--task", default="trec", choices=["trec", "banking77"])
    return parser.parse_args()


if __name__ == "__main__":
    main()
