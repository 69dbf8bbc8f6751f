"""Rows on their way into a mixed file: by the file they lie in, as they are or written anew."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa

from modicum.errors import InputError
from modicum.pool import Pool, SourceFile
from modicum.readers.back import check_unchanged
from modicum.readers.fit import fitted, left_behind
from modicum.readers.raw import raw_rows
from modicum.readers.target import Target, as_it_is, spans_of

_Row = TypeVar("_Row")
Lost = Counter[tuple[str, str]]  # of (file, column): rows whose value there is not in the mix


class Rows(NamedTuple):
    """Some rows of a pool that the mixed file takes in one way."""

    file: SourceFile | None  # they lie in
    as_it_is: bool
    places_K: np.ndarray  # which of the rows asked for
    positions_K: np.ndarray  # in the pool


def sorted_out(pool: Pool, positions_K: np.ndarray, into: Target) -> Iterator[Rows]:
    """The rows by the file they lie in, which must be as it was, and whether they stand as is."""
    file_K = pool.table["file"].to_numpy()[positions_K]
    for number in np.unique(file_K).tolist():
        places_K = np.flatnonzero(file_K == number)
        file = pool.files[number] if pool.files else None
        if file:
            check_unchanged(file)
        kept = file is not None and as_it_is(file, into)
        yield Rows(file, kept, places_K, positions_K[places_K])


def each(
    pool: Pool, rows: Rows, read: Callable[[SourceFile, list[tuple[int, int]]], Iterable[_Row]]
) -> Iterator[_Row]:
    """The rows as `read` finds them where they lie, in the order asked for."""
    if rows.file is None:
        return
    spans = spans_of(pool, rows.positions_K)
    once = sorted(set(spans))
    found = dict(zip(once, read(rows.file, once), strict=True))
    yield from (found[span] for span in spans)


def raw_of(pool: Pool, rows: Rows) -> Iterator[dict[str, Any]]:
    """The rows as their file holds them; none where they lie in no file."""
    return each(pool, rows, raw_rows)


def anew(
    pool: Pool, rows: Rows, into: Target, own: Iterable[dict[str, Any] | None]
) -> Iterator[dict[str, Any] | str]:
    """Each row as it is written anew, or why it does not fit. `own`: see `fitted`."""
    chosen = Pool(pool.table.take(pa.array(rows.positions_K)))
    return (fitted(example, into, row) for example, row in zip(chosen, own, strict=True))


def sure(pool: Pool, rows: Rows, into: Target, lost: Lost) -> Iterator[dict[str, Any]]:
    """Each row as it is written anew; columns that it leaves behind are counted in `lost`."""
    raw = list(raw_of(pool, rows)) or [{}] * len(rows.positions_K)
    made = anew(pool, rows, into, raw if rows.file in into.new else [None] * len(raw))
    for position, held, row in zip(rows.positions_K, raw, made, strict=True):
        if isinstance(row, str):
            raise InputError(f"{pool.where(int(position))}: {row}")
        if rows.file:
            behind = left_behind(held, row, rows.file, into)
            lost.update((rows.file.path, name) for name in behind)
        yield row
