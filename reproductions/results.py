"""docs/results.md out of the results files: every number with its interval and verdict."""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

import diverse_evol
import dolly
import field
import inscl
import known
import lobass
import ltd
import shown
from claims import ROOT, Claim, Row, results

PAGE = ROOT / "docs" / "results.md"
PAPERS = (ltd.CLAIM, diverse_evol.CLAIM, lobass.CLAIM, inscl.CLAIM)
CLAIMS = (known.CLAIM, dolly.CLAIM, field.CLAIM, *PAPERS)
REMARKS = ROOT / "reproductions" / "remarks"  # PAPER.md: what its numbers come to, by hand
NUMBERS = ("RG", "AP", "BWT")

_HEAD = (
    "What the four papers claim, and what came of it here. This page is made by `python "
    "reproductions/results.py` from the files under `reproductions/results/` and "
    "`experiments/results/`, which hold every arm; only what is said under "
    '"What this comes to" is written by hand. A verdict is on the first of two, after Holm\'s '
    'adjustment; "not shown" is not "equal": the last column is the smallest true difference '
    "that would have been shown four times in five. What counts as chance stands in "
    "[compare](compare.md#what-is-shown)."
)
_MANY = 60  # pairs: of more, those are shown that a reader looks for
_WIDE = 110  # characters of a line of prose


def main() -> None:
    """Write the page and what the program tells of it; with `--check` say if the page is so."""
    text = page()
    if "--check" in sys.argv:
        sys.exit(PAGE.read_text(encoding="utf-8") != text)
    PAGE.write_text(text, encoding="utf-8")
    shown.write(CLAIMS)


def page() -> str:
    """The whole page."""
    lines = ["# Results", "", *_prose(_HEAD)]
    for claim in CLAIMS:
        lines += [f"## {claim.title}", "", *_prose(f"**Claim.** {claim.says}")]
        lines += _prose(f"**Scaled down.** {claim.scaled}")
        lines += list(_streams() if claim.paper == "inscl" else _pieces(claim))
        remark = REMARKS / f"{claim.paper}.md"
        if remark.exists():
            lines += _prose(f"**What this comes to.** {remark.read_text(encoding='utf-8')}")
    return "\n".join(lines).rstrip() + "\n"


def _pieces(claim: Claim) -> Iterator[str]:
    found = sorted(results(claim.paper, "").glob("*/*.json"))
    if not found:
        yield from ("No piece is finished yet.", "")
    for path in found:
        record = json.loads(path.read_text(encoding="utf-8"))
        yield f"### {claim.paper}: {path.stem} ({path.parent.name})"
        yield ""
        sizes = f"{record['pool']['rows']:,} rows to choose from, {record['evaluation']['rows']:,}"
        yield from _prose(f"{record['asks']} `{record['line']}`; {sizes} held out.")
        yield from _means(record)
        yield from _choosing(record)
        yield from _pairs(record)
        yield from _retention(record)


def _means(record: Row) -> Iterator[str]:
    shown = list(record["measures"])
    before = [f"{record['untuned']['metrics'][name]:.4f}" for name in shown]
    lines = [("untuned", "", "", "", "", "", *before)]
    for row in record["summary"]:
        sizes = (f"{row[key]:,.0f}" for key in ("rows", "tokens", "steps"))
        cells = (_spread(row["metrics"].get(name)) for name in shown)
        lines.append((row["method"], row["budget"] or "all", len(row["seeds"]), *sizes, *cells))
    yield from _table(("arm", "budget", "seeds", "rows", "tokens", "steps", *shown), lines)


def _choosing(record: Row) -> Iterator[str]:
    """What each choice took beyond what the choices before it had measured already."""
    if not (took := record.get("choosing")):
        return
    names = [row["method"] for row in record["summary"]]
    lines = [
        (
            each["name"],
            *(f"{each[key]:,}" for key in ("forward_tokens", "backward_tokens")),
            f"{each['seconds']:,.0f}",
        )
        for each in sorted(took, key=lambda each: names.index(each["name"]))
    ]
    yield from _prose(
        "What choosing took under the first seed. What one method has measured, the next ones find,"
        " and so does a line that is run again: their figures do not hold it."
    )
    yield from _table(("method", "tokens forward", "trained on", "seconds"), lines)


def _pairs(record: Row) -> Iterator[str]:
    pairs = [pair for pair in record["pairs"] if pair["measure"] != "bits_per_byte"]
    told = [pair for pair in pairs if len(pairs) <= _MANY or _plain(pair)]
    lines = [
        (
            " − ".join(pair["methods"]),
            pair["budget"],
            f"{pair['measure']} ({pair['better']} is better)",
            _signed(pair["difference"]),
            f"{_signed(pair['low'])} to {_signed(pair['high'])}",
            pair["verdict"] + (", one seed" if pair["anecdote"] else ""),
            _signed(pair["could_have_seen"]).removeprefix("+"),
        )
        for pair in told
    ]
    heads = ("pair", "budget", "measure", "difference", "95 % interval", "verdict", "seen from")
    yield from _table(heads, lines)
    if len(told) < len(pairs):
        yield from _prose(
            f"Left out: {len(pairs) - len(told):,} pairs of methods that are neither chance nor "
            "length and of which neither is shown better; the results file has them."
        )


def _plain(pair: Row) -> bool:
    """Whether a pair is one with a baseline, or was shown."""
    return pair["methods"][1] in ("random", "longest") or pair["verdict"] != "not shown"


def _retention(record: Row) -> Iterator[str]:
    lines = [
        (
            kept["method"],
            kept["budget"],
            kept["measure"],
            _share(kept["share"]),
            f"{_share(kept['low'])} to {_share(kept['high'])}",
            f"{kept['seeds']} and {kept['full_seeds']}",
        )
        for kept in record["retention"]
        if kept["measure"] != "bits_per_byte"
    ]
    if lines:
        yield "Share of the whole pool's gain over the untuned model:"
        yield ""
        heads = (
            "arm",
            "budget",
            "measure",
            "share",
            "95 % interval",
            "seeds, and of the whole pool",
        )
        yield from _table(heads, lines)


def _streams() -> Iterator[str]:
    """The tables of the stream, order by order."""
    for name, order in inscl.STREAMS:
        folder = ROOT / "experiments" / "results" / name
        path = folder / f"{order}.json"
        if not path.exists():
            done = len(list((folder / "arms").glob(f"*-{order}-*")))
            yield from (f"{name}, order {order}: {done} of its arms are finished.", "")
            continue
        record = json.loads(path.read_text(encoding="utf-8"))
        yield from (f"### inscl: {name}, order {order}", "")
        yield from (" → ".join(record["arms"][0]["tasks"]), "")
        lines = [
            (row["method"], row["measure"], *(_spread(row[name]) for name in (*NUMBERS, "F")))
            for row in record["summary"]
        ]
        yield from _table(("method", "measure", *NUMBERS, "F"), lines)
        lines = [
            (
                " − ".join(pair["methods"]),
                pair["measure"],
                pair["number"],
                f"{pair['difference']:+.3f}",
                f"{pair['low']:+.3f} to {pair['high']:+.3f}",
            )
            for pair in record["pairs"]
        ]
        yield from _table(("pair", "measure", "of", "difference", "95 % interval"), lines)


def _prose(text: str) -> list[str]:
    """A paragraph, and a blank line behind it."""
    return [*textwrap.wrap(" ".join(text.split()), _WIDE, break_on_hyphens=False), ""]


def _table(heads: Sequence[str], lines: Sequence[Sequence[Any]]) -> Iterator[str]:
    for line in (heads, ["---"] * len(heads), *lines):
        yield f"| {' | '.join(str(cell) for cell in line)} |"
    yield ""


def _spread(figures: Row | None) -> str:
    if not figures or figures["mean"] is None:
        return ""
    return f"{figures['mean']:.4f}" + ("" if figures["sd"] is None else f" ± {figures['sd']:.4f}")


def _signed(value: float | None) -> str:
    return "?" if value is None else f"{value:+.4f}"


def _share(share: float | None) -> str:
    return "?" if share is None else f"{share:.0%}"


if __name__ == "__main__":
    main()
