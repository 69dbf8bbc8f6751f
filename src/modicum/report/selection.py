"""The page of `select` and of `score`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from modicum.errors import RunError
from modicum.report.blocks import Block, Cell, Chart, Listing, Map, Page, Section, Table, Words
from modicum.report.charts import bars, histogram, swatch
from modicum.report.counted import (
    distribution,
    picked_of,
    score_names,
    shares,
    sources,
    values_of,
)
from modicum.report.growth import coverage, enough, evolved
from modicum.report.listed import (
    MOST_OTHERS,
    MOST_PICKS,
    Order,
    Texts,
    best_left,
    fitting,
    listing,
    places,
    size_of,
)
from modicum.report.origin import aside, costs, made_from, named_inputs, pays
from modicum.report.points import drawn, points, with_ids
from modicum.report.printed import Num, cut, sentence
from modicum.report.run_files import Run

if TYPE_CHECKING:
    import pyarrow as pa

_LIMIT = 1_940_000  # bytes of a page
_LISTED = 600_000  # of them for the listed rows, whatever else there is
_REST = 240_000  # of them for all but the points and the listed rows
_LEGEND = ((swatch("pool"), "pool"), (swatch("chosen"), "chosen"))


def selected(run: Run) -> Page:
    """What was chosen, from where, why, and at what cost."""
    rows = _rows(run)
    texts = partial(run.some, "texts.parquet", rows=rows.num_rows)
    where = run.table("map.parquet", rows.num_rows)
    picks_K = np.argsort(values_of(rows, "order"))[: int(picked_of(rows).sum())]
    figures = _figures(rows, where)
    distances_N = None if where is None else values_of(where, "distance")
    order = best_left(rows, distances_N)
    data = _data(rows, texts, where, picks_K, order)
    method = run.manifest["method"].get("name", "a method of one's own")
    said = sentence(
        "{} of {} rows ({}) were chosen by {}; they hold {} of the tokens.",
        Num(figures["shares"]["chosen"]["rows"]),
        Num(figures["shares"]["pool"]["rows"]),
        Num(figures["shares"]["rows"], "%"),
        method,
        Num(figures["shares"]["tokens"], "%"),
    )
    spread = run.record("spread.json")
    sections = [
        _short(figures),
        _map(run, data.get("points"), spread, rows),
        _spreads("scores", "Scores", figures["scores"]),
        _spreads("lengths", "Lengths", {"tokens": figures["tokens"]}),
        _sources(figures["sources"]),
        coverage(spread),
        _distance(figures),
        evolved(run.entries("rounds.json")),
        enough(run.record("auto.json")),
        *_listings(data, order, figures, (run.folder / "texts.parquet").exists()),
        costs(run, pays(run.manifest)),
        aside(run),
        made_from(run),
    ]
    title = f"{cut(str(method), 60)} on {named_inputs(run.manifest)}"
    return Page(title, said, [each for each in sections if each is not None], figures, data)


def scored(run: Run) -> Page:
    """How scores, lengths and sources of a pool are spread, and its highest rows."""
    rows = _rows(run)
    texts = partial(run.some, "texts.parquet", rows=rows.num_rows)
    figures = _figures(rows, None)
    names, data = score_names(rows), dict[str, Any]()
    if names:
        values_N = values_of(rows, names[0])
        order = Order(names[0], values_N, True, f"the highest {names[0]} first")
        at_K = places(order, np.ones(rows.num_rows, dtype=bool), MOST_OTHERS)
        data["rows"] = listing(rows, texts, at_K, more={}, numbered=False)
        data, _ = fitting(data, _LIMIT - _REST)
    listings = [
        Section(
            "highest",
            f"The highest by {cut(names[0], 60)}",
            [Listing("rows", f"Rows of the highest {cut(names[0], 60)}", len(one["rows"]))],
        )
        for one in data.values()
    ]
    said = sentence("{} rows with {}.", Num(rows.num_rows), ", ".join(names) or "no score")
    sections = [
        _spreads("scores", "Scores", figures["scores"]),
        _spreads("lengths", "Lengths", {"tokens": figures["tokens"]}),
        _sources(figures["sources"]),
        *listings,
        costs(run),
        aside(run),
        made_from(run),
    ]
    title = f"Scores of {named_inputs(run.manifest)}"
    return Page(title, said, [each for each in sections if each is not None], figures, data)


def _rows(run: Run) -> pa.Table:
    rows = run.table("rows.parquet")
    needed = {"id", "source", "position", "tokens", "reason"}
    if run.kind == "select":
        needed |= {"picked", "order", "gain", "round"}
    if rows is None or (lacking := needed - set(rows.column_names)):
        what = "rows.parquet" if rows is None else f"column {min(lacking)} of rows.parquet"
        raise RunError(f"{run.folder} has no page: {what} is missing")
    return rows


def _figures(rows: pa.Table, where: pa.Table | None) -> dict[str, Any]:
    """What is counted for the page: `report.json`."""
    picked_N, tokens_N = picked_of(rows), values_of(rows, "tokens")
    tokens_N[tokens_N == 0] = np.nan  # these cannot be rendered
    found: dict[str, Any] = {
        "shares": shares(rows),
        "sources": sources(rows),
        "tokens": distribution(tokens_N, picked_N),
        "scores": {
            name: distribution(values_of(rows, name), picked_N) for name in score_names(rows)
        },
        "distance": None,
        "placed": None,
    }
    if where is not None:
        left_N = np.where(picked_N, np.nan, values_of(where, "distance"))
        found["distance"] = distribution(left_N, picked_N)
        placed_N = np.isfinite(values_of(where, "x"))
        found["placed"] = {
            "rows": int(placed_N.sum()),
            "without": int((~placed_N).sum()),
            "left": int((placed_N & ~picked_N).sum()),
        }
    return found


def _data(
    rows: pa.Table,
    texts: Texts,
    where: pa.Table | None,
    picks_K: np.ndarray,
    order: Order | None,
) -> dict[str, Any]:
    """The page's data blocks: the listed rows, and the map's points with the ids that fit."""
    more: dict[str, np.ndarray] = {}
    if where is not None:
        more = {name: values_of(where, name) for name in ("distance", "nearest")}
        more["nearest"][more["nearest"] < 0] = np.nan
    made = {"picks": listing(rows, texts, picks_K[:MOST_PICKS], more={}, numbered=True)}
    made["picks"] |= {"sorted": 0, "down": False}
    at_K = np.empty(0, dtype=np.int64)
    if order is not None:
        free_N = ~picked_of(rows) & np.asarray(rows["reason"].is_null().to_numpy())
        at_K = places(order, free_N, MOST_OTHERS)
    if len(at_K):
        made["others"] = listing(rows, texts, at_K, more=more, numbered=False)
    core = None
    if where is not None:
        listed_L = np.concatenate([picks_K[:MOST_PICKS], at_K])
        core = points(rows, where, picks_K, drawn(rows.num_rows, picks_K, listed_L))
    room = max(_LISTED, _LIMIT - _REST - size_of(core))
    listings, _ = fitting(made, room)
    if core is None:
        return listings
    rounds_K = values_of(rows, "round")[picks_K[: len(core["picks"])]].astype(int)
    core |= {"listed": list(made), "rounds": rounds_K.tolist() if rounds_K.any() else None}
    return {**listings, "points": with_ids(core, rows, room - size_of(listings))}


def _short(figures: dict[str, Any]) -> Section:
    of = figures["shares"]
    table: list[list[Cell]] = [
        [name, Num(of["pool"][name]), Num(of["chosen"][name]), Num(of[name], "%")]
        for name in ("rows", "tokens")
    ]
    numbers = {"tokens of a row": figures["tokens"], **figures["scores"]}
    for name, found in numbers.items():
        if found:
            pool, chosen = (found[each]["quantiles"]["50"] for each in ("pool", "chosen"))
            table.append([f"{cut(name, 60)}, median", Num(pool), Num(chosen), ""])
    heads = ["", "pool", "chosen", "chosen ÷ pool"]
    return Section("chosen", "In short", [Table("The chosen rows against the pool", heads, table)])


def _map(
    run: Run, points: dict[str, Any] | None, spread: dict[str, Any] | None, rows: pa.Table
) -> Section | None:
    if points is None:
        why = "No map: this run looked through no view, or is of a version that did not keep one."
        return Section("map", "Map", [Words([why])])
    about = spread or {}
    said = [sentence("Each point is a row of the pool, as the view {} has it.", _view(about))]
    if points["drawn"] < rows.num_rows:
        said.append(
            sentence(
                "Drawn are {} of {} rows: the first {} chosen, the listed, and others by chance.",
                *(Num(n) for n in (points["drawn"], rows.num_rows, len(points["picks"]))),
            )
        )
    explained = about.get("explained")
    if about.get("projection") == "pca" and explained:
        said.append(
            sentence(
                "The two axes are the principal components; they hold {} and {} of the variance, "
                "so rows that look near may be far apart.",
                *(Num(share, "%") for share in explained),
            )
        )
    elif about.get("projection"):
        said.append(
            sentence("They are laid out by {}; its distances say little.", about["projection"])
        )
    rounds = values_of(rows, "round")
    last = int(np.nanmax(rounds)) if np.isfinite(rounds).any() else 0
    label = "Map of the pool with the chosen rows"
    return Section("map", "Map", [Map("points", label, said, last)])


def _view(about: dict[str, Any]) -> str:
    view = about.get("view")
    name = str(view.get("name")) if isinstance(view, dict) else str(view or "of the run")
    return f"{name} (through the model tuned last)" if about.get("model") == "tuned" else name


def _spreads(id: str, title: str, found: dict[str, Any]) -> Section | None:
    blocks: list[Block] = [
        _histogram(cut(name, 60), one) for name, one in found.items() if one is not None
    ]
    return Section(id, title, blocks) if blocks else None


def _histogram(name: str, found: dict[str, Any], against: bool = True) -> Chart:
    pool, chosen = found["pool"], found["chosen"]
    compared = against and chosen["rows"] > 0
    svg = histogram(
        found["edges"],
        pool["shares"],
        chosen["shares"] if compared else None,
        x_label=name,
        log=found["log"],
    )
    ends = zip(found["edges"][:-1], found["edges"][1:], strict=True)
    table: list[list[Cell]] = []
    for at, (low, high) in enumerate(ends):
        line: list[Cell] = [sentence("{} to {}", Num(low), Num(high)), Num(pool["counts"][at])]
        if compared:
            line += [Num(chosen["counts"][at])]
            line += [Num(pool["shares"][at], "%"), Num(chosen["shares"][at], "%")]
        table.append(line)
    heads = [name, "rows of the pool", "chosen rows", "share of the pool", "share of the chosen"]
    missing = f"; {found['missing']:,} rows have none" if found["missing"] and against else ""
    caption = f"{name[:1].upper()}{name[1:]}{missing}"
    return Chart(svg, Table(caption, heads[: len(table[0])], table), _LEGEND if compared else ())


def _sources(found: list[dict[str, Any]]) -> Section:
    rows: list[list[Cell]] = []
    shared = ("rows_share", "picked_share", "tokens_share", "tokens_picked_share")
    top = max((one[key] for one in found for key in shared), default=0.0) or 1.0
    for one in found:
        other = f"{one['sources']:,} others"
        name = other if one["source"] is None else cut(one["source"], 80)
        rows.append([name, *_before_after(one, "rows", "picked", top)])
        rows[-1] += _before_after(one, "tokens", "tokens_picked", top)
    heads = ["source"]
    for what in ("rows", "tokens"):
        heads += [what, "chosen", f"share of {what}", "chosen", ""]
    caption = "Rows and tokens of each source: in the pool (upper bar) and chosen (lower bar)"
    return Section("sources", "Sources", [Table(caption, heads, rows)])


def _before_after(one: dict[str, Any], before: str, after: str, top: float) -> list[Cell]:
    first, second = one[f"{before}_share"], one[f"{after}_share"]
    return [
        Num(one[before]),
        Num(one[after]),
        Num(first, "%"),
        Num(second, "%"),
        bars(first / top, second / top),
    ]


def _distance(figures: dict[str, Any]) -> Section | None:
    if (found := figures["distance"]) is None:
        return None
    chart = _histogram("distance to the nearest chosen row", found, against=False)
    quantiles = found["pool"]["quantiles"]
    said = sentence(
        "How far the rows that were left out are from the nearest chosen one, in the view. Half "
        "are within {}, 95 % within {}.",
        Num(quantiles["50"]),
        Num(quantiles["95"]),
    )
    known, left = found["pool"]["rows"], figures["placed"]["left"]
    if known < left:
        said += sentence(
            " Measured for {} of those {} rows, drawn by chance.", Num(known), Num(left)
        )
    return Section("distances", "How far what was left out is", [Words([said]), chart])


def _listings(
    data: dict[str, Any], order: Order | None, figures: dict[str, Any], texts: bool
) -> list[Section]:
    picks, total = len(data["picks"]["rows"]), figures["shares"]["chosen"]["rows"]
    caption = "The picks, in the order they were taken"
    if picks < total:
        caption += f": the first {picks:,} of {total:,}; all are in rows.parquet"
    missing = [] if texts else [Words(["Texts are not shown: this folder has no texts.parquet."])]
    made = [Section("picks", "Picks", [*missing, Listing("picks", caption, picks)])]
    blocks: list[Block]
    if "others" in data and order is not None:
        others = len(data["others"]["rows"])
        caption = f"The best {others:,} rows that were not taken: {cut(order.said, 200)}"
        blocks = [Listing("others", caption, others)]
    else:
        blocks = [Words(["Nothing says which rows would have been next: no score, no view."])]
    return [*made, Section("others", "The best of what was not taken", blocks)]
