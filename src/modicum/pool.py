"""The pool: ordered examples with unique ids, held as one Arrow table; on disk where it is large.

Row *i* of everything that is measured or picked is example *i* of a pool. A pool never holds
the input's other fields: it remembers where each row stands in its file, so that a subset is
written from the input itself (see `modicum.readers.back`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import pyarrow as pa

from modicum.errors import AlignmentError, InputError
from modicum.spool import IN_MEMORY, BatchSpool, give_back

if TYPE_CHECKING:
    import datasets

    from modicum.choose import Selection

_TEXT = pa.large_string()  # a column may hold more than 2 GiB
_TURN = pa.struct([("role", _TEXT), ("content", _TEXT), ("train", pa.bool_())])
SCHEMA = pa.schema(
    [
        ("id", _TEXT),
        ("source", _TEXT),
        ("instruction", _TEXT),
        ("turns", pa.large_list(_TURN)),
        ("digest", pa.binary(16)),  # of the turns alone: equal rows have equal digests
        ("file", pa.int32()),  # index into Pool.files
        ("row", pa.int64()),  # as messages name it: line of a .jsonl, otherwise 1 for the first row
        ("start", pa.int64()),  # bytes of a text format; row index of a columnar one
        ("end", pa.int64()),
        ("task", _TEXT),  # null where the row names none
        ("tags", pa.large_list(_TEXT)),  # null where the row has none
        ("choices", pa.large_list(_TEXT)),  # answers that are possible; null where none are said
        ("gold", _TEXT),  # the right one of them, its letter or number; null where none is said
    ]
)


class Turn(NamedTuple):
    """One message: who speaks, what, and whether a model is to learn it (answers only)."""

    role: str  # "system", "user" or "assistant"
    content: str
    train: bool


class Example(NamedTuple):
    """One row of a pool."""

    id: str
    source: str
    instruction: str
    turns: tuple[Turn, ...]


class RawRow(NamedTuple):
    """A usable row as a reader found it, before ids are settled."""

    own_id: str | None  # the row's own `id`, if it has one
    source: str
    instruction: str
    turns: tuple[Turn, ...]
    file: int
    row: int
    start: int
    end: int
    task: str | None = None
    tags: tuple[str, ...] | None = None
    choices: tuple[str, ...] | None = None
    gold: str | None = None


class Rejected(NamedTuple):
    """A row that cannot be used: where it is, a reason to count by, and what exactly is wrong."""

    path: str
    row: int
    reason: str
    detail: str

    def __str__(self) -> str:
        detail = f" ({self.detail})" if self.detail else ""
        return f"{self.path}:{self.row}: {self.reason}{detail}"


@dataclass(frozen=True)
class SourceFile:
    """One input, and how it was read."""

    path: str  # as the user gave it; `hf://…` for a data set of the hub
    format: str  # alpaca, sharegpt, messages, prompt-completion, or several joined by "+"
    ending: str  # of the subset written from it: ".jsonl", ".jsonl.gz", ".parquet", …
    rows: int
    hash: str  # blake2b of the file's bytes
    notes: tuple[str, ...] = ()  # what a reader should be told: duplicate formats, replaced text, …
    # The columns that each field was read from, of those the file has, the first choice first.
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, repr=False)
class Pool:
    """Ordered examples with unique ids. Immutable; `take` makes a smaller one."""

    table: pa.Table
    files: tuple[SourceFile, ...] = ()
    rejected: tuple[Rejected, ...] = ()
    repeated_ids: tuple[str, ...] = ()

    @staticmethod
    def read(*paths: str | Path, format: str | None = None, **fields: str) -> Pool:
        """Read files, folders, globs, `name=path` or `hf://` addresses into one pool.

        `format` and `fields` (for instance `instruction="question"`) override what the columns
        suggest. Bad rows are set aside in `rejected`; a file that cannot be read at all raises
        `InputError`.
        """
        from modicum.readers import read

        return read([str(path) for path in paths], format=format, fields=fields)

    @staticmethod
    def build(
        rows: Iterable[RawRow],
        files: Sequence[SourceFile] = (),
        rejected: Sequence[Rejected] = (),
    ) -> Pool:
        """A pool of these rows, with ids settled: a row's own if no other has it, else its digest.

        `files` and `rejected` are looked at when all rows are read.
        """
        from modicum.readers.gathered import Gathered

        gathered = Gathered()
        for row in rows:
            gathered.add(row)
        table, repeated = gathered.table()
        return Pool(table, tuple(files), tuple(rejected), repeated)

    def __repr__(self) -> str:
        files = ", ".join(file.path for file in self.files)
        return f"Pool({len(self):,} rows of {files or 'memory'}, {len(self.rejected):,} rejected)"

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __iter__(self) -> Iterator[Example]:
        columns = [self.table[name] for name in ("id", "source", "instruction", "turns")]
        for batch in pa.table(columns, ["id", "source", "instruction", "turns"]).to_batches(4096):
            for row in batch.to_pylist():
                turns = tuple(Turn(**turn) for turn in row["turns"])
                yield Example(row["id"], row["source"], row["instruction"], turns)
            give_back()

    def __getitem__(self, position: int) -> Example:
        if not -len(self) <= position < len(self):
            raise IndexError(f"position {position} of a pool of {len(self)}")
        return next(iter(Pool(self.table.slice(position % len(self), 1))))

    @cached_property
    def ids(self) -> list[str]:
        """The unique id of each row, in pool order."""
        return list(self.table["id"].to_pylist())

    @cached_property
    def sources(self) -> list[str]:
        """The source of each row: its file's given name, its own `source`, or the file's stem."""
        return list(self.table["source"].to_pylist())

    @cached_property
    def tasks(self) -> list[str | None]:
        """The task that each row names; None where it names none."""
        return list(self.table["task"].to_pylist())

    @cached_property
    def tags(self) -> list[tuple[str, ...] | None]:
        """The tags of each row, in its order and each once; None where it has none."""
        return _tuples(self.table["tags"])

    @cached_property
    def choices(self) -> list[tuple[str, ...] | None]:
        """The answers that are possible in each row, in its order; None where it says none."""
        return _tuples(self.table["choices"])

    @cached_property
    def gold(self) -> list[str | None]:
        """What each row says is right: one of its choices, its letter or number; or None."""
        return list(self.table["gold"].to_pylist())

    @cached_property
    def digests(self) -> list[bytes]:
        """A hash of each row's turns; equal rows have equal digests."""
        return list(self.table["digest"].to_pylist())

    @cached_property
    def fingerprint(self) -> str:
        """A hash of every id and every row's content, in order."""
        made = hashlib.blake2b(digest_size=16)
        for batch in self.table.select(["id", "digest"]).to_batches():
            for id, content in zip(*(c.to_pylist() for c in batch.columns), strict=True):
                made.update(len(id).to_bytes(4, "little") + id.encode() + content)
        return made.hexdigest()

    def where(self, position: int) -> str:
        """`file:row` of one example, as messages name it."""
        file, row = self.table["file"][position].as_py(), self.table["row"][position].as_py()
        return f"{self.files[file].path}:{row}" if self.files else f"row {row}"

    def take(self, chosen: Selection | Sequence[int] | np.ndarray) -> Pool:
        """The rows at these positions, in pool order (a selection's order stays with it)."""
        from modicum.choose import Selection

        if isinstance(chosen, Selection):
            if chosen.pool.fingerprint != self.fingerprint:
                raise AlignmentError(
                    f"this selection was made from pool {chosen.pool.fingerprint[:8]}, "
                    f"not from this ({self.fingerprint[:8]}); take from the pool it was made from"
                )
            chosen = chosen.picks
        chosen_K = in_pool_order(self, chosen)
        whole = len(chosen_K) == len(self)
        return Pool(self.table if whole else _taken(self.table, chosen_K), self.files)

    def to_dataset(self) -> datasets.Dataset:
        """A `datasets.Dataset` with `id`, `source` and `messages`, as TRL's SFTTrainer takes it.

        `messages` cannot say that an answer is not to be learned: a pool that has such an answer
        raises `InputError`.
        """
        import datasets

        for place, example in enumerate(self):
            if any(turn.role == "assistant" and not turn.train for turn in example.turns):
                raise InputError(
                    f"{self.where(place)}: an answer of row {example.id} is marked as not to be "
                    "learned, which a trainer cannot see in `messages`; leave such rows out, or "
                    "write the subset and train with a trainer that reads the marks"
                )
        rows = [
            {
                "id": example.id,
                "source": example.source,
                "messages": [{"role": t.role, "content": t.content} for t in example.turns],
            }
            for example in self
        ]
        return datasets.Dataset.from_list(rows)


def _taken(table: pa.Table, rows_K: np.ndarray) -> pa.Table:
    """These rows, which ascend; on disk where they are many."""
    if table.nbytes * len(rows_K) <= IN_MEMORY * len(table):
        return table.take(pa.array(rows_K))
    spool, start = BatchSpool(table.schema), 0
    for batch in table.to_batches():
        low, high = np.searchsorted(rows_K, [start, start + len(batch)])
        if low < high:
            spool.add(batch.take(pa.array(rows_K[low:high] - start)))
        start += len(batch)
    return spool.table()


def in_pool_order(pool: Pool, positions: Sequence[int] | np.ndarray) -> np.ndarray:
    """These positions ascending, each once (int64). One that is no row of the pool is refused."""
    given = np.asarray(positions)
    if given.size and not np.issubdtype(given.dtype, np.integer):
        raise InputError(f"positions are {given.dtype}; give ints (np.flatnonzero(mask) of a mask)")
    chosen_K = np.unique(given.astype(np.int64))
    if len(chosen_K) and not 0 <= chosen_K[0] <= chosen_K[-1] < len(pool):
        raise InputError(f"positions {chosen_K[0]}..{chosen_K[-1]} of a pool of {len(pool)}")
    return chosen_K


def texts(pool: Pool, over: Literal["row", "answer", "instruction"] = "row") -> Iterator[str]:
    """The words of each example: all turns, the learned answers, or the user's turns."""
    for example in pool:
        if over == "row":
            turns = [turn.content for turn in example.turns]
        elif over == "answer":
            turns = [turn.content for turn in example.turns if turn.train]
        else:
            turns = [turn.content for turn in example.turns if turn.role == "user"]
        yield "\n\n".join(turns)


def _tuples(column: pa.ChunkedArray) -> list[tuple[str, ...] | None]:
    return [None if texts is None else tuple(texts) for texts in column.to_pylist()]


def digest(turns: Sequence[Turn]) -> bytes:
    """16 bytes that depend on every role, text and `train` flag, and on nothing else."""
    made = hashlib.blake2b(digest_size=16)
    for turn in turns:
        for part in (turn.role.encode(), turn.content.encode()):
            made.update(len(part).to_bytes(8, "little") + part)
        made.update(b"\1" if turn.train else b"\0")
    return made.digest()
