"""Chosen rows back out of the inputs: all their fields, in the format they came in.

JSON lines, elements of a JSON array and CSV records come back byte for byte; Parquet and Arrow
rows with the same schema and its metadata.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import pyarrow as pa

from modicum import durable
from modicum.errors import InputError
from modicum.pool import Pool, SourceFile, in_pool_order
from modicum.readers.columnar import Columnar, columnar_writer, open_columnar, taken
from modicum.readers.hub import open_hub
from modicum.readers.layout import layout, text_start
from modicum.readers.sources import HUB, ending_of
from modicum.readers.streams import compressed, copy, file_hash, open_bytes, skip
from modicum.readers.tables import csv_header


class Part(NamedTuple):
    """The rows to take from one input, in the order they stand there."""

    file: SourceFile
    spans: list[tuple[int, int]]  # start and end of each row


def write_back(
    pool: Pool, positions: Sequence[int] | np.ndarray, folder: Path, stem: str = "subset"
) -> list[Path]:
    """Write the input's rows at these positions, in pool order: one file for each ending.

    Inputs that do not fit into one file (another CSV header, another schema) get one more,
    `subset-2.csv`. A file that exists and an input that changed since it was read raise
    `InputError`, and nothing is left half written.
    """
    groups: dict[tuple[str, str], list[Part]] = {}
    for part in _parts(pool, positions):
        check_unchanged(part.file)
        groups.setdefault((part.file.ending, _columns(part.file)), []).append(part)
    written: list[Path] = []
    uses = Counter[str]()
    for (ending, _), parts in groups.items():
        uses[ending] += 1
        path = folder / f"{stem}{f'-{uses[ending]}' if uses[ending] > 1 else ''}{ending}"
        with durable.new_file(path) as file, compressed(file, ending_of(ending)[1]) as out:
            _write(parts, out)
        written.append(path)
    return written


def _parts(pool: Pool, positions: Sequence[int] | np.ndarray) -> list[Part]:
    chosen_K = in_pool_order(pool, positions)
    if len(chosen_K) and not pool.files:
        raise InputError("this pool was not read from files, so there is no input to write from")
    file_K, start_K, end_K = (
        pool.table[name].to_numpy()[chosen_K] for name in ("file", "start", "end")
    )
    parts = []
    for number in dict.fromkeys(file_K.tolist()):
        here_K = file_K == number
        spans = sorted(zip(start_K[here_K].tolist(), end_K[here_K].tolist(), strict=True))
        parts.append(Part(pool.files[number], spans))
    return parts


def check_unchanged(file: SourceFile) -> None:
    """Refuse an input that is no longer what was read."""
    now = open_hub(file.path)[1] if file.path.startswith(HUB) else file_hash(file.path)
    if now != file.hash:
        raise InputError(f"{file.path} changed since it was read; read the pool again")


def _write(parts: list[Part], out: BinaryIO) -> None:
    match ending_of(parts[0].file.ending)[0]:
        case ".csv":
            _write_csv(parts, out)
        case ".parquet" | ".arrow":
            _write_columnar(parts, out)
        case _ if any(layout(part.file.path).array for part in parts):
            _write_array(parts, out)
        case _:
            _write_lines(parts, out)


def _write_lines(parts: list[Part], out: BinaryIO) -> None:
    for part in parts:
        for row in row_bytes(part):
            out.write(ended(row))


def _write_array(parts: list[Part], out: BinaryIO) -> None:
    before = b"[\n"
    for part in parts:
        for row in row_bytes(part):
            # A row of JSON lines among arrays brings its line break with it.
            out.write(before + row.strip())
            before = b",\n"
    out.write(b"\n]\n")


def _write_csv(parts: list[Part], out: BinaryIO) -> None:
    out.write(ended(header_bytes(parts[0].file)))
    _write_lines(parts, out)


def _write_columnar(parts: list[Part], out: BinaryIO) -> None:
    with ExitStack() as first:
        like = opened_columnar(parts[0].file, first)
        with columnar_writer(out, like) as writer:
            for part in parts:
                with ExitStack() as opened:
                    rows_K = [start for start, _ in part.spans]
                    for table in taken(opened_columnar(part.file, opened), rows_K):
                        try:
                            writer.write_table(table.cast(like.schema))
                        except pa.ArrowInvalid as error:  # dictionaries that differ by file
                            raise InputError(
                                f"rows of {part.file.path} do not fit behind those of "
                                f"{parts[0].file.path}: {error}; select from one at a time"
                            ) from error


def _columns(file: SourceFile) -> str:
    """What the rows of a table must share to stand in one file."""
    if ending_of(file.ending)[0] == ".csv":
        return header_bytes(file).strip().decode(errors="surrogateescape")
    if ending_of(file.ending)[0] in (".parquet", ".arrow"):
        with ExitStack() as opened:
            return str(opened_columnar(file, opened).schema.remove_metadata())
    return ""


def opened_columnar(file: SourceFile, opened: ExitStack) -> Columnar:
    """A Parquet or Arrow input, or a data set of the hub, open until `opened` closes."""
    if file.path.startswith(HUB):
        return open_hub(file.path)[0]
    return opened.enter_context(open_columnar(file.path, ending_of(file.ending)[0]))


def header_bytes(file: SourceFile) -> bytes:
    """The header of a CSV input as it stands there."""
    with open_bytes(file.path) as stream:
        header = csv_header(stream, file.path, text_start(file.path))
    return next(row_bytes(Part(file, [(header.start, header.end)])))


def row_bytes(part: Part) -> Iterator[bytes]:
    """The bytes of each row; a row is never longer than what reading holds at once."""
    with open_bytes(part.file.path) as stream:
        at = 0
        for start, end in part.spans:
            if stream.seekable():
                stream.seek(start)
            else:
                skip(stream, start - at)
            yield b"".join(copy(stream, end - start))
            at = end


def ended(row: bytes) -> bytes:
    """A row with a line break at its end."""
    return row if row.endswith(b"\n") else row + b"\n"
