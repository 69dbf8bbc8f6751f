"""What a selection leaves behind for its report: words, a map, and how far the picks are spread."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from modicum import durable
from modicum.progress import progress
from modicum.report.spread import DRAWS, Map, Spread, drawn_map, spread
from modicum.runs import write_json
from modicum.selection.rows import Array, finite_rows
from modicum.spool import give_back

if TYPE_CHECKING:
    from modicum.choose import Selection
    from modicum.context import Looked
    from modicum.pool import Pool

CHARACTERS = 300  # of a text
_BATCH = 1 << 16  # rows read at once
_TEXTS = pa.schema(
    [("position", pa.int64()), ("text", pa.large_string()), ("answer", pa.large_string())]
)


def leave(selection: Selection, folder: Path) -> None:
    """`texts.parquet`; and `map.parquet` and `spread.json` if the method looked through a view.

    The map and the curves are of the last view that it looked through.
    """
    leave_texts(selection.pool, folder)
    if (looked := selection.looked) is None:
        return
    picks_K = np.searchsorted(looked.positions_N, selection.picks)
    if not finite_rows(looked.vectors_ND)[picks_K].any():
        return
    on_map = drawn_map(looked.vectors_ND)
    with progress("comparing the spread with chance", DRAWS + 1, "draws") as advance:
        found = spread(looked.vectors_ND, picks_K, advance)
    table = _map_table(looked, on_map, found, len(selection.pool))
    durable.write(folder / "map.parquet", lambda beside: pq.write_table(table, beside))
    write_json(folder / "spread.json", _told(looked, on_map, found))


def leave_texts(pool: Pool, folder: Path) -> None:
    """`texts.parquet`: how each row begins.

    `text` are the first 300 characters of the last words of a user, or of the instruction where
    no user speaks; `answer` those of the last answer that is to be learned, null if there is none.
    """
    durable.write(folder / "texts.parquet", lambda beside: _write_texts(pool, beside))


def _write_texts(pool: Pool, path: Path) -> None:
    rows = 0
    with pq.ParquetWriter(path, _TEXTS, compression="zstd") as file:
        for text, answer in _texts(pool):
            position = pa.array(np.arange(rows, rows + len(text)))
            file.write_table(pa.table([position, text, answer], schema=_TEXTS))
            rows += len(text)
            give_back()


def _texts(pool: Pool) -> Iterator[tuple[pa.Array, pa.Array]]:
    for batch in pool.table.select(["instruction", "turns"]).to_batches(_BATCH):
        turns, rows = batch["turns"].flatten(), len(batch)
        row_T = pc.list_parent_indices(batch["turns"]).to_numpy()
        words, learned = turns.field("content"), turns.field("train")
        asked = pc.equal(turns.field("role"), "user")
        text = pc.coalesce(_last(words, asked, row_T, rows), batch["instruction"])
        answer = _last(words, learned, row_T, rows)
        yield _beginning(text), _beginning(answer)


def _last(words: pa.Array, wanted: pa.Array, row_T: Array, rows: int) -> pa.Array:
    """For each row the last of its turns that is wanted; null where none is."""
    at_M = np.flatnonzero(wanted.to_numpy(zero_copy_only=False))
    place_N = np.full(rows, -1, dtype=np.int64)
    np.maximum.at(place_N, row_T[at_M], at_M)
    return words.take(pa.array(place_N, mask=place_N < 0))


def _beginning(words: pa.Array) -> pa.Array:
    return pc.utf8_slice_codeunits(words, 0, CHARACTERS)


def _map_table(looked: Looked, on_map: Map, found: Spread, rows: int) -> pa.Table:
    """One row per pool example; null for one that the view does not show."""
    at_M, n = looked.positions_N, len(looked.positions_N)
    seen_N, known_N = np.isfinite(on_map.xy_N2).all(axis=1), found.nearest_N >= 0
    nearest_N = np.where(known_N, at_M[found.nearest_N.clip(0, n - 1)], -1)
    columns: dict[str, Any] = {"position": pa.array(np.arange(rows))}
    for name, values_N, shown_N, kind in (
        ("x", on_map.xy_N2[:, 0], seen_N, np.float32),
        ("y", on_map.xy_N2[:, 1], seen_N, np.float32),
        ("nearest", nearest_N, seen_N, np.int64),
        ("distance", found.distance_N, seen_N & known_N, np.float64),
    ):
        whole_N, hidden_N = np.zeros(rows, dtype=kind), np.ones(rows, dtype=bool)
        whole_N[at_M], hidden_N[at_M] = np.where(shown_N, values_N, 0), ~shown_N
        columns[name] = pa.array(whole_N, mask=hidden_N)
    return pa.table(columns)


def _told(looked: Looked, on_map: Map, found: Spread) -> dict[str, Any]:
    """The curves, and how everything was made, as `spread.json` has it."""
    return {
        "view": looked.view,
        "model": "tuned" if looked.tuned else "given",
        "projection": on_map.projection,
        "explained": on_map.explained,
        "distance": "euclidean",
        "rows": found.rows,
        "rows_looked_at": found.rows_looked_at,
        "picks_looked_at": found.picks_looked_at,
        "sizes": found.sizes,
        "radius": _numbers(found.picks.radius_S),
        "diversity": _numbers(found.picks.diversity_S),
        "random": {
            "draws": DRAWS,
            "radius": _band([curve.radius_S for curve in found.random]),
            "diversity": _band([curve.diversity_S for curve in found.random]),
        },
    }


def _band(curves: Sequence[Array]) -> dict[str, list[float | None]]:
    """The lowest and the highest of the draws, and their mean."""
    values_DS = np.stack(curves)
    ends = {"low": values_DS.min(axis=0), "high": values_DS.max(axis=0)}
    band = ends | {"mean": values_DS.mean(axis=0)}
    return {name: _numbers(values_S) for name, values_S in band.items()}


def _numbers(values_S: Array) -> list[float | None]:
    return [float(value) if np.isfinite(value) else None for value in values_S]
