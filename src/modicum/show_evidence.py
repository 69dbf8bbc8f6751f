"""A comparison for people, on a terminal."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from modicum.evidence.arms import FULL
from modicum.evidence.exam import JUDGED
from modicum.jobs.compare import RECORD
from modicum.jobs.folders import Done
from modicum.runs import read_object
from modicum.show import console, notes

_PAIR = ("method", "against", "budget", "difference", "interval", "p", "verdict", "seen from")
_BESIDE = ("bits_per_byte", "choice_normalised", "judge_score")


def told(done: Done) -> dict[str, Any]:
    """A finished comparison for machines: `compare.json` without the values of single rows."""
    record = read_object(done.folder / RECORD)
    arms = [{k: v for k, v in arm.items() if k != "values"} for arm in record["arms"]]
    untuned = {k: v for k, v in record["untuned"].items() if k != "values"}
    counts = done.manifest["counts"]
    return {**done.to_json(), "counts": counts, **record, "arms": arms, "untuned": untuned}


def compared(done: Done) -> None:
    """Every method's rows, tokens and marks; which differences are shown; what was spent."""
    out, record = console(), read_object(done.folder / RECORD)
    if done.again:
        out.print("finished before; nothing was done")
    pool, exam = record["pool"], record["evaluation"]
    out.print(f"{pool['rows']:,} rows to choose from, {exam['rows']:,} held out")
    for where, about in (("", pool), ("of --eval ", exam)):
        if about["rejected"]:
            out.print(f"{about['rejected']:,} bad rows {where}set aside (rejected.jsonl)")
        for reason, rows in about["left_out"].items():
            out.print(f"{rows:,} {where}left out: {escape(reason)}")
    for note in dict.fromkeys(note for arm in record["arms"] for note in arm["notes"]):
        out.print(f"note: {escape(note)}")
    _missing(out, record)
    _methods(out, record)
    _pairs(out, record)
    _retention(out, record)
    ledger = done.manifest["ledger"]
    out.print(
        f"{ledger['backward_tokens']:,} tokens trained on, {ledger['forward_tokens']:,} forward, "
        f"{sum(ledger['seconds'].values()):,.0f} s in its stages"
    )
    notes(out, done)
    out.print(escape(str(done.folder / RECORD)))


def _missing(out: Console, record: dict[str, Any]) -> None:
    """Values that could not be had, and answers that were cut."""
    marks, rows = [record["untuned"], *record["arms"]], record["evaluation"]["rows"]
    for name in dict.fromkeys(name for each in marks for name in each["missing"]):
        least, most = _ends([each["missing"].get(name, 0) for each in marks])
        out.print(f"{name}: {least} to {most} of {rows:,} rows have no value, by model")
    if cut := [each["cut"] for each in marks if each["cut"] is not None]:
        least, most = _ends(cut)
        out.print(
            f"answers cut at --max-new-tokens: {least} to {most} of {rows:,}, by model; a longer "
            "limit changes exact, rouge_l and judge"
        )
    if chosen := record["untuned"]["about"].get("choice"):
        gathered = chosen["gathered"]
        of = f"; of {gathered:,} rows the choices are their task's answers" if gathered else ""
        out.print(f"guessing would reach {chosen['by_chance']:.3f} in choice{of}")


def _ends(counts: list[int]) -> tuple[str, str]:
    return f"{min(counts):,}", f"{max(counts):,}"


def _methods(out: Console, record: dict[str, Any]) -> None:
    before = record["untuned"]["metrics"]
    shown = [*record["measures"], *(name for name in JUDGED if name in before)]
    alike = "epochs" if record["match"] == "epochs" else f"{record['steps']:,} steps"
    ways = "; ".join(f"{name}: {way} is better" for name, way in record["measures"].items())
    several = any(len(line["seeds"]) > 1 for line in record["summary"])
    over = "means over seeds ± standard deviations" if several else "one seed"
    out.print(f"all arms alike in {alike}; {over}")
    out.print(ways)
    untuned = (_mean({"mean": before.get(name), "sd": None}) for name in shown)
    rows = [("untuned", "", "", "", "", *untuned)]
    for line in record["summary"]:
        figures = (f"{line[key]:,.0f}" for key in ("rows", "tokens", "steps"))
        cells = (_mean(line["metrics"].get(name)) for name in shown)
        rows.append((line["method"], line["budget"] or "all", *figures, *cells))
    out.print(_table(("method", "budget", "rows", "tokens", "steps", *shown), rows))


def _pairs(out: Console, record: dict[str, Any]) -> None:
    seeds = {pair["seeds"] for pair in record["pairs"]}
    for name in _mains(record):
        out.print(
            f"differences in {name}: an interval of 95 % for each alone; p and the verdict on it"
        )
        out.print("are adjusted for all arms that are compared with one another (Holm)")
        if seeds == {1}:
            out.print("one seed: an anecdote, about the held-out rows alone")
        rows = [
            (
                *pair["methods"],
                pair["budget"],
                _signed(pair["difference"]),
                f"{_signed(pair['low'])} to {_signed(pair['high'])}",
                "?" if pair["p_holm"] is None else f"{pair['p_holm']:.3f}",
                pair["verdict"] + (" (one seed)" if pair["anecdote"] and seeds != {1} else ""),
                "?" if pair["could_have_seen"] is None else f"{pair['could_have_seen']:.4f}",
            )
            for pair in record["pairs"]
            if pair["measure"] == name
        ]
        out.print(_table(_PAIR, rows))
    out.print(
        "seen from: the smallest true difference that is shown four times in five; ? where no "
        "value differs from any other"
    )
    if beside := [name for name in record["measures"] if name in _BESIDE]:
        out.print(f"differences in {', '.join(beside)} stand in the file below")


def _retention(out: Console, record: dict[str, Any]) -> None:
    for name in _mains(record):
        rows = [
            (
                kept["method"],
                kept["budget"],
                _share(kept["share"]),
                f"{_share(kept['low'])} to {_share(kept['high'])}",
            )
            for kept in record["retention"]
            if kept["measure"] == name
        ]
        if rows:
            out.print(f"of the gain in {name} that {FULL}, the whole pool, brings, a subset keeps")
            out.print(_table(("method", "budget", "share", "interval"), rows))
            if all(row[2] == "?" for row in rows):
                out.print("? : the whole pool is not shown to gain")


def _mains(record: dict[str, Any]) -> list[str]:
    """The values that a table is worth; others say nearly the same and stand in the file."""
    return [name for name in record["measures"] if name not in _BESIDE]


def _signed(value: float | None) -> str:
    return "?" if value is None else f"{value:+.4f}"


def _share(share: float | None) -> str:
    return "?" if share is None else f"{share:.0%}"


def _mean(figures: dict[str, Any] | None) -> str:
    if not figures or figures["mean"] is None:
        return ""
    spread = "" if figures["sd"] is None else f" ± {figures['sd']:.4f}"
    return f"{figures['mean']:.4f}{spread}"


def _table(headings: tuple[str, ...], rows: list[tuple[Any, ...]]) -> Table:
    table = Table(box=box.SIMPLE, pad_edge=False)
    for heading in headings:
        words = heading in ("method", "against", "verdict")
        # Names are folded, never cut: two of them may differ at the end alone.
        table.add_column(
            heading,
            justify="left" if words else "right",
            no_wrap=heading == "interval",
            overflow="fold",
        )
    for row in rows:
        table.add_row(*(escape(str(cell)) for cell in row))
    return table
