"""A selection, and one row of a run, for people, on a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.markup import escape
from rich.table import Table

from modicum.explain import NO_SCORES
from modicum.jobs.folders import Done
from modicum.show import console, counts, notes, plain

if TYPE_CHECKING:
    import pyarrow as pa

_TEXT = 60  # characters of a row's text
_SOURCES = 4  # whose shares changed most
_KEPT = 300  # characters of a text that a run keeps


def selection(done: Done, exports: Sequence[Path] = ()) -> None:
    """Chosen against pool, the best and the worst pick, and where it all lies."""
    import pyarrow.parquet as pq

    out = console()
    counts(out, done)
    path = done.folder / "rows.parquet"
    told = [name for name in pq.read_schema(path).names if name not in ("id", "reason")]
    out.print(_against_pool(pq.read_table(path, columns=told)))
    out.print(_ends(done.folder, pq.read_table(path, filters=[("picked", "==", True)])))
    notes(out, done)
    for path in [*(done.folder / name for name in done.manifest["subset"]), *exports]:
        out.print(escape(str(path)), soft_wrap=True)


def explained(known: dict[str, Any]) -> None:
    """One row of a run: what it says, its numbers among all, whether it was picked and why."""
    out = console()
    if "position" not in known:
        out.print(f"[bold]{plain(known['where'])}[/bold]")
        out.print(plain(known["why"]))
        return
    out.print(
        f"[bold]{plain(known['id'])}[/bold]  position {known['position']:,} of "
        f"{known['rows']:,}, source {plain(known['source'])}, {known['tokens']:,} tokens"
    )
    if known["why"]:
        out.print(plain(known["why"]))
    if known["order"] is not None:
        gain = "none" if known["gain"] is None else f"{known['gain']:.4g}"
        out.print(f"gain {gain}, round {known['round']:,}")
    if known["text"] is None and known["answer"] is None:
        out.print("text: neither kept in the run, nor to be found in its inputs as they were")
    for name in ("text", "answer"):
        if known[name] is not None:
            cut = "…" if not known["whole_text"] and len(known[name]) >= _KEPT else ""
            out.print(f"[bold]{name}[/bold]  {plain(known[name], None)}{cut}")
    out.print(_places(known["places"]))
    for name, words in (("before", "the pick before"), ("after", "the pick after")):
        if pick := known[name]:
            out.print(f"{words}  #{pick['order'] + 1:,}  {plain(pick['id'])}")
    if near := known["nearest_pick"]:
        away = "" if near["distance"] is None else f", {near['distance']:.4g} away"
        out.print(f"nearest pick  #{near['order'] + 1:,}  {plain(near['id'])}{away}")


def _against_pool(rows: pa.Table) -> Table:
    import pyarrow.compute as pc

    table = Table(box=box.SIMPLE, pad_edge=False)
    for heading in ("", "pool", "chosen", "share"):
        table.add_column(heading, justify="right" if heading else "left")
    chosen = rows.filter(rows["picked"])
    tokens, taken = (pc.sum(each["tokens"]).as_py() or 0 for each in (rows, chosen))
    for name, all_of, some in (
        ("rows", len(rows), len(chosen)),
        ("tokens", tokens, taken),
    ):
        table.add_row(name, f"{all_of:,}", f"{some:,}", f"{some / max(1, all_of):.1%}")
    for name in ["tokens", *(n for n in rows.column_names if n not in NO_SCORES)]:
        medians = (_median(each, name) for each in (rows, chosen))
        table.add_row(f"{plain(name)}, median", *medians, "")
    for name, before, after in _sources(rows, chosen):
        table.add_row(
            f"from {plain(name, 40)}",
            f"{before:,}",
            f"{after:,}",
            _change(before, len(rows), after, len(chosen)),
        )
    return table


def _change(before: int, rows: int, after: int, chosen: int) -> str:
    """How a source's share of the rows changed."""
    return f"{before / max(1, rows):.1%} → {after / max(1, chosen):.1%}"


def _sources(rows: pa.Table, chosen: pa.Table) -> list[tuple[str, int, int]]:
    """The sources whose share of the rows changed most, with their rows in pool and subset."""
    had, have = (_rows_of(each) for each in (rows, chosen))
    if len(had) < 2 or not len(chosen):
        return []
    found = [(name, count, have.get(name, 0)) for name, count in had.items()]
    moved = {name: abs(n / len(rows) - k / len(chosen)) for name, n, k in found}
    return sorted(found, key=lambda each: (-moved[each[0]], each[0]))[:_SOURCES]


def _rows_of(rows: pa.Table) -> dict[str, int]:
    counted = rows["source"].value_counts().to_pylist()
    return {each["values"]: each["counts"] for each in counted}


def _median(rows: pa.Table, name: str) -> str:
    import numpy as np

    values_M = rows[name].drop_null().to_numpy()
    return f"{np.median(values_M):,.4g}" if len(values_M) else "none"


def _ends(folder: Path, picked: pa.Table) -> Table:
    """The pick that went first and the one that went last."""
    table = Table(box=box.SIMPLE, pad_edge=False)
    for heading in ("order", "id", "tokens", "why, and how it begins"):
        table.add_column(heading, justify="right" if heading in ("order", "tokens") else "left")
    picks = picked.sort_by("order")
    ends = picks.take([0, len(picks) - 1][: len(picks)]).to_pylist()
    texts = _texts(folder, [row["position"] for row in ends])
    for row in ends:
        said = [plain(row["reason"] or ""), plain(texts.get(row["position"], ""), _TEXT)]
        cells = (f"#{row['order'] + 1}", plain(row["id"], 40), f"{row['tokens']:,}")
        table.add_row(*cells, "\n".join(filter(None, said)))
    return table


def _texts(folder: Path, positions: Sequence[int]) -> dict[int, str]:
    """How these rows begin, where the run kept it."""
    import pyarrow.parquet as pq

    path = folder / "texts.parquet"
    if not path.exists() or not positions:
        return {}
    kept = pq.read_table(
        path, columns=["position", "text"], filters=[("position", "in", list(positions))]
    )
    return {row["position"]: row["text"] or "" for row in kept.to_pylist()}


def _places(found: dict[str, dict[str, Any]]) -> Table:
    table = Table(box=box.SIMPLE, pad_edge=False)
    for heading in ("", "value", "rank", "percentile"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, at in found.items():
        if at["value"] is None:
            table.add_row(plain(name), "none", "", "")
        else:
            rank = f"{at['rank']:,} of {at['of']:,}"
            table.add_row(plain(name), f"{at['value']:,.4g}", rank, f"{at['percentile']:.1f}")
    return table
