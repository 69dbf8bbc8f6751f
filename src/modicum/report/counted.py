"""What the page counts from a run's tables: shares of sources, and how numbers are spread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa

_BINS = 32
_SOURCES = 30
_LONG_TAIL = 12.0  # the largest value over the median, from which on a log scale reads better
_QUANTILES = (5, 50, 95)
_FIXED = {"id", "source", "position", "tokens", "picked", "order", "gain", "round", "reason"}


def score_names(rows: pa.Table) -> list[str]:
    """The columns that hold scores."""
    import pyarrow as pa

    return [
        field.name
        for field in rows.schema
        if field.name not in _FIXED
        and (pa.types.is_floating(field.type) or pa.types.is_integer(field.type))
    ]


def values_of(table: pa.Table, name: str) -> np.ndarray:
    """(N,) a column of numbers, NaN where it has none."""
    values_N = table[name].to_numpy(zero_copy_only=False)
    return np.asarray(values_N, dtype=np.float64)


def picked_of(rows: pa.Table) -> np.ndarray:
    """(N,) which rows were chosen; all False for a run that chooses nothing."""
    if "picked" not in rows.column_names:
        return np.zeros(rows.num_rows, dtype=bool)
    return np.asarray(rows["picked"].to_numpy(zero_copy_only=False), dtype=bool)


def distribution(values_N: np.ndarray, picked_N: np.ndarray) -> dict[str, Any] | None:
    """Counts and shares between edges, of all rows and of the chosen, and three quantiles of each.

    Rows without a finite number are in `missing` only. None if no row has one.
    """
    known_N = np.isfinite(values_N)
    pool_M, chosen_K = values_N[known_N], values_N[known_N & picked_N]
    if not len(pool_M):
        return None
    edges, log = _edges(pool_M)
    found: dict[str, Any] = {"edges": edges.tolist(), "log": log}
    for name, values_M in (("pool", pool_M), ("chosen", chosen_K)):
        counts = np.histogram(values_M, edges)[0]
        found[name] = {
            "rows": len(values_M),
            "counts": counts.tolist(),
            "shares": (counts / max(1, len(values_M))).tolist(),
            "quantiles": quantiles(values_M),
        }
    return {**found, "missing": int((~known_N).sum())}


def quantiles(values_M: np.ndarray) -> dict[str, float | None]:
    """The 5th, 50th and 95th percentile, by name."""
    if not len(values_M):
        return {str(q): None for q in _QUANTILES}
    found = np.percentile(values_M, _QUANTILES).tolist()
    return dict(zip(map(str, _QUANTILES), found, strict=True))


def _edges(values_M: np.ndarray) -> tuple[np.ndarray, bool]:
    low, high = float(values_M.min()), float(values_M.max())
    if low == high:
        wide = abs(low) * 0.5 or 0.5
        return np.array([low - wide, high + wide]), False
    log = low > 0 and high > _LONG_TAIL * float(np.median(values_M))
    whole = bool((values_M == np.round(values_M)).all()) and high - low <= _BINS
    if whole and not log:
        return np.arange(low - 0.5, high + 1), False
    edges = np.geomspace(low, high, _BINS + 1) if log else np.linspace(low, high, _BINS + 1)
    edges[0], edges[-1] = low, high  # geomspace may miss them by a last digit, and lose the row
    return edges, log


def sources(rows: pa.Table) -> list[dict[str, Any]]:
    """Of each source the rows and tokens, before and after, and their shares; the largest first.

    Beyond the first thirty they are counted together, under the name None.
    """
    names, place_N = named(rows["source"])
    picked_N, tokens_N = picked_of(rows), values_of(rows, "tokens")
    sums = {
        "rows": np.bincount(place_N, minlength=len(names)),
        "tokens": np.bincount(place_N, tokens_N, minlength=len(names)),
        "picked": np.bincount(place_N, picked_N, minlength=len(names)),
        "tokens_picked": np.bincount(place_N, tokens_N * picked_N, minlength=len(names)),
    }
    order = np.argsort(-sums["rows"], kind="stable").tolist()
    groups = [([at], names[at]) for at in order[:_SOURCES]]
    found: list[dict[str, Any]] = []
    for places, name in [*groups, *([(order[_SOURCES:], None)] if order[_SOURCES:] else [])]:
        line: dict[str, Any] = {"source": name, "sources": len(places)}
        for key, sum_S in sums.items():
            line[key] = int(sum_S[places].sum())
            line[f"{key}_share"] = line[key] / max(1, int(sum_S.sum()))
        found.append(line)
    return found


def named(column: pa.ChunkedArray) -> tuple[list[str], np.ndarray]:
    """The names in a column, sorted, and which of them each row has."""
    import pyarrow.compute as pc

    found = column.combine_chunks().dictionary_encode()
    order_S = np.asarray(pc.array_sort_indices(found.dictionary))
    rank_S = np.empty(len(order_S), dtype=np.int64)
    rank_S[order_S] = np.arange(len(order_S))
    return found.dictionary.take(order_S).to_pylist(), rank_S[found.indices.to_numpy()]


def shares(rows: pa.Table) -> dict[str, Any]:
    """How much of the pool was chosen, in rows and in tokens."""
    picked_N, tokens_N = picked_of(rows), values_of(rows, "tokens")
    counts = {"rows": rows.num_rows, "tokens": int(tokens_N.sum())}
    taken = {"rows": int(picked_N.sum()), "tokens": int(tokens_N[picked_N].sum())}
    return {
        "pool": counts,
        "chosen": taken,
        "rows": taken["rows"] / max(1, counts["rows"]),
        "tokens": taken["tokens"] / max(1, counts["tokens"]),
    }
