"""Rows of old files among those of a new one: one shuffled file in the new file's format.

A row whose file has the same format, columns and kind of file comes back as it is; any other is
written anew from its turns, in the new file's columns. Reading the file gives the very turns.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import pyarrow as pa

from modicum.errors import InputError
from modicum.pool import Pool, SourceFile
from modicum.readers.back import (
    Part,
    check_unchanged,
    ended,
    header_bytes,
    opened_columnar,
    row_bytes,
)
from modicum.readers.columnar import Columnar, columnar_writer, taken
from modicum.readers.fit import encoded, fitted
from modicum.readers.sources import ending_of
from modicum.readers.streams import compressed, new_file
from modicum.readers.target import Target, as_it_is, target

_BATCH = 4096  # rows that are Python objects at once, on their way into a table
_ONE_LINE = bytes.maketrans(b"\r\n", b"  ")


class _Rows(NamedTuple):
    """Some rows of a pool that the mixed file takes in one way."""

    file: SourceFile | None  # the file they stand in as they are; None: written anew
    places_K: np.ndarray  # which of the rows asked for
    positions_K: np.ndarray  # in the pool


def unfit(old: Pool, new: Pool, ending: str) -> dict[int, str]:
    """Positions of `old` that cannot be written in the new file's format: why, and what to do.

    `ending` is that of the mixed file, `.jsonl` or `.csv.gz`. New files that share no format,
    columns or kind of file raise `InputError`.
    """
    into = target(new, ending_of(Path(f"mix{ending}"))[0])
    found: dict[int, str] = {}
    for rows in _sorted_out(old, np.arange(len(old)), into):
        if rows.file is None:
            for position, row in zip(rows.positions_K, _anew(old, rows, into), strict=True):
                if isinstance(row, str):
                    found[int(position)] = row
    return dict(sorted(found.items()))


def write_mix(new: Pool, old: Pool, picks: np.ndarray, path: Path, order: np.ndarray) -> None:
    """Write every row of `new` and the picked rows of `old` to a new file, in this order.

    Place `i` holds row `order[i]`: row `r` of `new`, or from `len(new)` on pick `r - len(new)`.
    The ending of `path` says what file it becomes. A row that does not fit (see `unfit`), an input
    that changed and a path that exists raise `InputError`, and nothing is left half written. The
    rows are held in memory.
    """
    ending, compression = ending_of(path)
    into = target(new, ending)
    picks_K, order_R = np.asarray(picks, dtype=np.int64), np.asarray(order, dtype=np.int64)
    rows = len(new) + len(picks_K)
    if not np.array_equal(np.sort(order_R), np.arange(rows)):
        raise InputError(f"an order of {len(order_R)} places does not hold {rows} rows once each")
    if len(picks_K) and not 0 <= picks_K.min() <= picks_K.max() < len(old):
        raise InputError(f"picks {picks_K.min()}..{picks_K.max()} of a pool of {len(old)}")
    asked = [(new, np.arange(len(new))), (old, picks_K)]
    path.parent.mkdir(parents=True, exist_ok=True)
    with new_file(path) as file, compressed(file, compression) as out:
        if into.columnar is None:
            lines = [line for pool, chosen_K in asked for line in _lines(pool, chosen_K, into)]
            _write_lines([lines[row] for row in order_R.tolist()], into, out)
        else:
            table = _table(asked, order_R, into, into.columnar.schema)
            _write_table(table, path, into.columnar, out)


def _sorted_out(pool: Pool, positions_K: np.ndarray, into: Target) -> Iterator[_Rows]:
    """The rows by the file they lie in, and whether they can stand as they are."""
    file_K = pool.table["file"].to_numpy()[positions_K]
    for number in np.unique(file_K).tolist():
        places_K = np.flatnonzero(file_K == number)
        file = pool.files[number] if pool.files else None
        kept = file if file and as_it_is(file, into) else None
        if kept:
            check_unchanged(kept)
        yield _Rows(kept, places_K, positions_K[places_K])


def _anew(pool: Pool, rows: _Rows, into: Target) -> Iterator[dict[str, Any] | str]:
    chosen = Pool(pool.table.take(pa.array(rows.positions_K)))
    return (fitted(example, into) for example in chosen)


def _sure(pool: Pool, rows: _Rows, into: Target) -> Iterator[dict[str, Any]]:
    for position, row in zip(rows.positions_K, _anew(pool, rows, into), strict=True):
        if isinstance(row, str):
            raise InputError(f"{pool.where(int(position))}: {row}")
        yield row


def _lines(pool: Pool, positions_K: np.ndarray, into: Target) -> list[bytes]:
    lines = [b""] * len(positions_K)
    for rows in _sorted_out(pool, positions_K, into):
        if rows.file is None:
            made = (encoded(row, into) for row in _sure(pool, rows, into))
        else:
            start_K, end_K = (
                pool.table[name].to_numpy()[rows.positions_K].tolist() for name in ("start", "end")
            )
            spans = sorted(set(zip(start_K, end_K, strict=True)))
            found = dict(zip(spans, row_bytes(Part(rows.file, spans)), strict=True))
            made = (found[span] for span in zip(start_K, end_K, strict=True))
        for place, line in zip(rows.places_K.tolist(), made, strict=True):
            lines[place] = line
    return lines


def _write_lines(lines: Sequence[bytes], into: Target, out: BinaryIO) -> None:
    if into.ending == ".json":
        out.write(b"[\n" + b",\n".join(line.strip() for line in lines) + b"\n]\n")
        return
    if into.kind == "csv":
        own = into.like.ending.startswith(".csv")
        header = dict(zip(into.header, into.header, strict=True))
        out.write(ended(header_bytes(into.like)) if own else encoded(header, into))
    for line in lines:
        # An element of an array may go over lines; no break in it is part of a text.
        spread = into.kind == "json" and b"\n" in line.strip()
        out.write(ended(line.strip().translate(_ONE_LINE) if spread else line))


def _write_table(table: pa.Table, path: Path, like: Columnar, out: BinaryIO) -> None:
    try:
        with columnar_writer(out, like) as writer:
            writer.write_table(table)
    except pa.ArrowException as error:  # null inside a turn, a type that Parquet has not
        first = str(error).strip().partition("\n")[0]
        raise InputError(f"{path} cannot hold these rows: {first}; write to .jsonl") from error


def _table(
    asked: Sequence[tuple[Pool, np.ndarray]], order_R: np.ndarray, into: Target, schema: pa.Schema
) -> pa.Table:
    tables: list[pa.Table] = []
    places: list[np.ndarray] = []  # of each row asked for, in the tables one after another
    size = 0
    for pool, positions_K in asked:
        place_K = np.zeros(len(positions_K), dtype=np.int64)
        for rows in _sorted_out(pool, positions_K, into):
            made, inner_K = _part(pool, rows, into, schema)
            place_K[rows.places_K] = size + inner_K
            tables += made
            size += sum(table.num_rows for table in made)
        places.append(place_K)
    # Dictionaries differ by file; a file has one.
    whole = pa.concat_tables(tables).unify_dictionaries()
    return whole.take(pa.array(np.concatenate(places)[order_R]))


def _part(
    pool: Pool, rows: _Rows, into: Target, schema: pa.Schema
) -> tuple[list[pa.Table], np.ndarray]:
    """The rows as tables, and where each of them stands there."""
    if rows.file is None:
        made = _sure(pool, rows, into)
        parts = iter(lambda: list(islice(made, _BATCH)), [])
        tables = [pa.Table.from_pylist(part, schema=schema) for part in parts]
        return tables, np.arange(len(rows.places_K))
    start_K = pool.table["start"].to_numpy()[rows.positions_K]
    once, inner_K = np.unique(start_K, return_inverse=True)
    with ExitStack() as opened:
        found = taken(opened_columnar(rows.file, opened), once.tolist())
        return [_as_schema(table, schema) for table in found], inner_K


def _as_schema(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The columns of the schema; null where the table has none of that type."""
    places = [table.schema.get_field_index(field.name) for field in schema]
    columns = [
        table.column(place)
        if place >= 0 and table.schema.field(place).type == field.type
        else pa.nulls(table.num_rows, field.type)
        for place, field in zip(places, schema, strict=True)
    ]
    return pa.Table.from_arrays(columns, schema=schema)
