"""What the results say of each method beside chance and beside length, as the program tells it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import inscl
from claims import ROOT, Claim, results

from modicum.parts import members
from modicum.runs import write_json

FILE = ROOT / "src" / "modicum" / "evidence" / "shown.json"
_AGAINST = ("random", "longest")
_STREAM = "RG"  # the number that streams are compared by


class Verdict(NamedTuple):
    """One comparison of a method with another, by its first measure."""

    method: str
    against: str
    verdict: str
    where: str  # PAPER/PIECE


def shown(claims: Sequence[Claim]) -> dict[str, list[dict[str, object]]]:
    """By method: against what, how often better, worse or not shown, and in which comparisons."""
    known = {*members("modicum.methods"), *members("modicum.replay")}
    counted: dict[tuple[str, str], dict[str, list[str]]] = {}
    for each in [*_compared(claims), *_streamed()]:
        if each.method in known and each.against in _AGAINST:
            of = counted.setdefault((each.method, each.against), {})
            of.setdefault(each.verdict, []).append(each.where)
    told: dict[str, list[dict[str, object]]] = {}
    for method, against in sorted(counted, key=lambda pair: (pair[0], _AGAINST.index(pair[1]))):
        of = counted[method, against]
        verdicts = {word: len(of.get(word, [])) for word in ("better", "worse", "not shown")}
        where = sorted({place for places in of.values() for place in places})
        told.setdefault(method, []).append({"against": against, **verdicts, "where": where})
    return told


def write(claims: Sequence[Claim]) -> None:
    """The file that comes with the program."""
    write_json(FILE, shown(claims))


def _compared(claims: Sequence[Claim]) -> Iterator[Verdict]:
    for claim in claims:
        for path in sorted(results(claim.paper, "").glob("*/*.json")):
            record = json.loads(path.read_text(encoding="utf-8"))
            first = next(iter(record["measures"]))
            for pair in record["pairs"]:
                if pair["measure"] == first and not pair["anecdote"]:
                    method, against = (name.partition("(")[0] for name in pair["methods"])
                    yield Verdict(method, against, pair["verdict"], f"{claim.paper}/{path.stem}")


def _streamed() -> Iterator[Verdict]:
    for name, order in inscl.STREAMS:
        path = ROOT / "experiments" / "results" / name / f"{order}.json"
        if not path.exists():
            continue
        for pair in json.loads(path.read_text(encoding="utf-8"))["pairs"]:
            if pair["number"] == _STREAM:
                method, against = (name.partition("(")[0] for name in pair["methods"])
                if method != against:
                    above, below = pair["low"] > 0, pair["high"] < 0
                    verdict = "better" if above else "worse" if below else "not shown"
                    yield Verdict(method, against, verdict, f"{name}/{order}")
