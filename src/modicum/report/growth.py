"""How a selection grew: coverage and diversity by picks, rounds, and how few are enough."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from modicum.report.blocks import Block, Cell, Chart, Section, Table, Words
from modicum.report.charts import Line, curves, sample
from modicum.report.printed import Num, sentence

_CURVES = {
    "radius": "largest distance of any row from its nearest pick",
    "diversity": "mean distance of a pick from the nearest other pick",
}


def coverage(spread: dict[str, Any] | None) -> Section | None:
    """Radius and diversity against the number of picks, with the band of random draws."""
    if not spread or not spread.get("sizes"):
        return None
    chance = spread.get("random") or {}
    blocks: list[Block] = [_coverage(name, spread, chance.get(name)) for name in _CURVES]
    said = [
        "A smaller radius covers the pool better; a larger mean distance means that picks repeat "
        "one another less."
    ]
    if chance.get("draws"):
        said.append(
            sentence("The band is from the least to the most of {} draws.", Num(chance["draws"]))
        )
    looked, rows = spread.get("rows_looked_at"), spread.get("rows")
    if looked and looked != rows:
        said.append(
            sentence("The radius is of {} of {} rows, drawn at random.", Num(looked), Num(rows))
        )
    return Section("coverage", "Coverage and diversity", [Words(said), *blocks])


def _coverage(name: str, spread: dict[str, Any], chance: dict[str, Any] | None) -> Chart:
    sizes, values = spread["sizes"], spread[name]
    lines = [_known(Line("chosen", sizes, values))]
    heads, columns = ["picks", "chosen"], [sizes, values]
    if chance:
        lines.append(_known(Line("random", sizes, chance["mean"], chance["low"], chance["high"])))
        heads += ["random: low", "mean", "high"]
        columns += [chance["low"], chance["mean"], chance["high"]]
    rows: list[list[Cell]] = [[Num(cell) for cell in row] for row in zip(*columns, strict=True)]
    title = f"{name.capitalize()}: {_CURVES[name]}"
    log = len(sizes) > 2 and sizes[-1] > 8 * max(1, sizes[0])
    svg = curves(lines, x_label="picks", y_label=name, log=log)
    legend = [(sample(place), line.label) for place, line in enumerate(lines)]
    return Chart(svg, Table(title, heads, rows), legend)


def _known(line: Line) -> Line:
    """The line without the places where a value is None."""
    columns = [line.xs, line.ys, *([line.low, line.high] if line.low else [])]
    rows = [row for row in zip(*columns, strict=True) if all(v is not None for v in row)]
    turned = [list(column) for column in zip(*rows, strict=True)] or [[] for _ in columns]
    xs, ys, low, high = turned if line.low else (*turned, [], [])
    return Line(line.label, xs, ys, low, high, line.band)


def evolved(rounds: Sequence[dict[str, Any]]) -> Section | None:
    """The rounds of diverse-evol: rows, radius, diversity and loss."""
    if not rounds:
        return None
    rows: list[list[Cell]] = []
    for one in rounds:
        about = one.get("diversity") or {}
        rows.append(
            [
                Num(one["round"]),
                *(Num(one.get(key)) for key in ("rows", "tokens", "radius")),
                *(Num(about.get(key)) for key in ("vendi", "mean_nearest_distance")),
                Num(one.get("training_loss")),
            ]
        )
    heads = ["round", "rows", "tokens", "radius", "Vendi score", "mean nearest distance", "loss"]
    said = (
        "Each round's radius is through its own model, so radii of different rounds are of "
        "different scales; diversity is through the model given. The map's slider goes through "
        "the rounds."
    )
    table = Table("Every round: rows and tokens taken until and with it", heads, rows)
    charts = [
        _round(rounds, "Vendi score", lambda one: (one.get("diversity") or {}).get("vendi")),
        _round(rounds, "training loss", lambda one: one.get("training_loss")),
    ]
    drawn = [chart for chart in charts if chart is not None]
    return Section("rounds", "Rounds", [Words([said]), table, *drawn])


def _round(rounds: Sequence[dict[str, Any]], label: str, of: Any) -> Chart | None:
    known = [(one["rows"], of(one)) for one in rounds if of(one) is not None]
    if len(known) < 2:
        return None
    xs, ys = ([*column] for column in zip(*known, strict=True))
    rows: list[list[Cell]] = [[Num(x), Num(y)] for x, y in known]
    svg = curves([Line(label, xs, ys)], x_label="rows taken", y_label=label)
    return Chart(svg, Table(f"{label.capitalize()} by rows taken", ["rows", label], rows))


def enough(auto: dict[str, Any] | None) -> Section | None:
    """Gains by size, of `-k auto`, and what the curve foretells."""
    if not auto or not auto.get("sizes"):
        return None
    sizes = auto["sizes"]
    keys = ("rows", "tokens", "gain", "low", "high", "foretold")
    rows: list[list[Cell]] = [[Num(one.get(key)) for key in keys] for one in sizes]
    said = sentence(
        "{} of {} rows are taken, by {} ({} is better): the fewest whose gain over the untuned "
        "model is shown and has an interval that reaches within {} of what is foretold for the "
        "whole pool, or all rows if there are none.",
        Num(auto["rows"]),
        Num(auto["of"]),
        auto["measure"],
        auto["better"],
        Num(auto["epsilon"], "%"),
    )
    xs, ys, low, high = ([one[key] for one in sizes] for key in ("rows", "gain", "low", "high"))
    line = _known(Line("gain", xs, ys, low, high, band=False))
    svg = curves([line], x_label="rows", y_label="gain", log=len(sizes) > 2)
    heads = ["rows", "tokens", "gain", "low", "high", "foretold for the pool"]
    title = "Gain over the untuned model by size, with 95 % intervals"
    return Section(
        "enough", "How few are enough", [Words([said]), Chart(svg, Table(title, heads, rows))]
    )
