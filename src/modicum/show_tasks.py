"""Results about several tasks for people, on a terminal."""

from __future__ import annotations

import json
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from modicum.jobs.folders import Done
from modicum.jobs.replay import Mixed
from modicum.jobs.stream import RECORD
from modicum.show import console

_NUMBERS = ("RG", "RG_mean", "AP", "BWT", "F", "FWT", "LA")


def mixed(done: Mixed) -> None:
    """What is replayed of each old task and why so much, and where the mixed file lies."""
    out, counts = console(), done.manifest["counts"]
    if done.again:
        out.print("finished before; nothing was done")
    out.print(
        f"{counts['new']:,} new rows and {counts['replayed']:,} replayed "
        f"({counts['tokens_new']:,} and {counts['tokens_replayed']:,} tokens)"
    )
    for reason, rows in counts["left_out"].items():
        out.print(f"{rows:,} left out: {escape(reason)}")
    rows = [
        (t["task"], f"{t['available']:,}", _short(t["weight"]), _percent(t["share"]), t["replayed"])
        for t in done.manifest["tasks"]
    ]
    out.print(_table(("old task", "rows", "weight", "share", "replayed"), rows))
    if "tags" in done.manifest:
        out.print(escape(_tags(done.manifest["tags"])))
    for note in done.manifest["notes"]:
        out.print(f"note: {escape(note)}")
    out.print(escape(str(done.path)))


def told(done: Done) -> dict[str, Any]:
    """A finished stream for machines: `stream.json` without the stages of each arm."""
    record = _record(done)
    arms = [{k: v for k, v in arm.items() if k != "stages"} for arm in record["arms"]]
    return {**done.to_json(), **record, "arms": arms}


def streamed(done: Done) -> None:
    """A matrix for each method, its numbers under every order, and how methods differ."""
    out, record = console(), _record(done)
    if done.again:
        out.print("finished before; nothing was done")
    measure = record["measures"][-1]
    for arm in record["arms"]:
        if arm["seed"] == record["arms"][0]["seed"]:
            _matrix(out, arm, measure)
    out.print(f"{measure}: means over seeds ± standard deviations")
    chosen = [row for row in record["summary"] if row["measure"] == measure]
    shown = [name for name in _NUMBERS if any(row[name] for row in chosen)]
    rows = [(r["method"], r["order"], r["arms"], *(_mean(r[n]) for n in shown)) for r in chosen]
    out.print(_table(("method", "order", "arms", *shown), rows))
    if record["pairs"]:
        out.print(f"{measure}: differences at the end, 95 % intervals")
        if any(pair["repetitions"] == 1 for pair in record["pairs"]):
            out.print("with one seed an interval is about the tested rows alone, not other seeds")
        first = record["pairs"][0]["methods"][0]  # all pairs are in stream.json
        rows = [
            (
                " − ".join(pair["methods"]),
                pair["order"],
                pair["number"],
                f"{pair['difference']:+.3g}",
                f"{pair['low']:+.3g} to {pair['high']:+.3g}",
            )
            for pair in record["pairs"]
            if pair["measure"] == measure and pair["methods"][0] == first
        ]
        out.print(_table(("methods", "order", "of", "difference", "interval"), rows))
    ledger = done.manifest["ledger"]
    out.print(
        f"{ledger['backward_tokens']:,} tokens trained on, {ledger['forward_tokens']:,} forward, "
        f"{ledger['generated_tokens']:,} generated, {sum(ledger['seconds'].values()):,.0f} s"
    )
    out.print(escape(str(done.folder / RECORD)))


def _matrix(out: Console, arm: dict[str, Any], measure: str) -> None:
    out.print(f"{escape(arm['name'])}: {measure} of each task after each stage")
    scores = arm["matrix"][measure]
    heads = ("task", *(str(t + 1) for t in range(len(scores))))
    rows = [
        (name, *("" if scores[t][i] is None else f"{scores[t][i]:.3f}" for t in range(len(scores))))
        for i, name in enumerate(arm["tasks"])
    ]
    out.print(_table(heads, rows))


def _record(done: Done) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((done.folder / RECORD).read_text(encoding="utf-8"))
    return found


def _tags(tags: dict[str, Any]) -> str:
    return (
        f"tags by {tags['tagger']}: {tags['per_instruction']:.1f} an instruction, "
        f"{tags['merged']:,} in all, {tags['merged_used_once']:.0%} of them used once"
    )


def _table(heads: tuple[str, ...], rows: list[tuple[Any, ...]]) -> Table:
    table = Table(box=box.SIMPLE, pad_edge=False)
    for place, head in enumerate(heads):
        numeric = bool(rows) and all(str(row[place])[:1] in "0123456789+-" for row in rows)
        table.add_column(head, justify="right" if numeric else "left", no_wrap=numeric)
    for row in rows:
        table.add_row(*(escape(str(cell)) for cell in row))
    return table


def _short(value: float) -> str:
    return f"{value:.4g}"


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.1%}"


def _mean(spread: dict[str, Any] | None) -> str:
    if spread is None:
        return ""
    sd = "" if spread["sd"] is None else f"±{spread['sd']:.2g}"
    return f"{spread['mean']:.3g}{sd}"
