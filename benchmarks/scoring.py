"""How fast is scoring? IFD and hidden states of the same rows by the same model, in one run.

public way    float32, one row at a time, logits at every position, three passes a row (whole row
              with its hidden states, prompt, answer), as the public IFD script does it
careful loop  one row at a time, two passes, logits only where an answer is predicted, in Modicum's
              precision
modicum       `modicum score --with ifd` with `hidden` beside it, nothing in the store

The three take turns, a slice of the rows at a time, so that a change in the machine's speed meets
all of them. Beside them stands how fast this machine multiplies matrices of the model's shapes,
and which share of that limit Modicum's scoring reaches, counting only what a least implementation
must multiply. Layers are compiled beforehand, as they are for more than some 200,000 tokens;
`--eager` leaves them as they are.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # for all ways, as the command line does
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from transformers import PreTrainedModel

from modicum import Pool, compiled, find_model
from modicum.forward import answers_alone, start_token
from modicum.ledger import Ledger
from modicum.measure import HiddenState, Loss, measure
from modicum.meter import Meter
from modicum.models import Model
from modicum.render import ANSWER, Rendered
from modicum.store import Store

EXAMPLE = Path(__file__).parent.parent / "examples" / "pool.jsonl"


@dataclass
class Way:
    """One way to score, with its seconds and its losses so far."""

    run: Callable[[Rendered], np.ndarray]  # → (N, 2): loss given the prompt, loss alone
    seconds: list[float] = field(default_factory=list)
    losses: list[np.ndarray] = field(default_factory=list)

    def time(self, rows: Rendered) -> None:
        began = time.perf_counter()
        self.losses.append(self.run(rows))
        self.seconds.append(time.perf_counter() - began)


def main() -> None:
    options = _options()
    model = find_model(options.model)
    rows = spread(options.pool, options.rows, model, model.window)
    plain = find_model(options.model, precision="float32")
    careful = find_model(options.model, precision=options.careful)
    compiled.WORTH_IT = {} if options.eager else {"cpu": 0.0, "cuda": 0.0}
    network, light = plain.network, careful.network
    fallbacks = modicum_way(
        model, rows.take(np.arange(min(2, len(rows))))
    ).fallbacks  # loads, and compiles
    start = start_token(model.tokenizer)
    ways = {
        "public way": Way(lambda part: public_way(network, part, start)),
        "careful loop": Way(lambda part: careful_loop(light, part, start)),
        "modicum": Way(lambda part: modicum_way(model, part).losses),
    }
    limits: list[float] = []
    for _ in range(options.repeats):
        for part in np.array_split(np.arange(len(rows)), max(1, len(rows) // options.slice)):
            for way in ways.values():
                way.time(rows.take(part))
            limits.append(matmul_limit(model))
    result = summary(ways, rows, model, network, limits, options.repeats)
    result["layers"] = "eager" if options.eager else " ".join(fallbacks) or "compiled"
    if options.json:
        print(json.dumps(result, indent=1))
    else:
        show(result)


def spread(path: str, count: int, model: Model, longest: int) -> Rendered:
    """Rows of a pool that have tokens, and at most `longest`.

    Spread over the pool: one that is sorted by source is not judged by its first source.
    """
    pool = Pool.read(path)
    chosen = np.unique(np.linspace(0, len(pool) - 1, count).astype(int))
    rows = Meter(model).rendered(pool).take(chosen)
    return rows.take(np.flatnonzero((rows.lengths_N > 0) & (rows.lengths_N <= longest)))


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
    return {
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


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pool", default=str(EXAMPLE), help="rows to score")
    parser.add_argument("--rows", type=int, default=64, help="how many of them")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--slice", type=int, default=64, help="rows between two turns")
    parser.add_argument("--eager", action="store_true", help="layers not compiled")
    parser.add_argument("--careful", default="auto", help="the careful loop's precision")
    parser.add_argument("--model", default=None)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
