"""Rows that the page lists with their text, and how much of it fits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from modicum.report.counted import picked_of, score_names, values_of
from modicum.report.printed import cut, data_block
from modicum.visible import visible

if TYPE_CHECKING:
    import pyarrow as pa

MOST_PICKS = 2000
MOST_OTHERS = 500
_ID, _WHY = 80, 300  # characters shown of an id or a source, and of a reason
# Characters shown of a text, and of an id, a source or a reason: the first two that fit.
_LENGTHS = ((300, 300), (240, 300), (180, 300), (120, 300), (80, 120), (40, 60), (20, 30), (0, 20))

Texts = Callable[[np.ndarray], "pa.Table | None"]  # of the rows at these positions, as a run has it


@dataclass(frozen=True)
class Order:
    """By what rows that were not taken are the best: a number a row, the best first."""

    name: str
    values_N: np.ndarray
    highest_first: bool
    said: str


def best_left(rows: pa.Table, distances_N: np.ndarray | None) -> Order | None:
    """By the score that decided, else by the distance to the nearest pick, else by the first score.

    A score decided if it is the gain of every pick. None if there is no number to go by.
    """
    picked_N = picked_of(rows)
    gains_N = values_of(rows, "gain")
    scores = {name: values_of(rows, name) for name in score_names(rows)}
    for name, values_N in scores.items():
        if picked_N.any() and np.array_equal(values_N[picked_N], gains_N[picked_N]):
            return _ranked(name, values_N, values_of(rows, "order"))
    if distances_N is not None and np.isfinite(distances_N).any():
        said = "farthest first from every pick: what the selection covers least"
        return Order("distance", distances_N, True, said)
    for name, values_N in scores.items():
        return Order(name, values_N, True, f"the highest {name} first, the first score measured")
    return None


def _ranked(name: str, values_N: np.ndarray, order_N: np.ndarray) -> Order:
    """By the score that ranked the picks, in the direction that they were taken.

    Rows that would have come before the last pick, and were not taken, the method passed over.
    """
    taken_K = values_N[np.argsort(order_N, kind="stable")[: int(np.isfinite(order_N).sum())]]
    low = bool(taken_K[0] < taken_K[-1])
    passed_N = ~np.isfinite(order_N) & (
        values_N < taken_K.max() if low else values_N > taken_K.min()
    )
    said = f"the {'lowest' if low else 'highest'} {name} first, by which the picks were ranked"
    if passed := int(passed_N.sum()):
        said += f"; {passed:,} that the method passed over are not among them"
    return Order(name, np.where(passed_N, np.nan, values_N), not low, said)


def places(order: Order, among_N: np.ndarray, most: int) -> np.ndarray:
    """Positions of the best rows among some, best first; equal ones in the pool's order."""
    found_M = np.flatnonzero(among_N & np.isfinite(order.values_N))
    key_M = order.values_N[found_M]
    return found_M[np.argsort(-key_M if order.highest_first else key_M, kind="stable")][:most]


def listing(
    rows: pa.Table,
    texts: Texts,
    at_K: np.ndarray,
    *,
    more: dict[str, np.ndarray],
    numbered: bool,
) -> dict[str, Any]:
    """Columns and rows for the page's script: one row a position, texts as [asked, answered].

    `more` are further columns of numbers, (N,) each.
    """
    some = rows.take(at_K)
    columns: list[tuple[str, str, Sequence[Any]]] = []
    if numbered:
        columns.append(("#", "number", [order + 1 for order in some["order"].to_pylist()]))
    columns.append(("text", "text", _texts(texts(at_K), len(at_K))))
    columns.append(("id", "word", [cut(str(each), _ID) for each in some["id"].to_pylist()]))
    columns.append(("source", "word", [cut(s, _ID) for s in some["source"].to_pylist()]))
    columns.append(("tokens", "number", some["tokens"].to_pylist()))
    for name in score_names(rows):
        columns.append((name, "number", _numbers(values_of(some, name))))
    if numbered and some["gain"].null_count < len(at_K):
        columns.append(("gain", "number", _numbers(values_of(some, "gain"))))
    if numbered and (values_of(some, "round") > 0).any():
        columns.append(("round", "number", some["round"].to_pylist()))
    for name, values_N in more.items():
        columns.append((name, "number", _numbers(values_N[at_K])))
    columns.append(("row", "row", at_K.tolist()))
    reasons = [None if why is None else cut(why, _WHY) for why in some["reason"].to_pylist()]
    if any(reasons):
        columns.insert(2, ("why", "word", reasons))
    return {
        "columns": [{"label": label, "kind": kind} for label, kind, _ in columns],
        "rows": [list(row) for row in zip(*(values for _, _, values in columns), strict=True)],
    }


def fitting(listings: dict[str, dict[str, Any]], room: int) -> tuple[dict[str, Any], int]:
    """The listings with as much of each text as fits into so many bytes, and that many characters.

    Without any text they may still be larger; then they are cut to fewer rows from the end.
    """
    made, length = listings, 0
    for length, words in _LENGTHS:
        made = {name: _shortened(one, length, words) for name, one in listings.items()}
        if size_of(made) <= room:
            return made, length
    while size_of(made) > room and any(len(one["rows"]) > 1 for one in made.values()):
        made = {
            n: {**one, "rows": one["rows"][: len(one["rows"]) // 2 or 1]} for n, one in made.items()
        }
    return made, length


def size_of(content: Any) -> int:
    """Bytes of the data block that holds this."""
    return len(data_block("", content).encode("utf-8"))


def _shortened(one: dict[str, Any], length: int, words: int) -> dict[str, Any]:
    """A listing with its texts, and its other words, no longer than that."""

    def short(value: Any, kind: str) -> Any:
        if kind == "text":
            return [None if text is None else cut(visible(text), length) for text in value]
        return cut(visible(value), words) if kind == "word" and value is not None else value

    kinds = [column["kind"] for column in one["columns"]]
    rows = [[short(v, kind) for v, kind in zip(row, kinds, strict=True)] for row in one["rows"]]
    return {**one, "rows": rows}


def _texts(some: pa.Table | None, rows: int) -> list[list[str | None]]:
    if some is None:
        return [[None, None]] * rows
    return [
        list(both)
        for both in zip(some["text"].to_pylist(), some["answer"].to_pylist(), strict=True)
    ]


def _numbers(values_K: np.ndarray) -> list[float | None]:
    return [value if np.isfinite(value) else None for value in values_K.tolist()]
