"""The file that rows are mixed into: what its rows look like, and whose rows stand there as is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from modicum.errors import InputError
from modicum.pool import Pool, SourceFile
from modicum.readers.back import check_unchanged
from modicum.readers.columnar import Columnar
from modicum.readers.formats import NEEDED
from modicum.readers.further import SPOKEN, spoken, types_of
from modicum.readers.raw import KINDS, header_of, kind_of, raw_rows, schema_of
from modicum.readers.schema import columnar_like, stands_in
from modicum.readers.shape import LISTS, Shape, shape_of


@dataclass(frozen=True)
class Target:
    """What the mixed file is, and the new files that it is made like."""

    ending: str  # without the compression
    new: tuple[SourceFile, ...]  # alike
    shape: Shape
    turns: frozenset[str]  # the new file's columns that turns are read from
    header: tuple[str, ...] = ()  # of CSV
    columnar: Columnar | None = None  # of Parquet and Arrow; it has no batches

    @property
    def like(self) -> SourceFile:
        """The new file, or the first of several."""
        return self.new[0]

    @property
    def kind(self) -> str:
        """`json`, `csv` or `table`."""
        return KINDS[self.ending]


def target(new: Pool, ending: str) -> Target:
    """The mixed file of this ending for the rows of `new`, whose files must be alike.

    What the first usable row looks like decides how turns are written.
    """
    files = _alike(new)
    like, kind = files[0], KINDS[ending]
    if kind == "csv":
        _refuse_several(like)
    at = int(np.argmin(new.table["file"].to_numpy()))
    (first,) = raw_rows(like, spans_of(new, np.array([at])))
    shape = _reshaped(shape_of(first, like.format, _columns(like, first, kind)), like, kind)
    turns = spoken(like)
    made = Target(ending, files, shape, turns)
    # Of a file of the same kind the columns are its own.
    further = {} if kind_of(like) == kind else types_of(_rows(new, files), turns, kind)
    if kind == "csv":
        header = header_of(like) or tuple(dict.fromkeys([*shape.columns.values(), *further]))
        return replace(made, header=header)
    if kind == "table":
        return replace(made, columnar=columnar_like(like, ending, shape, further))
    return made


def as_it_is(file: SourceFile, into: Target) -> bool:
    """Whether rows of a file stand in the mixed file as they are."""
    like = into.like
    if (
        kind_of(file) != into.kind
        or file.format != like.format
        or _spoken(file) != _spoken(like)
        or not _complete(file) <= _complete(like)
    ):
        return False
    if into.kind == "csv":
        return header_of(file) == into.header
    return into.columnar is None or stands_in(schema_of(file), into.columnar.schema, into.turns)


def spans_of(pool: Pool, positions_K: np.ndarray) -> list[tuple[int, int]]:
    """Where each of these rows starts and ends in its file."""
    start_K, end_K = (pool.table[name].to_numpy()[positions_K] for name in ("start", "end"))
    return list(zip(start_K.tolist(), end_K.tolist(), strict=True))


def _alike(new: Pool) -> tuple[SourceFile, ...]:
    """The files that the rows come from, unchanged since, of one format and the same columns."""
    if not len(new) or not new.files:
        raise InputError("the new file has no rows that can be used; there is nothing to mix into")
    numbers = np.unique(new.table["file"].to_numpy()).tolist()
    like, *others = files = tuple(new.files[number] for number in numbers)
    for file in files:
        check_unchanged(file)
    if "+" in like.format:
        raise InputError(f"{like.path} holds rows of {like.format}; write them in one format first")
    for other in others:
        if _signature(other) != _signature(like):
            raise InputError(
                f"{like.path} and {other.path} are not alike ({like.format} in {like.ending}, "
                f"{other.format} in {other.ending}, or other columns); mix into one of them at a "
                "time"
            )
    return files


def _rows(new: Pool, files: Sequence[SourceFile]) -> Iterator[dict[str, Any]]:
    """Every row as its file holds it."""
    file_N = new.table["file"].to_numpy()
    for number, file in zip(np.unique(file_N).tolist(), files, strict=True):
        yield from raw_rows(file, sorted(set(spans_of(new, np.flatnonzero(file_N == number)))))


def _spoken(file: SourceFile) -> dict[str, tuple[str, ...]]:
    return {f: file.columns[f] for f in SPOKEN[file.format] if f in file.columns}


def _complete(file: SourceFile) -> set[str]:
    """The formats that its columns make whole."""
    return {name for name, fields in NEEDED.items() if all(f in file.columns for f in fields)}


def _signature(file: SourceFile) -> object:
    """What two new files must share."""
    if file.format not in SPOKEN:
        return file.format
    schema = schema_of(file).remove_metadata() if kind_of(file) == "table" else None
    return file.format, kind_of(file), _spoken(file), header_of(file), schema


def _refuse_several(like: SourceFile) -> None:
    if len(both := _complete(like)) > 1:
        raise InputError(
            f"{like.path} has the columns of {' and '.join(sorted(both))}, and CSV cannot leave "
            "one of them null; write the mix as .jsonl"
        )


def _columns(like: SourceFile, first: dict[str, Any], kind: str) -> dict[str, str]:
    """The columns of a row written anew: of its turns, its id, its instruction if that is text."""
    fields = ["id", *SPOKEN[like.format]]
    columns = {field: like.columns[field][0] for field in fields if field in like.columns}
    if kind == "csv":
        columns.pop("history", None)  # a list, which CSV has not
    for name in like.columns.get("instruction", ())[:1]:
        if name not in spoken(like) and isinstance(first.get(name), str | None):
            columns["instruction"] = name
    return columns


def _reshaped(shape: Shape, like: SourceFile, kind: str) -> Shape:
    """The shape of the new file's rows in another kind of file; CSV holds nothing but text."""
    written = dict(shape.written)
    for field, held in shape.written.items():
        if kind == "csv":
            written[field] = held._replace(kind="text", parts=False)
        elif kind_of(like) == "csv" and field in LISTS:
            written[field] = held._replace(kind="list")
    return replace(shape, written=written, whole_ids=shape.whole_ids and kind != "csv")
