"""Arrays and tables larger than memory: written once in order, then read through a map.

What is small stays in memory. What is not lies in a file without a name below the cache folder,
which is gone with the process however that ends.
"""

from __future__ import annotations

import mmap
import tempfile
from typing import Any, BinaryIO
from weakref import WeakSet

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from modicum.cache import cache_folder

IN_MEMORY = 1 << 26  # bytes
_MAPS: WeakSet[mmap.mmap] = WeakSet()


class Spool:
    """An array of rows that are added in order."""

    def __init__(self, dtype: npt.DTypeLike, *row: int) -> None:
        """`row`: the shape of one row, nothing for numbers."""
        self._dtype, self._row = np.dtype(dtype), row
        self._parts: list[np.ndarray] = []
        self._file: BinaryIO | None = None
        self._rows = self._bytes = 0

    def add(self, rows: np.ndarray) -> None:
        """Append rows, converted to the array's type."""
        part = np.ascontiguousarray(rows, dtype=self._dtype).reshape(-1, *self._row)
        self._rows, self._bytes = self._rows + len(part), self._bytes + part.nbytes
        self._parts.append(part)
        if self._bytes > IN_MEMORY:
            self._file = self._file or _unnamed()
            for waiting in self._parts:
                _put(self._file, waiting.data)
            self._parts.clear()

    @property
    def on_disk(self) -> bool:
        """Whether the rows are too many to stay in memory."""
        return self._file is not None

    def whole(self) -> np.ndarray:
        """All rows that were added; read-only where they are on disk."""
        if self._file is None:
            nothing = np.empty((0, *self._row), self._dtype)
            return np.concatenate([nothing, *self._parts])
        held = np.frombuffer(_mapped(self._file), self._dtype)
        return held.reshape(self._rows, *self._row)


class BatchSpool:
    """Record batches of one schema, of which the last can be taken back."""

    def __init__(self, schema: pa.Schema) -> None:
        self.schema = schema
        self._batches: list[pa.RecordBatch] = []
        self._ends: list[int] = []  # of the batches in the file
        self._file: BinaryIO | None = None
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._ends) + len(self._batches)

    def add(self, batch: pa.RecordBatch) -> None:
        """Append a batch."""
        self._batches.append(batch)
        self._bytes += batch.nbytes
        if self._bytes > IN_MEMORY:
            self._file = self._file or _unnamed()
            for waiting in self._batches:
                _put(self._file, waiting.serialize())
                self._ends.append(self._file.tell())
            self._batches.clear()

    def cut(self, batches: int) -> None:
        """Keep so many of the first batches."""
        del self._batches[max(0, batches - len(self._ends)) :]
        if self._file is not None and batches < len(self._ends):
            del self._ends[batches:]
            self._file.seek(self._ends[-1] if self._ends else 0)
            self._file.truncate()

    def table(self) -> pa.Table:
        """All batches; those on disk are not copied into memory."""
        batches: list[pa.RecordBatch] = []
        if self._file is not None and self._ends:
            held, start = pa.py_buffer(_mapped(self._file)), 0
            for end in self._ends:
                part = held.slice(start, end - start)
                batches.append(pa.ipc.read_record_batch(part, self.schema))
                start = end
        return pa.Table.from_batches([*batches, *self._batches], schema=self.schema)


def _put(file: BinaryIO, data: Any) -> None:
    try:
        file.write(data)
        file.flush()  # a full disk says so here, where a map would end the process
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(cache_folder())) from error


def give_back() -> None:
    """Let go of the pages of every map that were read: who needs one again finds it on disk.

    The system would do so itself, but not before another program is short of memory.
    """
    for held in list(_MAPS):
        if hasattr(held, "madvise"):  # not on every system
            held.madvise(mmap.MADV_DONTNEED)


def _mapped(file: BinaryIO) -> mmap.mmap:
    held = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    _MAPS.add(held)
    return held


def _unnamed() -> BinaryIO:
    # Not in the folder for temporary files, which often lies in memory itself.
    folder = cache_folder() / "spool"
    folder.mkdir(parents=True, exist_ok=True)
    return tempfile.TemporaryFile(dir=folder)
