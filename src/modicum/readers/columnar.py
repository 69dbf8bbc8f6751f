"""Rows from Parquet and Arrow, batch by batch, and the same batches cut down to some rows."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from modicum.errors import InputError
from modicum.readers.found import Fault, Found
from modicum.readers.streams import compression, open_bytes

_BATCH = 1024  # rows
_GATHERED = 64 << 20  # bytes of chosen rows that are written as one
_IPC_FILE = b"ARROW1"
# What a damaged file raises: names of its columns may not be UTF-8 either.
_UNREADABLE = (pa.ArrowException, OSError, UnicodeDecodeError)
# What a value raises that Arrow holds and Python does not: broken text, a time after the year 9999.
_NO_VALUE = (UnicodeDecodeError, OverflowError, ValueError, pa.ArrowException)


class Columnar(NamedTuple):
    """A columnar input that is open: its schema, its batches, and what to write it as."""

    schema: pa.Schema
    batches: Iterator[pa.RecordBatch]
    kind: str  # "parquet", "file" or "stream"
    codec: str  # of Parquet's pages


@contextmanager
def open_columnar(
    path: str, ending: str, wanted: Collection[str] | None = None
) -> Iterator[Columnar]:
    """Open a `.parquet` or `.arrow` file; of its columns only the `wanted` ones where given.

    A file that cannot be opened raises `InputError`, and so does reading on where it is damaged.
    """
    with _seekable(path) as file:
        try:
            opened = _parquet(file, wanted) if ending == ".parquet" else _arrow(file)
            _check_names(path, opened.schema, wanted or ())
        except _UNREADABLE as error:
            raise _unreadable(path, ending, error) from error
        yield opened._replace(batches=_checked(opened.batches, path, ending))


def columnar_rows(columnar: Columnar, wanted: Collection[str]) -> Iterator[Found]:
    """Each row as a mapping from column to value, of the `wanted` columns only."""
    # Columns that nobody asked for are not converted: they may be images or nanosecond times.
    row = 0
    for batch in columnar.batches:
        for value in _values(batch, wanted):
            yield Found(row + 1, row, row + 1, value)
            row += 1


def _values(batch: pa.RecordBatch, wanted: Collection[str]) -> list[object]:
    """Each row as a mapping; a Fault for one that Python cannot hold, as text that is not UTF-8."""
    try:
        return _mappings(batch, wanted)
    except _NO_VALUE:
        return [_value(batch.slice(i, 1), wanted) for i in range(batch.num_rows)]


def _value(row: pa.RecordBatch, wanted: Collection[str]) -> object:
    try:
        return _mappings(row, wanted)[0]
    except UnicodeDecodeError as error:
        return Fault("not UTF-8", f"byte 0x{error.object[error.start]:02x} of a text")
    except _NO_VALUE as error:
        return Fault("cannot be read", _first_line(error))


def _mappings(batch: pa.RecordBatch, wanted: Collection[str]) -> list[object]:
    names = [name for name in batch.schema.names if name in wanted]
    return list(batch.select(names).to_pylist()) if names else [{}] * batch.num_rows


def taken(columnar: Columnar, rows_K: Sequence[int]) -> Iterator[pa.Table]:
    """The rows at these indices, which are in ascending order, in tables of bounded size."""
    # Written batch by batch they would make a Parquet file of a thousand tiny row groups.
    gathered: list[pa.RecordBatch] = []
    size = 0
    for batch in _cut_down(columnar.batches, rows_K):
        gathered.append(batch)
        size += batch.nbytes
        if size > _GATHERED:
            yield pa.Table.from_batches(gathered)
            gathered, size = [], 0
    if gathered:
        yield pa.Table.from_batches(gathered)


def _cut_down(batches: Iterator[pa.RecordBatch], rows_K: Sequence[int]) -> Iterator[pa.RecordBatch]:
    wanted_K = np.asarray(rows_K, dtype=np.int64)
    start = 0
    for batch in batches:
        low, high = np.searchsorted(wanted_K, [start, start + batch.num_rows])
        if low < high:
            yield batch.take(pa.array(wanted_K[low:high] - start))
        start += batch.num_rows


@contextmanager
def columnar_writer(file: BinaryIO, like: Columnar) -> Iterator[Any]:
    """A writer of the same kind with the same schema, metadata included."""
    if like.kind == "parquet":
        writer = pq.ParquetWriter(file, like.schema, compression=like.codec)
    elif like.kind == "file":
        writer = pa.ipc.new_file(file, like.schema)
    else:
        writer = pa.ipc.new_stream(file, like.schema)
    with writer:
        yield writer


def _check_names(path: str, schema: pa.Schema, wanted: Collection[str]) -> None:
    names = schema.names
    if twice := [name for name in wanted if names.count(name) > 1]:
        raise InputError(f"{path} has several columns named {twice[0]}; leave one of that name")


@contextmanager
def _seekable(path: str) -> Iterator[Any]:
    """The file itself, or its decompressed bytes in a temporary file: a footer comes last."""
    if not compression(path):
        with pa.OSFile(path) as file:
            yield file
        return
    with tempfile.TemporaryFile() as whole, open_bytes(path) as stream:
        try:
            shutil.copyfileobj(stream, whole)
        except EOFError as error:
            raise InputError(f"{path} ends early: its compressed data is cut off") from error
        whole.seek(0)
        yield pa.PythonFile(whole, mode="r")


def _parquet(file: Any, wanted: Collection[str] | None) -> Columnar:
    opened = pq.ParquetFile(file)
    schema, meta = opened.schema_arrow, opened.metadata
    names = None if wanted is None else [name for name in schema.names if name in wanted]
    some = meta.num_row_groups and meta.num_columns
    codec = meta.row_group(0).column(0).compression if some else "snappy"
    batches = opened.iter_batches(batch_size=_BATCH, columns=names)
    return Columnar(schema, batches, "parquet", "none" if codec == "UNCOMPRESSED" else codec)


def _arrow(file: Any) -> Columnar:
    is_file = file.read(len(_IPC_FILE)) == _IPC_FILE
    file.seek(0)
    if not is_file:
        stream = pa.ipc.open_stream(file)
        return Columnar(stream.schema, _sliced(_sound(iter(stream))), "stream", "")
    reader = pa.ipc.open_file(file)
    whole = (reader.get_batch(index) for index in range(reader.num_record_batches))
    return Columnar(reader.schema, _sliced(_sound(whole)), "file", "")


def _sound(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Batches of which nothing points outside: Arrow believes what a file says of its lengths.

    Texts that are not UTF-8 are left to cost their rows.
    """
    for batch in batches:
        try:
            batch.validate(full=True)
        except pa.ArrowException:
            for column in batch.columns:
                column.view(_as_bytes(column.type)).validate(full=True)
        yield batch


def _as_bytes(type: pa.DataType) -> pa.DataType:
    """The same type with bytes for its texts."""
    if pa.types.is_string(type):
        return pa.binary()
    if pa.types.is_large_string(type):
        return pa.large_binary()
    if pa.types.is_struct(type):
        return pa.struct([field.with_type(_as_bytes(field.type)) for field in type])
    if pa.types.is_list(type):
        return pa.list_(type.value_field.with_type(_as_bytes(type.value_type)))
    if pa.types.is_large_list(type):
        return pa.large_list(type.value_field.with_type(_as_bytes(type.value_type)))
    return type


def _sliced(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        for start in range(0, batch.num_rows, _BATCH):
            yield batch.slice(start, _BATCH)


def _checked(batches: Iterator[pa.RecordBatch], path: str, ending: str) -> Iterator[pa.RecordBatch]:
    try:
        yield from batches
    except _UNREADABLE as error:
        raise _unreadable(path, ending, error) from error


def _unreadable(path: str, ending: str, error: Exception) -> InputError:
    kind = {".parquet": "Parquet", ".arrow": "Arrow"}[ending]
    return InputError(f"{path} is not a readable {kind} file: {_first_line(error)}")


def _first_line(error: Exception) -> str:
    """Arrow's own messages go on for several lines."""
    return str(error).strip().partition("\n")[0]
