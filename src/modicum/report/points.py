"""The map's points as the page's script takes them: base64 of small integers."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import numpy as np

from modicum.report.counted import named
from modicum.report.listed import size_of
from modicum.report.printed import cut

if TYPE_CHECKING:
    import pyarrow as pa

_SPAN = 65_534  # the longer side; one value more says that a row has no place
_NOWHERE = 65_535
_NAME = 80
_POINTS, _PICKS = 60_000, 20_000  # drawn at most: more would outgrow the page


def drawn(rows: int, picks_K: np.ndarray, listed_L: np.ndarray) -> np.ndarray:
    """(P,) The rows that get a point, ascending: all of them, or the picks first taken, those
    listed beside the map, and of the others some by chance."""
    if rows <= _POINTS and len(picks_K) <= _PICKS:
        return np.arange(rows)
    first_M = np.union1d(picks_K[:_PICKS], listed_L)
    others_M = np.setdiff1d(np.arange(rows), np.union1d(picks_K, listed_L), assume_unique=True)
    some_M = np.random.default_rng(0).permutation(others_M)[: _POINTS - len(first_M)]
    return np.union1d(first_M, some_M)


def points(
    rows: pa.Table, places: pa.Table, picks_K: np.ndarray, drawn_P: np.ndarray
) -> dict[str, Any]:
    """Coordinates, sources, tokens and nearest picks of the rows drawn, and the picks in order.

    A pick is named by its place among the points; `rows` has their positions in the pool where
    not all are drawn. Both axes have one unit, so that what looks near is as near as the
    projection has it.
    """
    whole = len(drawn_P) == places.num_rows
    picks_K = picks_K if whole else picks_K[:_PICKS]
    nearest_N = _nearest(places, picks_K)
    if not whole:
        picks_K = np.searchsorted(drawn_P, picks_K)
        rows, places, nearest_N = rows.take(drawn_P), places.take(drawn_P), nearest_N[drawn_P]
    xy_N2 = np.stack([_floats(places[name]) for name in ("x", "y")], axis=1)
    known_N = np.isfinite(xy_N2).all(axis=1)
    at_N2 = np.full((len(xy_N2), 2), _NOWHERE, dtype=np.uint16)
    wide = high = 0
    if known_N.any():
        low_2 = xy_N2[known_N].min(axis=0)
        sides_2 = xy_N2[known_N].max(axis=0) - low_2
        unit = _SPAN / (float(sides_2.max()) or 1.0)
        at_N2[known_N] = np.round((xy_N2[known_N] - low_2) * unit).astype(np.uint16)
        wide, high = (round(float(side) * unit) for side in sides_2)
    names, source_N = named(rows["source"])
    made: dict[str, Any] = {
        "places": _packed(at_N2),
        "wide": wide,
        "high": high,
        "tokens": _packed(rows["tokens"].to_numpy(zero_copy_only=False)),
        "picks": picks_K.tolist(),
        "nearest": _packed(nearest_N),
        "rows": None if whole else _packed(drawn_P),
        "drawn": len(drawn_P),
        "source": None,
        "sources": [],
        "ids": None,
    }
    if len(names) <= 256:
        made |= {"source": _packed(source_N), "sources": [cut(name, _NAME) for name in names]}
    return made


def with_ids(made: dict[str, Any], rows: pa.Table, room: int) -> dict[str, Any]:
    """The points with every row's id, if all are drawn and those fit into so many bytes."""
    if made["rows"] is not None:
        return made
    ids = [cut(str(each), _NAME) for each in rows["id"].to_pylist()]
    return {**made, "ids": ids} if size_of(ids) <= room else made


def _nearest(places: pa.Table, picks_K: np.ndarray) -> np.ndarray:
    """(N,) which pick is nearest to each row, counted from 1 in the order taken; 0 if unknown."""
    order_N = np.zeros(places.num_rows, dtype=np.int64)
    order_N[picks_K] = np.arange(1, len(picks_K) + 1)
    nearest_N = _floats(places["nearest"])
    known_N = np.isfinite(nearest_N) & (nearest_N >= 0) & (nearest_N < len(order_N))
    found_N = np.zeros(len(order_N), dtype=np.int64)
    found_N[known_N] = order_N[nearest_N[known_N].astype(np.int64)]
    return found_N


def _floats(column: pa.ChunkedArray) -> np.ndarray:
    return np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.float64)


def _packed(values: np.ndarray) -> dict[str, Any]:
    """Whole numbers in as few bytes as hold the largest, with how many bytes those are."""
    wide = next(w for w in (1, 2, 4) if w == 4 or int(values.max(initial=0)) < 256**w)
    packed = np.ascontiguousarray(values, dtype=np.dtype(f"<u{wide}"))
    return {"bytes": wide, "data": base64.b64encode(packed.tobytes()).decode("ascii")}
