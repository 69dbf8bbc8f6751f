"""Results about several tasks for people, on a terminal."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from modicum.jobs.folders import Done
from modicum.jobs.replay import Mixed
from modicum.jobs.stream import RECORD
from modicum.runs import read_object
from modicum.show import console, notes

_LEGEND = {
    "RG": "relative gain, % of single-task experts",
    "AP": "average performance",
    "BWT": "backward transfer",
    "F": "forgetting",
}
_NUMBERS = tuple(_LEGEND)  # that fit a terminal


def mixed(done: Mixed) -> None:
    """What is replayed of each old task and why so much, and where the mixed file lies."""
    out, counts = console(), done.manifest["counts"]
    if done.again:
        out.print("finished before; nothing was done")
    out.print(
        f"{counts['new']:,} new rows and {counts['replayed']:,} replayed "
        f"({counts['tokens_new']:,} and {counts['tokens_replayed']:,} tokens)"
    )
    if counts["rejected"]:
        out.print(f"{counts['rejected']:,} rows rejected ({escape(done.path.name)}.rejected.jsonl)")
    for reason, rows in counts["left_out"].items():
        out.print(f"{rows:,} left out: {escape(reason)}")
    rows = [
        (t["task"], f"{t['available']:,}", _short(t["weight"]), _percent(t["share"]), t["replayed"])
        for t in done.manifest["tasks"]
    ]
    out.print(_table(("old task", "rows", "weight", "share", "replayed"), rows))
    if "tags" in done.manifest:
        out.print(escape(_tags(done.manifest["tags"])))
    notes(out, done)
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
    counts, measures = done.manifest["counts"], record["measures"]
    if counts["rejected"]:
        out.print(f"{counts['rejected']:,} rows rejected (rejected.jsonl)")
    for reason, rows in counts["left_out"].items():
        out.print(f"{rows:,} left out: {escape(reason)}")
    for arm in record["arms"]:
        if arm["seed"] == record["arms"][0]["seed"]:
            _matrix(out, arm, measures[-1])
    _means(out, record, measures[-1])
    _differences(out, record)
    ledger = done.manifest["ledger"]
    out.print(
        f"{ledger['backward_tokens']:,} tokens trained on, {ledger['forward_tokens']:,} forward, "
        f"{ledger['generated_tokens']:,} generated, {sum(ledger['seconds'].values()):,.0f} s"
    )
    notes(out, done)
    out.print(escape(str(done.folder / RECORD)))


def _means(out: Console, record: dict[str, Any], measure: str) -> None:
    """One line a method and order."""
    chosen = [row for row in record["summary"] if row["measure"] == measure]
    shown = [name for name in _NUMBERS if any(row[name] for row in chosen)]
    rows = [
        (r["method"], r["order"], *(_mean(r[n]) for n in shown), _most_forgotten(record, r))
        for r in chosen
    ]
    turned = " (of −loss: higher is better)" if measure == "loss" else ""
    out.print(f"{measure}{turned}: means over seeds ± standard deviations; all that was")
    out.print("measured, and every order and seed, stands in the file named below")
    out.print(_table(("method", "order", *shown, "most forgotten"), rows))
    legend = (f"{name} {_LEGEND[name]}" for name in shown)
    out.print("; ".join(legend))


def _differences(out: Console, record: dict[str, Any]) -> None:
    """Every pair of methods over all orders, by every measure and number."""
    if not record["pairs"]:
        return
    over = record["pairs"][-1]["order"]  # "all", or the only one
    of = "" if record["pairs"][-1]["seeds"] > 1 else "; one seed: of the tested rows alone"
    out.print(f"differences at the end, higher is better, 95 % intervals{of}")
    rows = [
        (
            " − ".join(pair["methods"]),
            pair["measure"],
            pair["number"],
            f"{pair['difference']:+.3g}",
            f"{pair['low']:+.3g} to {pair['high']:+.3g}",
        )
        for pair in record["pairs"]
        if pair["order"] == over
    ]
    out.print(_table(("methods", "measure", "of", "difference", "interval"), rows))


def _most_forgotten(record: dict[str, Any], row: dict[str, Any]) -> str:
    """The task that fell most from its best, on average over the arms of a line."""
    fallen: dict[str, list[float]] = {}
    for arm in record["arms"]:
        if arm["method"] == row["method"] and row["order"] in (arm["order"], "all"):
            for task, fall in arm["metrics"][row["measure"]]["forgotten"].items():
                fallen.setdefault(task, []).append(fall)
    means = {task: sum(falls) / len(falls) for task, falls in fallen.items()}
    worst = max(means, key=lambda task: means[task])
    return f"{worst} {means[worst]:.3g}" if means[worst] > 0 else "none"


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
    return read_object(done.folder / RECORD)


def _tags(tags: dict[str, Any]) -> str:
    return (
        f"tags by {tags['tagger']}: {tags['per_instruction']:.1f} an instruction, "
        f"{tags['merged']:,} in all, {tags['merged_used_once']:.0%} of them used once"
    )


def _table(heads: tuple[str, ...], rows: list[tuple[Any, ...]]) -> Table:
    table = Table(box=box.SIMPLE, pad_edge=False)
    for place, head in enumerate(heads):
        numeric = bool(rows) and all(str(row[place])[:1] in "0123456789+-" for row in rows)
        fixed = numeric or place == 0
        table.add_column(head, justify="right" if numeric else "left", no_wrap=fixed)
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
