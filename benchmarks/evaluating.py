"""How fast is evaluating? Likelihoods of given options, and answers that the model writes.

options        every row's prompt with each of the pool's commonest answers behind it (the labels,
               where the pool is of a classification task): by `option_losses`, which reads a prompt
               once, and by `measure`, which reads it with each option, as harnesses do
generation     `generate`, and the same through the cache that transformers makes by default,
               where every row is computed until the last of its batch has ended

The two ways of each take turns, a slice of the rows at a time.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # for all ways, as the command line does

import numpy as np
from rich.console import Console
from rich.table import Table

from modicum import Pool, find_model, generation
from modicum.evaluation.options import option_losses
from modicum.ledger import Ledger
from modicum.measure import measure
from modicum.meter import Meter
from modicum.models import Model
from modicum.render import ANSWER, TEMPLATE, Rendered
from modicum.store import Store
from modicum.wants import Loss

EXAMPLE = Path(__file__).parent.parent / "examples" / "pool.jsonl"


def main() -> None:
    asked = _options()
    pool, model = Pool.read(asked.pool), find_model(asked.model)
    every = Meter(model).rendered(pool)
    options = commonest_answers(pool, every, asked.options)
    single = [i for i in range(len(pool)) if len(prompt(every, i)) and len(pool[i].turns) <= 3]
    longest = model.window - max(len(option_T) for option_T in options) - asked.new_tokens
    short = np.array([i for i in single if len(prompt(every, i)) <= longest])
    rows = every.take(short[np.unique(np.linspace(0, len(short) - 1, asked.rows).astype(int))])
    result = {
        "rows": len(rows),
        "repeats": asked.repeats,
        "model": model.name,
        "precision": str(model.dtype).removeprefix("torch."),
        "options": compared_options(rows, options, model, asked),
        "generation": compared_generation(rows, model, asked),
    }
    if asked.json:
        print(json.dumps(result, indent=1))
    else:
        show(result)


def prompt(rendered: Rendered, row: int) -> np.ndarray:
    ids_T, kinds_T = rendered.row(row)
    return ids_T[: int(np.argmax(kinds_T == ANSWER))]


def commonest_answers(pool: Pool, rendered: Rendered, most: int) -> list[np.ndarray]:
    """Of equally common ones the shortest, with the token that ends their turn."""
    first: dict[str, int] = {}
    for i in np.flatnonzero(rendered.answer_lengths_N):
        first.setdefault(pool[int(i)].turns[-1].content, int(i))
    often = Counter(example.turns[-1].content for example in pool)
    order = sorted(first, key=lambda text: (-often[text], rendered.answer_lengths_N[first[text]]))
    answers = [rendered.row(first[text]) for text in order[:most]]
    return [ids_T[kinds_T == ANSWER] for ids_T, kinds_T in answers]


def compared_options(
    rows: Rendered, options: list[np.ndarray], model: Model, asked: argparse.Namespace
) -> dict[str, Any]:
    def shared(part: Rendered, ledger: Ledger) -> np.ndarray:
        prompts = [prompt(part, i) for i in range(len(part))]
        return option_losses(prompts, [options] * len(prompts), model, ledger).loss_M

    def whole(part: Rendered, ledger: Ledger) -> np.ndarray:
        behind = rows_of_options(part, options)
        with tempfile.TemporaryDirectory() as folder:
            mean_M = measure(behind, [Loss()], model, Store(Path(folder)), ledger)[Loss()]
        return mean_M.astype(np.float64) * behind.answer_lengths_N

    found = turns({"shared": shared, "a row per option": whole}, rows, asked)
    gap_M = np.abs(found["shared"].pop("values") - found["a row per option"].pop("values"))
    tokens = np.tile([len(option_T) for option_T in options], len(rows))
    return {
        "options": len(options),
        "option_tokens": int(tokens.sum()) // len(rows),
        "prompt_tokens": sum(len(prompt(rows, i)) for i in range(len(rows))) / len(rows),
        "ways": found,
        "tokens_ratio": found["a row per option"]["tokens"] / found["shared"]["tokens"],
        "ratio": found["a row per option"]["seconds"] / found["shared"]["seconds"],
        "max_loss_difference": float((gap_M / tokens).max()),  # a token
    }


def rows_of_options(rows: Rendered, options: list[np.ndarray]) -> Rendered:
    ids, kinds, lengths = list[np.ndarray](), list[np.ndarray](), list[int]()
    for prompt_T in (prompt(rows, i) for i in range(len(rows))):
        for option_T in options:
            ids += [prompt_T, option_T]
            kinds += [np.full(len(prompt_T), TEMPLATE), np.full(len(option_T), ANSWER)]
            lengths.append(len(prompt_T) + len(option_T))
    starts = np.concatenate([[0], np.cumsum(lengths)])
    return Rendered(np.concatenate(ids), np.concatenate(kinds).astype(np.uint8), starts)


def compared_generation(rows: Rendered, model: Model, asked: argparse.Namespace) -> dict[str, Any]:
    def ours(part: Rendered, ledger: Ledger) -> list[str]:
        return generation.generate(part, model, ledger, max_new_tokens=asked.new_tokens).answers

    def plain(part: Rendered, ledger: Ledger) -> list[str]:
        room, generation._room = generation._room, lambda network, tokens: None
        try:
            return ours(part, ledger)
        finally:
            generation._room = room

    found = turns({"modicum": ours, "default cache": plain}, rows, asked)
    same = np.mean(np.array(found["modicum"].pop("values")) == found["default cache"].pop("values"))
    return {
        "new_tokens": asked.new_tokens,
        "ways": found,
        "ratio": found["default cache"]["seconds"] / found["modicum"]["seconds"],
        "same_answers": float(same),
    }


def turns(
    ways: dict[str, Callable[[Rendered, Ledger], Any]], rows: Rendered, asked: argparse.Namespace
) -> dict[str, Any]:
    """Seconds (the median over repeats), tokens sent through the model, and values of each way."""
    for way in ways.values():
        way(rows.take([0]), Ledger())  # loads the weights
    seconds: dict[str, list[float]] = {name: [0.0] * asked.repeats for name in ways}
    ledgers, values = {name: Ledger() for name in ways}, {name: list[Any]() for name in ways}
    for repeat in range(asked.repeats):
        for part in np.array_split(np.arange(len(rows)), max(1, len(rows) // asked.slice)):
            for name, way in ways.items():
                began = time.perf_counter()
                told = way(rows.take(part), ledgers[name])
                seconds[name][repeat] += time.perf_counter() - began
                values[name].extend(told if repeat == 0 else [])
    return {
        name: {
            "seconds": statistics.median(seconds[name]),
            "tokens": (ledger.forward_tokens + ledger.generated_tokens) // asked.repeats,
            "padding": ledger.padding_tokens // asked.repeats,
            "values": np.array(values[name]),
        }
        for name, ledger in ledgers.items()
    }


def show(result: dict[str, Any]) -> None:
    out = Console(highlight=False, width=100)
    out.print(f"{result['rows']} rows, {result['model']}, {result['precision']}")
    table = Table("what", "way", "s", "tokens", "padding", "Modicum is faster by")
    for what in ("options", "generation"):
        for place, (name, way) in enumerate(result[what]["ways"].items()):
            ratio = f"{result[what]['ratio']:.2f} ×" if place else ""
            counts = f"{way['tokens']:,}", f"{way['padding']:,}"
            table.add_row(what, name, f"{way['seconds']:.2f}", *counts, ratio)
    out.print(table)
    options, written = result["options"], result["generation"]
    out.print(
        f"{options['options']} options a row; losses differ by {options['max_loss_difference']:.4f}"
        f" nats a token at most\nanswers of {written['new_tokens']} tokens at most; "
        f"{written['same_answers']:.0%} are the same"
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pool", default=str(EXAMPLE), help="rows of one turn")
    parser.add_argument("--rows", type=int, default=16, help="how many of them")
    parser.add_argument("--options", type=int, default=77, help="of a row, at most")
    parser.add_argument("--new-tokens", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--slice", type=int, default=8, help="rows a turn")
    parser.add_argument("--model", default=None)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
