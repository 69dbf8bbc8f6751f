"""`modicum show`: what a run folder knows of one row."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from modicum.errors import ModicumError, OptionError, RunError
from modicum.runs import read_object

if TYPE_CHECKING:
    import pyarrow as pa

    from modicum.explain import Pick


class Words(NamedTuple):
    """What a row says."""

    text: str | None  # its last question; None where the run does not hold it
    answer: str | None  # its last answer that is learned
    from_inputs: bool = False  # read again, whole; else the beginnings that the run kept


def run_explain(folder: Path, row: str | None) -> dict[str, Any]:
    """What is known of a row, named by id, position or `#1`; or of one set aside, by `file:row`."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    from modicum.explain import find_row

    manifest = _manifest(folder)
    if row is None:  # a shell takes an unquoted # for the beginning of a comment
        raise OptionError(
            f"which row of {folder}? Give its id, its position from 0, or '#1' in quotes, the "
            "first pick"
        )
    rows = pq.read_table(folder / "rows.parquet")
    own = pc.index(rows["id"], row).as_py()  # an id goes before any other reading of the word
    if own < 0 and (aside := _set_aside(folder, row)) is not None:
        return {"run": str(folder), **aside}
    position = own if own >= 0 else _left_out(manifest, rows, row)
    if position is None:
        position = find_row(rows, row, str(folder))
    return {"run": str(folder), **_told(folder, manifest, rows, position)}


def _told(folder: Path, manifest: dict[str, Any], rows: pa.Table, position: int) -> dict[str, Any]:
    from modicum.explain import neighbours, pick_of, places, why

    row = {name: rows[name][position].as_py() for name in rows.column_names}
    pick, words = pick_of(rows, position), _words(folder, manifest, position)
    before, after = neighbours(rows, pick.order) if pick else (None, None)
    return {
        "id": row["id"],
        "source": row["source"],
        "position": position,
        "rows": rows.num_rows,
        "tokens": row["tokens"],
        "text": words.text,
        "answer": words.answer,
        "whole_text": words.from_inputs,
        "places": {name: place.to_json() for name, place in places(rows, position).items()},
        "picked": row.get("picked"),
        **{name: row.get(name) for name in ("order", "gain", "round", "reason")},
        "why": why(rows, position, manifest),
        "nearest_pick": None if pick else _nearest(folder, rows, position),
        "before": _json(before),
        "after": _json(after),
    }


def _manifest(folder: Path) -> dict[str, Any]:
    """That of a finished run whose rows can be explained."""
    if not folder.is_dir():
        raise RunError(f"{folder} is no folder; give the one that select or score wrote")
    if not (folder / "manifest.json").exists():
        raise RunError(
            f"{folder} holds no manifest.json: it is no run folder, or its run is not finished; "
            "run its line again to go on"
        )
    if not (folder / "rows.parquet").exists():
        raise RunError(
            f"{folder} holds no rows.parquet; show explains rows of what select or score wrote"
        )
    return read_object(folder / "manifest.json")


def _set_aside(folder: Path, row: str) -> dict[str, Any] | None:
    """A row that was rejected when it was read, by `file:row`; the file's name alone will do."""
    kept, number = folder / "rejected.jsonl", row.rpartition(":")[2]
    if not (kept.exists() and ":" in row):
        return None
    for bad in _lines_with(kept, number):
        where = f"{bad['file']}:{bad['row']}"
        if row in (where, f"{Path(bad['file']).name}:{bad['row']}"):
            detail = f" ({bad['detail']})" if bad["detail"] else ""
            said = {"where": where, "picked": False, "reason": bad["reason"]}
            return said | {
                "detail": bad["detail"],
                "why": f"set aside as a bad row: {bad['reason']}{detail}",
            }
    return None


def _lines_with(path: Path, part: str) -> Iterator[dict[str, Any]]:
    """The lines that have such a part somewhere: of many, few have to be taken apart."""
    with path.open(encoding="utf-8") as lines:
        yield from (json.loads(line) for line in lines if part in line)


def _left_out(manifest: dict[str, Any], rows: pa.Table, row: str) -> int | None:
    """The position of a row that could not be picked, by `file:row`."""
    import pyarrow.compute as pc

    for left in manifest.get("left_out", []):
        file, _, number = left["where"].rpartition(":")
        if row in (left["where"], f"{Path(file).name}:{number}"):
            return int(pc.index(rows["id"], left["id"]).as_py())
    return None


def _nearest(folder: Path, rows: pa.Table, position: int) -> dict[str, Any] | None:
    """The nearest pick in the run's view, where it has one."""
    import pyarrow.parquet as pq

    from modicum.explain import nearest

    path = folder / "map.parquet"
    spots = (
        pq.read_table(path, columns=["position", "nearest", "distance"])
        if (path.exists())
        else None
    )
    found = None if spots is None else nearest(spots, position)
    if found is None:
        return None
    id, order = rows["id"][found[0]].as_py(), rows["order"][found[0]].as_py()
    return {"id": id, "position": found[0], "order": order, "distance": found[1]}


def _words(folder: Path, manifest: dict[str, Any], position: int) -> Words:
    """From what the run kept, or from its inputs as long as they are what they were."""
    import pyarrow.parquet as pq

    if (path := folder / "texts.parquet").exists():
        kept = pq.read_table(path, filters=[("position", "==", position)])
        if len(kept):
            return Words(kept["text"][0].as_py(), kept["answer"][0].as_py())
    return _read_again(folder, manifest, position)


def _read_again(folder: Path, manifest: dict[str, Any], position: int) -> Words:
    from modicum.jobs.reading import Reading

    command, inputs = read_object(folder / "command.json"), manifest.get("inputs", [])
    paths = tuple(str(one["path"]) for one in inputs)
    if not all(Path(path).exists() for path in paths) or not paths:
        return Words(None, None)
    try:
        reading = Reading(paths, command.get("format"), command.get("fields"), skip_bad=True)
        pool = reading.read()
    except (ModicumError, OSError):  # an input that changed is as good as none
        return Words(None, None)
    if pool.fingerprint != manifest["pool"]:
        return Words(None, None)
    turns = pool[position].turns
    asked = [turn.content for turn in turns if turn.role == "user"]
    answers = [turn.content for turn in turns if turn.train]
    return Words(asked[-1] if asked else None, answers[-1] if answers else None, from_inputs=True)


def _json(pick: Pick | None) -> dict[str, Any] | None:
    return None if pick is None else pick._asdict()
