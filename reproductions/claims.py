"""What the reproductions share: a claim, its pieces, the line of each, what is kept of it.

A piece is one `modicum compare`. It goes on where it was stopped, and what it made is kept under
`reproductions/results/PAPER/SIZE/`: the record without single values as `PIECE.json`, and every
finished arm with the values of its held-out rows under `PIECE/`. Working files lie under
`runs/reproductions/`.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

ROOT = Path(__file__).parent.parent
sys.path.append(str(ROOT / "experiments"))
import pieces as shared  # noqa: E402

from modicum.runs import write_json  # noqa: E402

Row = dict[str, Any]
# The rate and the short steps that taught 60 rows best (dev/LOG.md, the streams): with steps of
# 4,096 tokens, the default, the smallest subsets would take one or two.
SHORT_STEPS = (
    "--train learning_rate=5e-5 --train gradient_accumulation_steps=1 --train max_length=512"
)
_DIGITS = 5  # kept of a value


@dataclass(frozen=True)
class Piece:
    """One comparison: what it asks, the rows it takes, and the rest of its line."""

    name: str
    asks: str  # in one line
    pool: Sequence[Row]
    held_out: Sequence[Row]
    line: str
    steps: str = SHORT_STEPS  # "" for those that are set where nothing is said

    @property
    def whole(self) -> str:
        """The line with its steps."""
        return f"{self.line} {self.steps}".rstrip()


@dataclass(frozen=True)
class Claim:
    """What a paper says, and what of it is tried at which size."""

    paper: str  # folder of its results
    title: str
    says: str
    scaled: str  # what is smaller here, and why

    def main(self, pieces: Callable[[str], Iterable[Piece]]) -> None:
        """Run the pieces of a size, all or those named, and keep what is finished."""
        options = _options(self.says)
        os.chdir(ROOT)
        for piece in pieces(options.size):
            if options.pieces and piece.name not in options.pieces:
                continue
            folder = Path("runs") / "reproductions" / self.paper / options.size / piece.name
            if not options.gather:
                self._run(piece, folder, options)
            self._keep(piece, folder, options.size)

    def _run(self, piece: Piece, folder: Path, options: argparse.Namespace) -> None:
        pool = shared.write_rows(folder / "pool.jsonl", piece.pool)
        held_out = shared.write_rows(folder / "held-out.jsonl", piece.held_out)
        model = ["--model", options.model] if options.model else []
        line = [
            "compare",
            pool,
            "--eval",
            held_out,
            *shlex.split(piece.whole),
            *model,
            *options.more,
        ]
        shared.modicum(*line, "-o", folder / "out")

    def _keep(self, piece: Piece, folder: Path, size: str) -> None:
        kept = results(self.paper, size)
        for path in sorted((folder / "out" / "arms").glob("*/arm.json")):
            arm = json.loads(path.read_text(encoding="utf-8"))
            values = {k: _rounded(v) for k, v in arm["values"].items()}
            about = {k: v for k, v in arm.items() if k not in ("answers", "made_from", "values")}
            write_json(kept / piece.name / f"{path.parent.name}.json", {**about, "values": values})
        record = folder / "out" / "compare.json"
        if record.exists():
            for stale in (kept / piece.name).glob("*.json"):  # of a line that was changed since
                if not (folder / "out" / "arms" / stale.stem).exists():
                    stale.unlink()
            found = json.loads(record.read_text(encoding="utf-8"))
            found["arms"] = [{k: v for k, v in a.items() if k != "values"} for a in found["arms"]]
            found["untuned"] = {k: v for k, v in found["untuned"].items() if k != "values"}
            found["evaluation"] = {k: v for k, v in found["evaluation"].items() if k != "ids"}
            found["choosing"] = list(_choosing(folder / "out", found["arms"]))
            about = {"asks": piece.asks, "line": piece.whole}
            write_json(kept / f"{piece.name}.json", {**about, **found})


def _choosing(out: Path, arms: Sequence[Row]) -> Iterator[Row]:
    """What each method's first choice took, from the files of the choices themselves.

    An arm that was gone on with does not know what its choice took before.
    """
    first = min(arm["seed"] for arm in arms)
    for arm in arms:
        if arm["seed"] == first and arm["selection"]:
            picks = out / "selections" / arm["selection"] / "picks.json"
            ledger = json.loads(picks.read_text(encoding="utf-8"))["ledger"]
            keys = ("forward_tokens", "backward_tokens", "generated_tokens", "rows_reused")
            took = sum(ledger["seconds"].values())
            yield {"name": arm["method"], **{k: ledger[k] for k in keys}, "seconds": took}


def results(paper: str, size: str) -> Path:
    """Where the results of a paper are kept."""
    return ROOT / "reproductions" / "results" / paper / size


def rows_of(path: str, columns: Sequence[str] = (), **where: str) -> list[Row]:
    """Rows of a real file below the folder `MODICUM_DATA`, with the columns asked for."""
    if not (data := os.environ.get("MODICUM_DATA")):
        raise SystemExit("set MODICUM_DATA to the folder that holds the real pools")
    filters = [(key, "=", value) for key, value in where.items()] or None
    wanted = ["id", "messages", *columns]
    found = pq.read_table(Path(data) / f"{path}.parquet", columns=wanted, filters=filters)
    rows: list[Row] = found.to_pylist()
    return rows


def parted(rows: Sequence[Row], pool: int, held_out: int) -> tuple[list[Row], list[Row]]:
    """So many rows to choose from and others held out, both evenly spaced over the whole."""
    some = shared.evenly(rows, pool + held_out)
    exam = shared.evenly(some, held_out)
    ids = {row["id"] for row in exam}
    return [row for row in some if row["id"] not in ids], exam


def short(rows: Sequence[Row], characters: int) -> list[Row]:
    """Rows whose turns together are not longer than this."""
    return [r for r in rows if sum(len(turn["content"]) for turn in r["messages"]) <= characters]


def _rounded(values: Sequence[float | None]) -> list[float | None]:
    return [None if value is None else round(value, _DIGITS) for value in values]


def _options(says: str) -> argparse.Namespace:
    made = argparse.ArgumentParser(description=says)
    made.add_argument("--size", choices=("cpu", "gpu"), default="cpu")
    made.add_argument("--pieces", nargs="+", default=[], help="only these")
    made.add_argument("--model", help="another than the embedded one")
    made.add_argument("--gather", action="store_true", help="keep what is finished, run nothing")
    made.add_argument("more", nargs="*", help="further words for modicum compare, after --")
    return made.parse_args()
