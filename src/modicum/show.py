"""Results for people, on a terminal."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from modicum import visible
from modicum.catalogue import besides, in_words
from modicum.jobs.folders import Done
from modicum.jobs.replay import Mixed
from modicum.runs import read_object
from modicum.selection.memory import shown

_LONGEST = 300  # characters of a name, a reason or a note
_ARMS = 24  # named of a plan
_WIDE = 100  # where output is not a terminal, lines are not folded to 80


def scores(done: Done) -> None:
    """How the scores are spread, and where they lie."""
    import numpy as np
    import pyarrow.parquet as pq

    out = console()
    counts(out, done)
    rows = pq.read_table(done.folder / "rows.parquet")
    table = Table(box=box.SIMPLE, pad_edge=False)
    for heading in ("score", "rows", "5 %", "50 %", "95 %"):
        table.add_column(heading, justify="left" if heading == "score" else "right")
    for name in done.manifest["scores"]:
        values_M = np.asarray(rows[name].drop_null().to_numpy())
        spread = np.percentile(values_M, [5, 50, 95]) if len(values_M) else []
        table.add_row(name, f"{len(values_M):,}", *(f"{value:.4g}" for value in spread))
    out.print(table)
    notes(out, done)
    out.print(escape(str(done.folder / "rows.parquet")))


def training(done: Done) -> None:
    """What was trained on, how the loss went, and where the model lies."""
    out = console()
    counts(out, done)
    record = read_object(done.folder / "training.json")
    curve = record["loss_curve"]
    out.print(
        f"{record['steps']:,} steps, {record['tokens_seen']:,} tokens "
        f"({record['answer_tokens_seen']:,} of answers), {record['parameters_trained']:,} of "
        f"{record['parameters']:,} parameters"
    )
    if len(curve) > 1:
        out.print(f"loss {curve[0]['loss']:.3f} at first, {curve[-1]['loss']:.3f} at last")
    out.print(escape(str(done.folder)))


def plan(found: dict[str, Any]) -> None:
    """What a command would do: its work, and what that would take."""
    out = console()
    table = Table(box=box.SIMPLE, pad_edge=False)
    for heading in ("work", "rows", "tokens"):
        table.add_column(heading, justify="left" if heading == "work" else "right")
    for work in found["work"]:
        times = f", {work['times']:,} times" if "times" in work else ""
        table.add_row(work["stage"] + times, f"{work['rows']:,}", f"{work['tokens']:,}")
    if arms := found.get("arms"):
        more = f", … and {len(arms) - _ARMS} more" if len(arms) > _ARMS else ""
        out.print(f"{len(arms):,} arms: {plain(', '.join(arms[:_ARMS]))}{more}")
    out.print(table)
    rates, seconds = found["calibration"], found["seconds"]
    told = {
        "forward": rates["forward_tokens_per_second"],
        "trained": rates["trained_tokens_per_second"],
    }
    if speeds := [f"{rate:,.0f} tokens/s {how}" for how, rate in told.items() if rate]:
        out.print(", ".join(speeds))
    out.print(
        f"about {seconds['total']:,.0f} s: {seconds['measure']:,.0f} measuring, "
        f"{seconds['train']:,.0f} training"
    )
    out.print(
        f"memory {found['memory_bytes'] / 2**30:.1f} GiB in the calibration; "
        f"disk {found['disk_bytes'] / 2**30:.1f} GiB at most"
    )
    for need in found.get("selectors", ()):
        out.print(
            f"{need['selector']} will take at most {shown(need['bytes'])} beside vectors of "
            f"{shown(need['vectors_bytes'])}; it may take {shown(found['memory_limit_bytes'])}"
        )


def report(found: Any) -> None:
    """What `check` found."""
    from modicum.check import print_report

    print_report(found, console())


def methods(found: list[dict[str, Any]]) -> None:
    """A paragraph a method; or, of a single one, all it says of itself."""
    out = console()
    if len(found) > 1:
        for each in found:
            commands = ", ".join(each["for"])
            out.print(
                f"[bold]{escape(each['name'])}[/bold]  {escape(each['paper'])}; for {commands}"
            )
            for key in ("needs", "cost", "fails"):
                out.print(f"  {key}: {escape(each[key])}")
            out.print(f"  evidence: {escape(in_words(each['evidence']))}", end="\n\n")
        for option, names in besides().items():
            out.print(f"{escape(option)}NAME: {', '.join(names)}")
        out.print("modicum methods NAME says more of one")
        return
    for key in ("name", "does", "paper", "needs", "cost", "fails"):
        out.print(f"[bold]{key}[/bold]  {escape(found[0][key])}")
    out.print(f"[bold]evidence[/bold]  {escape(in_words(found[0]['evidence']))}")
    for key in ("options", "replay_options"):
        if key in found[0]:
            options = ", ".join(f"{name}={value}" for name, value in _flat(found[0][key]))
            out.print(f"[bold]{key.replace('_', ' ')}[/bold]  {escape(options) or 'none'}")


def console() -> Console:
    """Where results go: as wide as the terminal, or wide enough for a file."""
    out = visible.console()
    return out if out.is_terminal else visible.console(_WIDE)


def counts(out: Console, done: Done) -> None:
    """What came in, what was left out and picked, and what it cost."""
    if done.again:
        out.print("finished before; nothing was done")
    rows = done.manifest["counts"]
    words = [f"{rows['kept']:,} rows"]
    if rows["rejected"]:
        words.append(f"{rows['rejected']:,} rejected (rejected.jsonl)")
    words += [f"{number:,} {reason}" for reason, number in rows["left_out"].items()]
    if "picked" in rows:
        share = rows["tokens_picked"] / max(1, rows["tokens"])
        words.append(f"{rows['picked']:,} picked, {share:.1%} of the tokens")
    out.print(escape("; ".join(words)))
    ledger = done.manifest["ledger"]
    seconds = sum(ledger["seconds"].values())
    trained = ledger["backward_tokens"]
    out.print(
        f"{ledger['forward_tokens']:,} tokens forward, "
        + (f"{trained:,} trained on, " if trained else "")
        + f"{ledger['rows_reused']:,} measurements "
        f"reused, {seconds:.1f} s"
    )


def notes(out: Console, done: Done | Mixed) -> None:
    """What the run has to say beside its results."""
    for note in done.manifest.get("notes", ()):
        out.print(f"note: {plain(note)}")


def plain(text: str, most: int | None = _LONGEST) -> str:
    """Text of a row or about it, on one line, without what a terminal or rich would obey."""
    shown = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    if most is not None and len(shown) > most:
        shown = shown[: most - 1].rstrip() + "…"
    return escape(shown)


def _flat(options: dict[str, Any]) -> list[tuple[str, Any]]:
    """Options, those of a view or score after the one that chooses it."""
    flat: list[tuple[str, Any]] = []
    for key, value in options.items():
        if isinstance(value, dict):
            flat.append((key, value["name"]))
            flat += [(k, v) for k, v in value.items() if k != "name"]
        else:
            flat.append((key, value))
    return flat
