"""The page of `compare`: arms, verdicts, retention, and what each arm took."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from modicum.report.blocks import Block, Cell, Chart, Page, Section, Table, Words
from modicum.report.charts import Line, curves, dots, interval, sample, span_of
from modicum.report.origin import aside, costs, made_from, named_inputs
from modicum.report.printed import Num, cut, sentence
from modicum.report.run_files import Run

_SHOWN = 100  # overlaps that are listed
_LONG = 80  # characters of a method's label
_SIGNS = {"better": "▲ better", "worse": "▼ worse"}
Found = Mapping[str, Any]


def compared(run: Run) -> Page:
    """What was tuned and tested, and which differences are shown."""
    record = run.record("compare.json") or {}
    arms, pairs = record.get("arms") or [], record.get("pairs") or []
    exam, pool = record.get("evaluation") or {}, record.get("pool") or {}
    kinds = _kinds(record)
    figures = {"arms": len(arms), "overlaps": kinds}
    said = sentence(
        "{} arms, tuned on rows of a pool of {} and tested on {} held-out rows.",
        Num(len(arms)),
        Num(pool.get("rows")),
        Num(exam.get("rows")),
    )
    sections = [
        _verdicts(pairs, chance=True),
        _marks(record),
        _retention(record),
        _verdicts(pairs, chance=False),
        _took(arms),
        _overlaps(record, kinds),
        costs(run),
        _notes(record),
        aside(run),
        made_from(run),
    ]
    title = f"Comparison on {named_inputs(run.manifest)}"
    return Page(title, said, [each for each in sections if each is not None], figures)


def _verdicts(pairs: Sequence[Found], *, chance: bool) -> Section | None:
    """Differences with intervals: those against random, or all others."""
    chosen = [pair for pair in pairs if _with_chance(pair["methods"]) == chance]
    if not chosen:
        if not chance:
            return None
        return Section("chance", "Against chance", [Words(["No pair with random is recorded."])])
    blocks = [_forest(chosen, name, not chance) for name in _in_order(chosen, "measure")]
    told: list[str | Markup] = [
        "A difference is the first method less the second, with a 95 % interval; the dashed line "
        "is zero. The verdict is on the first, adjusted for how many were compared (Holm). Not "
        "shown does not mean equal: the last column is the smallest true difference that this many "
        "seeds and rows would have shown four times in five."
    ]
    if any(pair.get("anecdote") for pair in chosen):
        told.append(
            "Of pairs with one seed a verdict is an anecdote: other seeds may say otherwise."
        )
    title = "Against chance" if chance else "Other pairs"
    return Section("chance" if chance else "pairs", title, [Words(told), *blocks])


def _with_chance(methods: Sequence[str]) -> bool:
    """Whether a pair's verdict is taken among those against chance, as `compare` does."""
    return "random" in methods and "full" not in methods


def _forest(pairs: Sequence[Found], measure: str, folded: bool) -> Table:
    chosen = [pair for pair in pairs if pair["measure"] == measure]
    span = span_of([pair.get(end) for pair in chosen for end in ("low", "high", "difference")])
    rows = [_pair(pair, span) for pair in chosen]
    way = chosen[0].get("better")
    side = {"lower": "below zero the first is better", "higher": "above zero the first is better"}
    about = f": {side[way]}" if way in side else ""
    heads = ["methods", "budget", "verdict", _ends(span), "difference", "from", "to"]
    heads += ["p (Holm)", "seeds", "rows", "would have shown"]
    caption = f"Differences in {cut(measure, _LONG)}{about}"
    return Table(caption, heads, rows, folded)


def _pair(pair: Found, span: tuple[float, float]) -> list[Cell]:
    names = " − ".join(cut(name, _LONG) for name in pair["methods"])
    known = all(pair.get(key) is not None for key in ("difference", "low", "high"))
    drawn = interval(pair["difference"], pair["low"], pair["high"], span) if known else Markup("")
    said = _SIGNS.get(pair["verdict"], f"– {pair['verdict']}")
    return [
        names,
        str(pair.get("budget") or "all"),
        said + (" (one seed)" if pair.get("anecdote") else ""),
        drawn,
        *(Num(pair.get(key), "+") for key in ("difference", "low", "high")),
        Num(pair.get("p_holm")),
        *(Num(pair.get(key)) for key in ("seeds", "rows", "could_have_seen")),
    ]


def _ends(span: tuple[float, float]) -> str:
    return f"{span[0]:.3g} … {span[1]:.3g}"


def _marks(record: Found) -> Section | None:
    """Every arm's mark by every measure: the mean, and each seed."""
    summary = record.get("summary") or []
    names = [*record.get("measures", {})]
    names += [n for line in summary for n in line["metrics"] if n not in names]
    tables = [_mark(record, name) for name in dict.fromkeys(names)]
    told = (
        "Means over seeds (the tick), the standard deviation between seeds, and every seed (dots). "
        "The dashed line is the model before tuning. How far an arm differs from chance, with its "
        "interval, is in the section before."
    )
    return Section("marks", "Every arm", [Words([told]), *tables]) if tables else None


def _mark(record: Found, name: str) -> Table:
    before = (record.get("untuned") or {}).get("metrics", {}).get(name)
    lines = [line for line in record["summary"] if name in line["metrics"]]
    values = [value for line in lines for value in line["metrics"][name]["values"]]
    span = span_of([*values, before], zero=False)
    rows: list[list[Cell]] = [["untuned", "", "", Num(before, "long"), "", "", ""]]
    for line in lines:
        found = line["metrics"][name]
        known = [value for value in found["values"] if value is not None]
        rows.append(
            [
                cut(line["method"], _LONG),
                str(line["budget"] or "all"),
                dots(known, span, before) if known else "",
                Num(found["mean"], "long"),
                Num(found["sd"]),
                Num(line["rows"]),
                Num(line["tokens"]),
            ]
        )
    way = (record.get("measures") or {}).get(name)
    caption = f"{cut(name, _LONG)}{f': {way} is better' if way else ''}"
    heads = ["method", "budget", _ends(span), "mean", "sd", "rows", "tokens"]
    return Table(caption, heads, rows)


def _retention(record: Found) -> Section | None:
    """The share of the whole pool's gain that each subset keeps, by its size."""
    found = record.get("retention") or []
    if not found:
        return None
    sizes = {(line["method"], line["budget"]): line["rows"] for line in record.get("summary", [])}
    blocks: list[Block] = []
    for name in _in_order(found, "measure"):
        lines = [line for line in found if line["measure"] == name]
        table = _kept(lines, sizes, name)
        chart = _kept_curve(lines, sizes, table)
        blocks.append(chart or table)
    told = (
        "Of each subset the share of the gain over the untuned model that the whole pool brings, "
        "with a 95 % interval (Fieller's). Where that gain is not shown there is no share; where "
        "the interval has no bound there is no end."
    )
    return Section("retention", "Retention", [Words([told]), *blocks])


def _kept(lines: Sequence[Found], sizes: Mapping[Any, Any], name: str) -> Table:
    rows: list[list[Cell]] = [
        [
            cut(line["method"], _LONG),
            str(line["budget"]),
            Num(sizes.get((line["method"], line["budget"]))),
            *(Num(line[key], "%") for key in ("share", "low", "high")),
            *(Num(line.get(key)) for key in ("seeds", "full_seeds")),
        ]
        for line in lines
    ]
    heads = ["method", "budget", "rows", "share", "from", "to", "seeds", "of the whole"]
    return Table(f"Share of the whole pool's gain in {cut(name, _LONG)}", heads, rows)


def _kept_curve(lines: Sequence[Found], sizes: Mapping[Any, Any], table: Table) -> Chart | None:
    keys = ("share", "low", "high")
    drawn = []
    for method in _in_order(lines, "method"):
        known = [
            (sizes.get((method, line["budget"])), *(line[key] for key in keys))
            for line in lines
            if line["method"] == method and all(line[key] is not None for key in keys)
        ]
        known = sorted(each for each in known if each[0] is not None)
        if known:
            xs, ys, low, high = ([*column] for column in zip(*known, strict=True))
            drawn.append(Line(cut(method, _LONG), xs, ys, low, high, band=False))
    if not drawn:
        return None
    spread = sorted({x for line in drawn for x in line.xs})
    log = len(spread) > 2 and spread[-1] > 8 * spread[0] > 0
    svg = curves(drawn, x_label="rows", y_label="share of the gain", log=log, percent=True)
    return Chart(svg, table, [(sample(place), line.label) for place, line in enumerate(drawn)])


def _took(arms: Sequence[Found]) -> Section | None:
    """Rows, tokens, steps and seconds of every arm."""
    rows: list[list[Cell]] = []
    for arm in arms:
        training = arm.get("training") or {}
        seconds, ledger = training.get("seconds") or {}, arm.get("ledger") or {}
        rows.append(
            [
                cut(arm["method"], _LONG),
                str(arm.get("budget") or "all"),
                Num(arm.get("seed")),
                *(Num(arm.get(key)) for key in ("rows", "tokens", "answer_tokens")),
                *(Num(training.get(key)) for key in ("steps", "tokens_seen")),
                Num(seconds.get("train")),
                Num((ledger.get("seconds") or {}).get("select")),
                Num(ledger.get("forward_tokens")),
                Num(arm.get("training_loss")),
            ]
        )
    heads = [
        "method",
        "budget",
        "seed",
        "rows",
        "tokens",
        "of answers",
        "steps",
        "tokens trained on",
    ]
    heads += ["seconds training", "seconds selecting", "tokens forward", "training loss"]
    caption = "What every arm learned from and took"
    return Section("took", "Tokens and time", [Table(caption, heads, rows)]) if rows else None


def _kinds(record: Found) -> dict[str, int]:
    return dict(Counter(str(one.get("kind")) for one in record.get("overlaps") or []))


def _overlaps(record: Found, kinds: Mapping[str, int]) -> Section:
    found = record.get("overlaps") or []
    if not found:
        none = (
            "The pool shares nothing with the held-out rows: no same words asked, no 13 in a row."
        )
        return Section("overlaps", "Overlaps", [Words([none])])
    told = [sentence("{} overlaps are {}.", Num(number), kind) for kind, number in kinds.items()]
    rows: list[list[Cell]] = [
        [cut(str(one.get(key)), 200) for key in ("id", "evaluation", "kind", "text")]
        for one in found[:_SHOWN]
    ]
    more = f", the first {_SHOWN}; all are in compare.json" if len(found) > _SHOWN else ""
    caption = f"Rows of the pool and held-out rows that share text{more}"
    table = Table(caption, ["row of the pool", "held-out row", "kind", "text"], rows, folded=True)
    return Section("overlaps", "Overlaps", [Words(told), table])


def _notes(record: Found) -> Section | None:
    """What was said of the arms, and what was left out of the pool and of the exam."""
    notes = dict.fromkeys(
        note for one in (record, *(record.get("arms") or [])) for note in one.get("notes") or []
    )
    told: list[str | Markup] = [sentence("Note: {}", cut(note, 300)) for note in notes]
    for name, word in (("pool", "the pool"), ("evaluation", "the held-out rows")):
        for why, number in ((record.get(name) or {}).get("left_out") or {}).items():
            told.append(
                sentence(f"{{}} rows of {word} left out: {{}}", Num(number), cut(str(why), 300))
            )
    return Section("notes", "Notes", [Words(told)]) if told else None


def _in_order(found: Sequence[Found], key: str) -> list[str]:
    return list(dict.fromkeys(one[key] for one in found))
