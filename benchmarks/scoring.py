"""How fast is scoring? IFD and hidden states of the same rows by the same model, in one run.

public way    float32, one row at a time, logits at every position, three passes a row (whole row
              with its hidden states, prompt, answer), as the public IFD script does it
careful loop  one row at a time, two passes, logits only where an answer is predicted, in Modicum's
              precision
modicum       `modicum score --with ifd` with `hidden` beside it, nothing in the store
without a     the same where there is no C++ compiler, or too few rows to compile for
compiler
wana          `wana score` of the package wana, with `--peers` where it is on the PATH: IFD alone,
              by llama.cpp; the seconds before its first row are taken off

All take turns, a slice of the rows at a time, so that a change in the machine's speed meets
all of them. Beside them stands how fast this machine multiplies matrices of the model's shapes,
and which share of that limit Modicum's scoring reaches, counting only what a least implementation
must multiply. Layers are compiled beforehand, as they are for more than some 200,000 tokens;
`--eager` leaves them as they are. How alike two ways rank the rows is Spearman's correlation.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # for all ways, as the command line does
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from scipy.stats import spearmanr
from transformers import PreTrainedModel

from modicum import Pool, compiled, find_model
from modicum.forward import answers_alone, start_token
from modicum.ledger import Ledger
from modicum.measure import measure
from modicum.meter import Meter
from modicum.models import Model
from modicum.pool import Example
from modicum.render import ANSWER, Rendered
from modicum.store import Store
from modicum.wants import HiddenState, Loss

ALWAYS = {"cpu": 0.0, "cuda": 0.0}
EAGER = "without a compiler"
EXAMPLE = Path(__file__).parent.parent / "examples" / "pool.jsonl"


class Rows(NamedTuple):
    """Rows of a pool, as they stand there and as the model reads them."""

    examples: Sequence[Example]
    rendered: Rendered

    def take(self, positions_K: np.ndarray) -> Rows:
        return Rows([self.examples[i] for i in positions_K], self.rendered.take(positions_K))


@dataclass
class Way:
    """One way to score, with its seconds and its losses so far."""

    run: Callable[[Rows], np.ndarray]  # → (N, 2): loss given the prompt, loss alone
    start: float = 0.0  # seconds before the first row, which are not counted
    seconds: list[float] = field(default_factory=list)
    losses: list[np.ndarray] = field(default_factory=list)

    def time(self, rows: Rows) -> None:
        began = time.perf_counter()
        self.losses.append(self.run(rows))
        self.seconds.append(time.perf_counter() - began - self.start)


def main() -> None:
    options = _options()
    model = find_model(options.model)
    rows = sample(options.pool, options.rows, model, model.window)
    plain = find_model(options.model, precision="float32")
    careful = find_model(options.model, precision=options.careful)
    compiled.WORTH_IT = {} if options.eager else ALWAYS
    network, light = plain.network, careful.network
    warm_up = rows.take(np.arange(min(2, len(rows.examples))))
    fallbacks = modicum_way(model, warm_up.rendered).fallbacks  # loads, and compiles
    start = start_token(model.tokenizer)
    ways = {
        "public way": Way(lambda part: public_way(network, part.rendered, start)),
        "careful loop": Way(lambda part: careful_loop(light, part.rendered, start)),
        "modicum": Way(lambda part: modicum_way(model, part.rendered).losses),
    }
    if not options.eager:
        ways[EAGER] = Way(lambda part: eager_way(model, part.rendered))
    if options.peers and (wana := wana_way(rows, options.model)):
        ways["wana"] = wana
    limits: list[float] = []
    parts = np.array_split(
        np.arange(len(rows.examples)), max(1, len(rows.examples) // options.slice)
    )
    for _ in range(options.repeats):
        for part in parts:
            for way in ways.values():
                way.time(rows.take(part))
            limits.append(matmul_limit(model))
    result = summary(ways, rows.rendered, model, network, limits, options.repeats)
    result["layers"] = "eager" if options.eager else " ".join(fallbacks) or "compiled"
    if options.json:
        print(json.dumps(result, indent=1))
    else:
        show(result)


def spread(path: str, count: int, model: Model, longest: int) -> Rendered:
    """The tokens of `sample`."""
    return sample(path, count, model, longest).rendered


def sample(path: str, count: int, model: Model, longest: int) -> Rows:
    """Rows of a pool that have tokens, and at most `longest`.

    Spread over the pool: one that is sorted by source is not judged by its first source.
    """
    pool = Pool.read(path)
    pool = pool.take(np.unique(np.linspace(0, len(pool) - 1, count).astype(int)))
    rows = Rows(list(pool), Meter(model).rendered(pool))
    lengths_N = rows.rendered.lengths_N
    return rows.take(np.flatnonzero((lengths_N > 0) & (lengths_N <= longest)))


def public_way(network: PreTrainedModel, rows: Rendered, start: int) -> np.ndarray:
    """Whole row, prompt and answer, one after the other, with full logits."""
    losses = []
    for i in range(len(rows)):
        tokens = (a.astype(np.int64) for a in rows.row(i))
        ids_T, kinds_T = (torch.as_tensor(a, device=network.device) for a in tokens)
        labels_T = torch.where(kinds_T == ANSWER, ids_T, -100)
        answer_T = torch.cat([ids_T.new_tensor([start]), ids_T[kinds_T == ANSWER]])
        with torch.inference_mode():
            given = {"input_ids": ids_T[None], "labels": labels_T[None]}
            whole = network(**given, output_hidden_states=True).loss
            network(input_ids=ids_T[kinds_T != ANSWER][None])
            alone = network(input_ids=answer_T[None], labels=answer_T[None]).loss
        losses.append((float(whole), float(alone)))
    return np.array(losses)


def careful_loop(network: PreTrainedModel, rows: Rendered, start: int) -> np.ndarray:
    """Two passes, logits where an answer token is predicted."""
    losses = []
    for i in range(len(rows)):
        ids_T, kinds_T = rows.row(i)
        alone_T = np.concatenate([[start], ids_T[kinds_T == ANSWER]])
        whole = _loss(network, ids_T, np.flatnonzero(kinds_T == ANSWER))
        losses.append((whole, _loss(network, alone_T, np.arange(1, len(alone_T)))))
    return np.array(losses)


def _loss(network: PreTrainedModel, ids_T: np.ndarray, at_M: np.ndarray) -> float:
    tokens_T = torch.as_tensor(ids_T.astype(np.int64), device=network.device)
    before_M = torch.as_tensor(at_M - 1, device=network.device)
    with torch.inference_mode():
        # The last hidden states are on the way to the logits and cost nothing more.
        logits_MV = network(input_ids=tokens_T[None], logits_to_keep=before_M).logits[0]
        return float(torch.nn.functional.cross_entropy(logits_MV.float(), tokens_T[at_M]))


@dataclass(frozen=True)
class Measured:
    """What Modicum measured, and what it had to do the slower way."""

    losses: np.ndarray
    fallbacks: list[str]


def modicum_way(model: Model, rows: Rendered) -> Measured:
    """What `modicum score --with ifd` does after rendering, into an empty store."""
    wants, ledger = (Loss(), Loss(prompt=False), HiddenState()), Ledger()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(rows, wants, model, Store(Path(folder)), ledger)
    return Measured(np.stack([found[want] for want in wants[:2]], axis=1), ledger.fallbacks)


def eager_way(model: Model, rows: Rendered) -> np.ndarray:
    """`modicum_way` with layers that are not compiled."""
    before, compiled.WORTH_IT = compiled.WORTH_IT, {}
    try:
        return modicum_way(model, rows).losses
    finally:
        compiled.WORTH_IT = before


def wana_way(rows: Rows, model: str | None) -> Way | None:
    """`wana score` with the seconds it takes to begin; None, and why, where it cannot be had."""
    if model is not None or (found := shutil.which("wana")) is None:
        why = "reads the embedded model only" if model else "is not on the PATH"
        print(f"note: wana {why}; it is left out", file=sys.stderr)
        return None
    longest = str(max(2048, int(rows.rendered.lengths_N.max()) + 64))
    way = Way(lambda part: wana_losses(found, part.examples, longest))
    once, twice = Way(way.run), Way(way.run)
    for _ in range(3):
        once.time(rows.take(np.array([0])))
        twice.time(rows.take(np.array([0, 0])))
    # What a second row adds is what a row takes; the rest comes before the first.
    way.start = max(0.0, 2 * min(once.seconds) - min(twice.seconds))
    return way


def wana_losses(found: str, examples: Sequence[Example], longest: str) -> np.ndarray:
    with tempfile.TemporaryDirectory() as folder:
        given, made = Path(folder) / "rows.jsonl", Path(folder) / "scored.jsonl"
        turns = [[{"role": t.role, "content": t.content} for t in one.turns] for one in examples]
        lines = [json.dumps({"messages": each}) + "\n" for each in turns]
        given.write_text("".join(lines), encoding="utf-8")
        words = ["score", str(given), "-o", str(made), "--max-tokens", longest]
        subprocess.run([found, *words], check=True, stdout=subprocess.DEVNULL)
        scored = [json.loads(line) for line in made.read_text(encoding="utf-8").splitlines()]
    told = [row["wana"]["scores"] for row in scored]
    return np.array([(one["conditional_nll"], one["unconditional_nll"]) for one in told])


def matmul_limit(model: Model) -> float:
    """Floating-point operations a second of bare matrix products of the model's shapes."""
    wide, inner = model.text_config.hidden_size, model.text_config.intermediate_size
    x = torch.randn(4096, wide, dtype=model.dtype, device=model.device)
    # As many matrices as a model has, one after the other: one alone would stay in the cache.
    ups = [torch.randn(inner, wide, dtype=model.dtype, device=model.device) for _ in range(32)]
    began = time.perf_counter()
    for up in ups:
        torch.nn.functional.linear(x, up)
    if model.device.type == "cuda":
        torch.cuda.synchronize()
    return 2.0 * len(ups) * len(x) * wide * inner / (time.perf_counter() - began)


def work(rows: Rendered, network: PreTrainedModel) -> float:
    """Operations of IFD's two passes: 2 a weight a token, the head at answers only."""
    output: Any = network.get_output_embeddings()  # type: ignore[no-untyped-call]
    head = int(output.weight.numel())
    answers = int(rows.answer_lengths_N.sum())
    tokens = int(rows.lengths_N.sum()) + answers + len(rows)
    return compiled.operations(network, tokens) + 4.0 * head * answers


def summary(
    ways: dict[str, Way],
    rows: Rendered,
    model: Model,
    network: PreTrainedModel,
    limits: list[float],
    repeats: int,
) -> dict[str, Any]:
    # Of each slice the median over the repeats; slices in order, repeats outermost.
    seconds = {
        name: float(np.median(np.reshape(way.seconds, (repeats, -1)), axis=0).sum())
        for name, way in ways.items()
    }
    losses = {name: np.concatenate(way.losses) for name, way in ways.items()}
    gap = np.abs(losses["modicum"] - losses["public way"])
    single = np.bincount(answers_alone(rows, 0)[1], minlength=len(rows)) == 1
    alone = gap[:, 1][np.tile(single, repeats)]  # the public way knows one answer a row
    limit = float(np.median(limits))
    found = {
        "rows": len(rows),
        "repeats": repeats,
        "tokens": int(rows.lengths_N.sum()),
        "model": model.name,
        "precision": str(model.dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "rows_per_second": {name: len(rows) / s for name, s in seconds.items()},
        "ratio_to_public_way": seconds["public way"] / seconds["modicum"],
        "ratio_to_careful_loop": seconds["careful loop"] / seconds["modicum"],
        "matmul_limit_gflops": limit / 1e9,
        "share_of_matmul_limit": work(rows, network) / seconds["modicum"] / limit,
        "max_loss_difference": float(max(gap[:, 0].max(), alone.max())),
        "mean_loss_difference": float(np.concatenate([gap[:, 0], alone]).mean()),
    }
    if EAGER in seconds:
        found["without_compiler"] = work(rows, network) / seconds[EAGER] / limit
    if "wana" in seconds:
        ifd = {name: each[: len(rows), 0] / each[: len(rows), 1] for name, each in losses.items()}
        found["ratio_to_wana"] = seconds["wana"] / seconds["modicum"]
        found["wana_start_seconds"] = ways["wana"].start
        found["ifd_rank_correlation"] = {  # with the public way's
            name: float(spearmanr(ifd[name], ifd["public way"]).statistic)
            for name in ("modicum", "wana")
        }
    return found


def show(result: dict[str, Any]) -> None:
    out = Console(highlight=False, width=100)
    out.print(
        f"IFD and hidden states of {result['rows']} rows ({result['tokens']:,} tokens), "
        f"medians of {result['repeats']}, {result['model']}, {result['threads']} threads, "
        f"layers: {result['layers']}"
    )
    table = Table("way", "rows/s", "Modicum is faster by")
    for name, rate in result["rows_per_second"].items():
        ratio = result["rows_per_second"]["modicum"] / rate
        table.add_row(name, f"{rate:.2f}", "" if name == "modicum" else f"{ratio:.2f} ×")
    out.print(table)
    out.print(
        f"matrix products: {result['matmul_limit_gflops']:,.0f} GFLOP/s in {result['precision']}; "
        f"Modicum reaches {result['share_of_matmul_limit']:.0%} of it\n"
        f"loss differs from float32 by {result['max_loss_difference']:.4f} nats at most, "
        f"{result['mean_loss_difference']:.4f} on average"
    )
    if share := result.get("without_compiler"):
        out.print(f"without a compiler it reaches {share:.0%} of the matrix products")
    if alike := result.get("ifd_rank_correlation"):
        told = ", ".join(f"{name} {each:.4f}" for name, each in alike.items())
        out.print(f"rank correlation of IFD with the public way's: {told}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pool", default=str(EXAMPLE), help="rows to score")
    parser.add_argument("--rows", type=int, default=64, help="how many of them")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--slice", type=int, default=64, help="rows between two turns")
    parser.add_argument("--eager", action="store_true", help="layers not compiled")
    parser.add_argument("--peers", action="store_true", help="wana too, if it is on the PATH")
    parser.add_argument("--careful", default="auto", help="the careful loop's precision")
    parser.add_argument("--model", default=None)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
