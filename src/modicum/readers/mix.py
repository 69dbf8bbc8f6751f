"""Rows of old files among those of a new one: one shuffled file in the new file's format.

A row whose file has the same format, columns and kind of file comes back as it is; any other is
written anew from its turns, in the new file's columns. Reading the file gives the very turns.
What else the rows hold and the mixed file does not is counted, column by column.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa

from modicum import durable
from modicum.errors import InputError
from modicum.pool import Pool, SourceFile
from modicum.readers.back import Part, ended, header_bytes, opened_columnar, row_bytes
from modicum.readers.columnar import Columnar, columnar_writer, taken
from modicum.readers.fit import encoded
from modicum.readers.incoming import Lost, anew, each, raw_of, sorted_out, sure
from modicum.readers.raw import kind_of
from modicum.readers.schema import under
from modicum.readers.sources import ending_of
from modicum.readers.streams import compressed
from modicum.readers.target import Target, target

_BATCH = 4096  # rows that are Python objects at once, on their way into a table
_ONE_LINE = bytes.maketrans(b"\r\n", b"  ")


def unfit(pool: Pool, new: Pool, ending: str) -> dict[int, str]:
    """Positions of `pool` that cannot be written in the new file's format: why, and what to do.

    Rows that come back as they are fit. With an ending of another kind than the new file's its own
    rows are written anew too, and may not fit. `ending` is that of the mixed file, `.jsonl` or
    `.csv.gz`. New files that share no format, columns or kind of file raise `InputError`.
    """
    into = target(new, ending_of(ending)[0])
    found: dict[int, str] = {}
    for rows in sorted_out(pool, np.arange(len(pool)), into):
        if not rows.as_it_is:
            mine = rows.file in into.new
            own = raw_of(pool, rows) if mine else [None] * len(rows.positions_K)
            for position, row in zip(rows.positions_K, anew(pool, rows, into, own), strict=True):
                if isinstance(row, str):
                    found[int(position)] = row
    return dict(sorted(found.items()))


def write_mix(
    new: Pool, old: Pool, picks: np.ndarray, path: Path, order: np.ndarray
) -> tuple[str, ...]:
    """Write every row of `new` and the picked rows of `old` to a new file, in this order.

    Place `i` holds row `order[i]`: row `r` of `new`, or from `len(new)` on pick `r - len(new)`.
    The ending of `path` says what file it becomes. Returned are notes: for each input the columns
    that the mixed file does not hold, and in how many rows. A row that does not fit (see `unfit`),
    an input that changed and a path that exists raise `InputError`, and nothing is left half
    written. The rows are held in memory.
    """
    ending, compression = ending_of(path)
    into = target(new, ending)
    picks_K, order_R = np.asarray(picks, dtype=np.int64), np.asarray(order, dtype=np.int64)
    rows = len(new) + len(picks_K)
    if not np.array_equal(np.sort(order_R), np.arange(rows)):
        raise InputError(f"an order of {len(order_R)} places does not hold {rows} rows once each")
    if len(picks_K) and not 0 <= picks_K.min() <= picks_K.max() < len(old):
        raise InputError(f"picks {picks_K.min()}..{picks_K.max()} of a pool of {len(old)}")
    asked, lost = [(new, np.arange(len(new))), (old, picks_K)], Lost()
    with durable.new_file(path) as file, compressed(file, compression) as out:
        if into.columnar is None:
            lines = [
                line for pool, chosen_K in asked for line in _lines(pool, chosen_K, into, lost)
            ]
            _write_lines([lines[row] for row in order_R.tolist()], into, out)
        else:
            table = _table(asked, order_R, into, into.columnar.schema, lost)
            _write_table(table, path, into.columnar, out)
    return _notes(lost)


def _notes(lost: Lost) -> tuple[str, ...]:
    found: dict[str, list[str]] = {}
    for (path, name), count in lost.items():
        found.setdefault(path, []).append(f"{name} ({count:,} row{'s' * (count > 1)})")
    return tuple(
        f"columns of {path} whose values are not in the mix, for old rows are written in the shape "
        f"of the new ones: {', '.join(names)}"
        for path, names in found.items()
    )


def _lines(pool: Pool, positions_K: np.ndarray, into: Target, lost: Lost) -> list[bytes]:
    lines = [b""] * len(positions_K)
    for rows in sorted_out(pool, positions_K, into):
        if rows.as_it_is:
            made = each(pool, rows, lambda file, spans: row_bytes(Part(file, spans)))
        else:
            made = (encoded(row, into) for row in sure(pool, rows, into, lost))
        for place, line in zip(rows.places_K.tolist(), made, strict=True):
            lines[place] = line
    return lines


def _write_lines(lines: Sequence[bytes], into: Target, out: BinaryIO) -> None:
    if into.ending == ".json":
        out.write(b"[\n" + b",\n".join(line.strip() for line in lines) + b"\n]\n")
        return
    if into.kind == "csv":
        own = kind_of(into.like) == "csv"
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
    asked: Sequence[tuple[Pool, np.ndarray]],
    order_R: np.ndarray,
    into: Target,
    schema: pa.Schema,
    lost: Lost,
) -> pa.Table:
    tables: list[pa.Table] = []
    places: list[np.ndarray] = []  # of each row asked for, in the tables one after another
    size = 0
    for pool, positions_K in asked:
        place_K = np.zeros(len(positions_K), dtype=np.int64)
        for rows in sorted_out(pool, positions_K, into):
            inner_K = np.arange(len(rows.places_K))
            if rows.as_it_is and rows.file:
                start_K = pool.table["start"].to_numpy()[rows.positions_K]
                once, inner_K = np.unique(start_K, return_inverse=True)
                made = _taken(rows.file, once.tolist(), schema, lost)
            else:
                made = _written(sure(pool, rows, into, lost), schema)
            place_K[rows.places_K] = size + inner_K
            tables += made
            size += sum(table.num_rows for table in made)
        places.append(place_K)
    # Dictionaries differ by file; a file has one.
    whole = pa.concat_tables(tables).unify_dictionaries()
    return whole.take(pa.array(np.concatenate(places)[order_R]))


def _written(rows: Iterator[dict[str, Any]], schema: pa.Schema) -> list[pa.Table]:
    parts = iter(lambda: list(islice(rows, _BATCH)), [])
    return [pa.Table.from_pylist(part, schema=schema) for part in parts]


def _taken(
    file: SourceFile, rows_K: Sequence[int], schema: pa.Schema, lost: Lost
) -> list[pa.Table]:
    made = []
    with ExitStack() as opened:
        for table in taken(opened_columnar(file, opened), rows_K):
            fitting, gone = under(table, schema)
            lost.update({(file.path, name): count for name, count in gone.items()})
            made.append(fitting)
    return made
