"""Drawings as SVG, kept by hand: histograms, curves with bands, bars and intervals in a cell.

A drawing says nothing that a table beside it does not say, so it is one image to a screen reader.
Series differ by dash and marker as well as by colour.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from markupsafe import Markup, escape

from modicum.visible import visible

_WIDE, _HIGH = 460, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 12, 42
_CELL_WIDE, _CELL_HIGH = 180, 18
_MARKERS = 6


@dataclass(frozen=True)
class Line:
    """A curve: where it is known, and an interval or band at each place if there is one."""

    label: str
    xs: Sequence[float]
    ys: Sequence[float]
    low: Sequence[float] = field(default=())
    high: Sequence[float] = field(default=())
    band: bool = True  # else an interval at each point


@dataclass(frozen=True)
class _Axis:
    """From values to places on the drawing."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high, at = (self._turned(v) for v in (self.low, self.high, value))
        share = (at - low) / (high - low) if high > low else 0.5
        return round(self.start + min(1.0, max(0.0, share)) * (self.end - self.start), 2)

    def _turned(self, value: float) -> float:
        return math.log10(value) if self.log else value

    def ticks(self) -> list[float]:
        return _log_ticks(self.low, self.high) if self.log else _ticks(self.low, self.high)


def histogram(
    edges: Sequence[float],
    pool: Sequence[float],
    chosen: Sequence[float] | None,
    *,
    x_label: str,
    y_label: str = "share of rows",
    log: bool = False,
) -> Markup:
    """Shares of the pool as filled bars, of the chosen rows as an outline; edges are one more."""
    top = max([*pool, *(chosen or []), 0.0]) or 1.0
    x = _Axis(edges[0], edges[-1], _LEFT, _WIDE - _RIGHT, log)
    y = _Axis(0.0, top, _HIGH - _BOTTOM, _TOP)
    bars = [
        Markup('<rect class="pool" x="{}" y="{}" width="{}" height="{}"/>').format(
            x(low), y(share), round(max(0.5, x(high) - x(low) - 0.5), 2), round(y(0) - y(share), 2)
        )
        for low, high, share in zip(edges[:-1], edges[1:], pool, strict=True)
    ]
    if chosen:
        steps = [f"{x(edges[0])},{y(0)}"]
        for low, high, share in zip(edges[:-1], edges[1:], chosen, strict=True):
            steps += [f"{x(low)},{y(share)}", f"{x(high)},{y(share)}"]
        steps.append(f"{x(edges[-1])},{y(0)}")
        bars.append(Markup('<polyline class="chosen" points="{}"/>').format(" ".join(steps)))
    return _drawing([_axes(x, y, x_label, y_label, percent=True), *bars], f"{y_label} by {x_label}")


def curves(
    lines: Sequence[Line], *, x_label: str, y_label: str, log: bool = False, percent: bool = False
) -> Markup:
    """Curves over a common axis, each with its band or its intervals."""
    xs = [value for line in lines for value in line.xs]
    ys = [v for line in lines for v in (*line.ys, *line.low, *line.high) if math.isfinite(v)]
    if not xs or not ys:
        return _drawing([], f"{y_label} against {x_label}: nothing is known")
    room = (max(ys) - min(ys)) * 0.05 or abs(max(ys)) * 0.1 or 1.0
    least = 0.0 if 0 <= min(ys) < 0.5 * max(ys) else min(ys) - room
    end = _WIDE - _RIGHT - 6 - 4 * min(_MARKERS, len(lines))
    x = _Axis(min(xs), max(xs), _LEFT + 6, end, log and min(xs) > 0)
    y = _Axis(least, max(ys) + room, _HIGH - _BOTTOM, _TOP)
    drawn = [_axes(x, y, x_label, y_label, percent=percent)]
    for place, line in enumerate(lines):
        drawn += _curve(place % _MARKERS, line, x, y)
    return _drawing(drawn, f"{y_label} against {x_label}")


def _curve(place: int, line: Line, x: _Axis, y: _Axis) -> list[Markup]:
    drawn = []
    aside = 0 if line.band else 4 * place  # intervals at one place would hide each other
    if line.low and line.band:
        there = [*zip(line.xs, line.high, strict=True)]
        back = [*zip(reversed(line.xs), reversed(line.low), strict=True)]
        points = " ".join(f"{x(a)},{y(b)}" for a, b in [*there, *back])
        drawn.append(Markup('<polygon class="band s{}" points="{}"/>').format(place, points))
    elif line.low:
        for at, low, high in zip(line.xs, line.low, line.high, strict=True):
            drawn.append(
                Markup('<path class="line s{}" d="M{} {}V{}"/>').format(
                    place, x(at) + aside, y(low), y(high)
                )
            )
    placed = [(x(a) + aside, y(b)) for a, b in zip(line.xs, line.ys, strict=True)]
    path = " ".join(f"{a},{b}" for a, b in placed)
    drawn.append(Markup('<polyline class="line dash s{}" points="{}"/>').format(place, path))
    shown = placed if len(placed) <= 12 else placed[:: len(placed) // 8]
    return [*drawn, *(_marker(place, a, b) for a, b in shown)]


def sample(place: int) -> Markup:
    """A line's dash and marker, for a legend."""
    inner = Markup('<polyline class="line dash s{}" points="0,7 34,7"/>').format(place % _MARKERS)
    return _small(34, 14, inner + _marker(place % _MARKERS, 17, 7))


def swatch(kind: str) -> Markup:
    """What the pool's bars and the chosen rows' outline look like, for a legend."""
    if kind == "pool":
        return _small(34, 14, Markup('<rect class="pool" x="4" y="1" width="26" height="12"/>'))
    return _small(34, 14, Markup('<polyline class="chosen" points="3,13 3,2 31,2 31,13"/>'))


def interval(
    value: float, low: float, high: float, span: tuple[float, float], zero: float | None = 0.0
) -> Markup:
    """A point with its interval on a scale that all rows of a table share."""
    x = _Axis(*span, 6, _CELL_WIDE - 6)
    inside = zero is not None and span[0] <= zero <= span[1]
    drawn = [Markup('<path class="zero" d="M{} 0V{}"/>').format(x(zero), _CELL_HIGH)] * inside  # type: ignore[arg-type]
    middle = _CELL_HIGH // 2
    whisker = f"M{x(low)} {middle}H{x(high)}M{x(low)} 4V14M{x(high)} 4V14"
    drawn.append(Markup('<path class="whisker" d="{}"/>').format(whisker))
    drawn.append(_marker(2, x(value), middle))
    return _small(_CELL_WIDE, _CELL_HIGH, Markup("").join(drawn))


def dots(values: Sequence[float], span: tuple[float, float], zero: float | None) -> Markup:
    """Values of several seeds and, as a tick, their mean."""
    x, middle = _Axis(*span, 6, _CELL_WIDE - 6), _CELL_HIGH // 2
    drawn = (
        [Markup('<path class="zero" d="M{} 0V{}"/>').format(x(zero), _CELL_HIGH)] if zero else []
    )
    drawn += [_marker(0, x(value), middle) for value in values]
    mean = float(np.mean(values))
    drawn.append(Markup('<path class="whisker" d="M{} 1V17"/>').format(x(mean)))
    return _small(_CELL_WIDE, _CELL_HIGH, Markup("").join(drawn))


def bars(before: float, after: float | None = None) -> Markup:
    """Shares from 0 to 1: of the pool filled, of the chosen rows outlined below it."""
    wide = _CELL_WIDE - 2
    drawn = [
        Markup('<rect class="pool" x="1" y="1" width="{}" height="{}"/>').format(
            round(wide * before, 1), 16 if after is None else 7
        )
    ]
    if after is not None:
        drawn.append(
            Markup('<rect class="chosen fill" x="1" y="10" width="{}" height="7"/>').format(
                round(wide * after, 1)
            )
        )
    return _small(_CELL_WIDE, _CELL_HIGH, Markup("").join(drawn))


def span_of(values: Sequence[float | None], zero: bool = True) -> tuple[float, float]:
    """A scale that holds all values, and zero if that is a place to see."""
    known = [v for v in values if v is not None and math.isfinite(v)] + [0.0] * zero
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    room = (high - low) * 0.04 or abs(high) * 0.1 or 1.0
    return low - room, high + room


def heats(values: Sequence[float | None]) -> list[int | None]:
    """How deep each cell is shaded, 0 to 9, from the least to the largest value."""
    known = [v for v in values if v is not None and math.isfinite(v)]
    if not known or min(known) == max(known):
        return [None] * len(values)
    low, wide = min(known), max(known) - min(known)
    return [
        None if v is None or not math.isfinite(v) else min(9, int(10 * (v - low) / wide))
        for v in values
    ]


def _marker(place: int, x: float, y: float) -> Markup:
    shapes = (
        f"M{x - 3} {y}a3 3 0 1 0 6 0a3 3 0 1 0 -6 0z",
        f"M{x - 3} {y - 3}h6v6h-6z",
        f"M{x} {y - 4.5}l4.5 4.5l-4.5 4.5l-4.5 -4.5z",
        f"M{x} {y - 4}l4 7h-8z",
        f"M{x} {y + 4}l4 -7h-8z",
        f"M{x - 4} {y - 1}h3v-3h2v3h3v2h-3v3h-2v-3h-3z",
    )
    return Markup('<path class="mark s{}" d="{}"/>').format(place, shapes[place])


def _axes(x: _Axis, y: _Axis, x_label: str, y_label: str, *, percent: bool) -> Markup:
    drawn = []
    for value in y.ticks():
        said = f"{100 * value:.3g} %" if percent else _tick(value)
        drawn.append(
            Markup(
                '<path class="grid" d="M{} {}H{}"/><text x="{}" y="{}" text-anchor="end">{}</text>'
            ).format(_LEFT, y(value), _WIDE - _RIGHT, _LEFT - 6, y(value) + 4, said)
        )
    base = _HIGH - _BOTTOM
    for value in x.ticks():
        drawn.append(
            Markup(
                '<path class="axis" d="M{0} {1}v4"/><text x="{0}" y="{2}" text-anchor="middle">'
                "{3}</text>"
            ).format(x(value), base, base + 16, _tick(value))
        )
    drawn.append(Markup('<path class="axis" d="M{} {}H{}"/>').format(_LEFT, base, _WIDE - _RIGHT))
    middle = (_LEFT + _WIDE - _RIGHT) / 2
    label = visible(x_label) + (", log scale" if x.log else "")
    drawn.append(
        Markup('<text class="label" x="{}" y="{}" text-anchor="middle">{}</text>').format(
            middle, _HIGH - 6, label
        )
    )
    return Markup("").join(drawn)


def _drawing(drawn: Sequence[Markup], label: str) -> Markup:
    return Markup(
        '<svg class="drawing" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>'
    ).format(_WIDE, _HIGH, escape(visible(label)), Markup("").join(drawn))


def _small(wide: int, high: int, inner: Markup) -> Markup:
    return Markup(
        '<svg class="small" width="{}" height="{}" viewBox="0 0 {} {}" aria-hidden="true">{}</svg>'
    ).format(wide, high, wide, high, inner)


def _tick(value: float) -> str:
    """All digits of a round number; of a very large or small one as a power of ten."""
    if value and not 1e-5 <= abs(value) < 1e12:
        return f"{value:.10g}".replace("e-0", "e-").replace("e+", "e")
    for least, unit, name in ((1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k")):
        if abs(value) >= least:
            return f"{value / unit:.10g}{name}"
    return f"{value:,.10g}"


def _ticks(low: float, high: float) -> list[float]:
    if not high > low:
        return [low]
    rough = (high - low) / 4
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * by for by in (1, 2, 2.5, 5, 10) if unit * by >= rough)
    first = math.ceil(low / step - 1e-9)
    return [float(f"{n * step:.12g}") for n in range(first, math.floor(high / step + 1e-9) + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for among in ((1, 2, 5), (1, 3), (1,)):
        found = [n * 10.0**p for p in powers for n in among if low <= n * 10.0**p <= high]
        if len(found) <= 7:
            break
    return found if 1 < len(found) <= 9 else found[:: max(1, len(found) // 5)] or [low, high]
