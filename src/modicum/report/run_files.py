"""What a run folder holds, for the page; a file that is not there is None."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from modicum.errors import RunError
from modicum.runs import read_object

if TYPE_CHECKING:
    import pyarrow as pa

Kind = Literal["select", "score", "compare", "stream"]
_RECORDS: dict[str, Kind] = {"compare.json": "compare", "stream.json": "stream"}


@dataclass(frozen=True)
class Run:
    """A run folder, its manifest, and what kind of run it is of."""

    folder: Path
    kind: Kind
    manifest: dict[str, Any]

    def record(self, name: str) -> dict[str, Any] | None:
        """A JSON object of the folder."""
        path = self.folder / name
        return read_object(path) if path.exists() else None

    def entries(self, name: str) -> list[dict[str, Any]]:
        """A JSON list of the folder, or the objects of a JSONL file; empty where it is missing."""
        path = self.folder / name
        if not path.exists():
            return []
        text = path.read_text(encoding="utf-8")
        try:
            if name.endswith(".jsonl"):
                # Not splitlines: a row's text may hold U+2028, which is no end of a line of JSON.
                return [json.loads(line) for line in text.split("\n") if line]
            return list(json.loads(text))
        except ValueError as error:
            raise RunError(f"{path} was not written by Modicum: {error}") from None

    def table(self, name: str, rows: int | None = None) -> pa.Table | None:
        """A Parquet file of the folder, by position; it must have so many rows."""
        import pyarrow.parquet as pq

        return self._read(name, rows, lambda path: _by_position(pq.read_table(path)))

    def some(self, name: str, at_K: np.ndarray, rows: int) -> pa.Table | None:
        """The rows at these positions, in their order, of a Parquet file that must have so many."""
        return self._read(name, rows, lambda path: _some(path, at_K))

    def _read(
        self, name: str, rows: int | None, read: Callable[[Path], pa.Table]
    ) -> pa.Table | None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = self.folder / name
        if not path.exists():
            return None
        try:
            held = pq.read_metadata(path).num_rows
            table = read(path) if rows in (None, held) else None
        except (pa.ArrowInvalid, OSError) as error:
            raise RunError(f"{path} cannot be read: {str(error).splitlines()[0]}") from None
        if table is None:
            raise RunError(
                f"{path} has {held:,} rows and rows.parquet {rows:,}; run the same "
                "command into an empty folder"
            )
        return table


def _by_position(table: pa.Table) -> pa.Table:
    if "position" not in table.column_names:
        return table
    ascend = np.diff(table["position"].to_numpy()) > 0
    return table if ascend.all() else table.sort_by("position")


def _some(path: Path, at_K: np.ndarray) -> pa.Table:
    """Rows by position, of a file that is read a row group at a time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        parts = [file.schema_arrow.empty_table()]
        for batch in file.iter_batches():
            wanted = np.isin(batch["position"].to_numpy(zero_copy_only=False), at_K)
            if wanted.any():
                parts.append(pa.Table.from_batches([batch.filter(pa.array(wanted))]))
    table = _by_position(pa.concat_tables(parts))
    held_M = table["position"].to_numpy()
    if not np.array_equal(held_M, np.unique(at_K)):
        raise RunError(f"{path} does not hold every row; run the same command into an empty folder")
    return table.take(pa.array(np.searchsorted(held_M, at_K)))


def find_run(folder: Path, manifest: dict[str, Any] | None) -> Run:
    """The run in a folder; a `RunError` names what is missing."""
    if not folder.is_dir():
        raise RunError(f"{folder} is no folder; name one that select, compare or stream wrote")
    if manifest is None:
        path = folder / "manifest.json"
        if not path.exists():
            told = "run the line that made it again" if (folder / "command.json").exists() else ""
            raise RunError(
                f"{folder} holds no finished run: manifest.json is missing; "
                + (told or "name a folder that select, compare or stream wrote")
            )
        manifest = read_object(path)
    for name, kind in _RECORDS.items():
        if (folder / name).exists():
            return Run(folder, kind, manifest)
    if not (folder / "rows.parquet").exists():
        raise RunError(
            f"{folder} has no page: it holds none of rows.parquet, compare.json, stream.json, "
            "one of which select, score, compare and stream leave"
        )
    return Run(folder, "select" if "method" in manifest else "score", manifest)
