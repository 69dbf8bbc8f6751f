"""Rows as readers find them → the table of a pool, never all of them in Python at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from modicum.pool import SCHEMA, RawRow, Turn, digest
from modicum.spool import BatchSpool

_AT_ONCE = 4096  # rows in Python's hands
_TURN = SCHEMA.field("turns").type.value_type
_OWN = pa.schema([SCHEMA.field("id"), *(f for f in SCHEMA if f.name != "id")])
_NUMBERED = r"-[0-9]+$"


class Gathered:
    """Rows that were added in order. The last of them can be taken back."""

    def __init__(self) -> None:
        self._waiting: list[RawRow] = []
        self._batches = BatchSpool(_OWN)

    def add(self, row: RawRow) -> None:
        """One more row."""
        self._waiting.append(row)
        if len(self._waiting) == _AT_ONCE:
            self.mark()

    def mark(self) -> int:
        """A place to `cut` back to."""
        if self._waiting:
            self._batches.add(_batch(self._waiting))
            self._waiting = []
        return len(self._batches)

    def cut(self, mark: int) -> None:
        """Forget the rows that were added since."""
        self._waiting = []
        self._batches.cut(mark)

    def table(self) -> tuple[pa.Table, tuple[str, ...]]:
        """The table of a pool with its ids settled, and the ids that several rows had.

        A row's own id if no other row has it, the digest of its turns otherwise; what is still
        found twice is numbered.
        """
        self.mark()
        table = self._batches.table()
        ids, repeated = _settled(table["id"], table["digest"])
        return table.set_column(0, SCHEMA.field("id"), ids), repeated


def _batch(rows: Sequence[RawRow]) -> pa.RecordBatch:
    columns: dict[str, Any] = {
        "id": [row.own_id for row in rows],
        "source": [row.source for row in rows],
        "instruction": [row.instruction for row in rows],
        "turns": _turns([row.turns for row in rows]),
        "digest": [digest(row.turns) for row in rows],
        "file": [row.file for row in rows],
        "row": [row.row for row in rows],
        "start": [row.start for row in rows],
        "end": [row.end for row in rows],
        "task": [row.task for row in rows],
        "tags": [row.tags for row in rows],
        "choices": [row.choices for row in rows],
        "gold": [row.gold for row in rows],
    }
    arrays = [
        c if isinstance(c, pa.Array) else pa.array(c, f.type)
        for f in SCHEMA
        for c in [columns[f.name]]
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=_OWN)


def _turns(rows: Sequence[Sequence[Turn]]) -> pa.Array:
    """The column of turns, made without a dictionary for each of them."""
    flat = [turn for turns in rows for turn in turns]
    fields = [
        pa.array([turn[place] for turn in flat], field.type) for place, field in enumerate(_TURN)
    ]
    ends = np.cumsum([0, *map(len, rows)], dtype=np.int64)
    return pa.LargeListArray.from_arrays(
        pa.array(ends), pa.StructArray.from_arrays(fields, fields=list(_TURN))
    )


def _settled(
    own: pa.ChunkedArray, digests: pa.ChunkedArray
) -> tuple[pa.ChunkedArray, tuple[str, ...]]:
    """Ids that no two rows share; and own ids of several rows, in the order they were met."""
    uses = pc.value_counts(own.drop_null())
    several = pc.greater(uses.field("counts"), 1)
    repeated = uses.field("values").filter(several)
    usable = pc.and_(own.is_valid(), pc.invert(pc.is_in(own, value_set=repeated)))
    if pc.all(usable).as_py() or not len(own):
        return own, ()
    ids = pc.if_else(usable, own, _hexadecimal(digests))
    return _numbered(ids, usable), tuple(repeated.to_pylist())


def _hexadecimal(digests: pa.ChunkedArray) -> pa.ChunkedArray:
    """Each digest as 32 letters."""
    letters = pa.large_string()
    chunks = (pa.array([one.hex() for one in part.to_pylist()], letters) for part in digests.chunks)
    return pa.chunked_array(chunks, letters)


def _numbered(ids: pa.ChunkedArray, own: pa.ChunkedArray) -> pa.ChunkedArray:
    """Number the repeats, `a`, `a-2`, `a-3`, so that they never meet one of the rows' own ids."""
    uses = pc.value_counts(ids)
    several = uses.field("values").filter(pc.greater(uses.field("counts"), 1))
    if not len(several):
        return ids
    found = pc.and_(pc.is_in(ids, value_set=several), pc.invert(own))
    mine = ids.filter(own)
    taken = set(mine.filter(pc.match_substring_regex(mine, _NUMBERED)).to_pylist())
    met = several.filter(pc.is_in(several, value_set=mine.combine_chunks())).to_pylist()
    names = pa.array(_unique(ids.filter(found).to_pylist(), taken, met), pa.large_string())
    return pc.replace_with_mask(ids.combine_chunks(), found.combine_chunks(), names)


def _unique(ids: Sequence[str], taken: set[str], met: Sequence[str]) -> list[str]:
    """Number the repeats, also of those met before, never meeting an id that is taken."""
    seen = Counter(met)
    result: list[str] = []
    for id in ids:
        seen[id] += 1
        name = id
        while seen[id] > 1 and (name == id or name in taken):
            name = f"{id}-{seen[id]}"
            seen[id] += name in taken
        result.append(name)
    return result
