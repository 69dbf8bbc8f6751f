"""The lines of every command that keeps something, and what their finished folders must hold."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from modicum.training.evolving import MEASURED
from test_stream import task_files

STAND_INS = ("training.evolving.tune", "stream.course.tune", "evidence.arms.tune")
# What a second process can do faster, for it finds things done; and what clocks decide.
OTHERWISE = {
    *("seconds", "forward_tokens", "padding_tokens", "forward_passes", "rows_reused"),
    *("predicted", "calibrate", "cost", "resumed_at_step", "loss_curve"),
    *("damaged_shards", "fallbacks", "files"),
}
LINES = {
    "select": "select POOL -m k-center -k 4 -o OUT",
    "diverse-evol": "select POOL -m diverse-evol -k 6 --set initial=2 --set rounds=2 -o OUT",
    "stream": "stream TASKS -m random -k 2 --holdout 2 --seeds 1 --no-generate -o OUT",
    "compare": "compare POOL --eval TASK -m random -k 4 --seeds 1 --no-full -o OUT",
    "train": "train POOL --train max_steps=2 -o OUT",
    "replay": "replay --old TASKS --new POOL -m random -k 3 -o OUT/mix.jsonl",
}


Run = Callable[..., Any]


class Place:
    """A folder with all that a line keeps, and the line."""

    def __init__(self, root: Path, name: str, cli: Run, pool: Path, model: Path) -> None:
        self.root, self.cli = root, cli
        tasks = task_files(root.parent / "tasks")
        given: dict[str, list[str]] = {
            "POOL": [str(pool)],
            "TASK": [tasks[0]],
            "TASKS": list(tasks),
        }
        self.words = [
            w.replace("OUT", str(root / "out"))
            for word in LINES[name].split()
            for w in given.get(word, [word])
        ]
        self.words += ["--model", str(model), "--precision", "float32"]
        root.mkdir()

    @property
    def out(self) -> Path:
        return self.root / "out"

    def run(self) -> Any:
        return self.cli(*self.words)

    def put_back(self, copy: Path) -> None:
        shutil.rmtree(self.root)
        shutil.copytree(copy, self.root)

    def result(self, digits: int = 17) -> dict[str, Any]:
        """What the finished folder holds, file by file, as far as it must not differ.

        Numbers agree in so many digits: all, unless what was measured was lost.
        """
        found: dict[str, Any] = {}
        for path in sorted(self.out.rglob("*")):
            name = path.relative_to(self.out).as_posix()
            if path.is_dir() or path.name.startswith((".", "report.")) or MEASURED in path.parts:
                continue  # what goes last of all a killed line may leave
            if path.suffix == ".json":
                found[name] = told(json.loads(path.read_text()), digits)
            elif path.suffix == ".parquet":
                found[name] = told(pq.read_table(path).to_pydict(), digits)
            else:
                found[name] = path.read_bytes()
        return found


def told(facts: Any, digits: int = 17) -> Any:
    """Facts without what a second process does otherwise, and NaN as equal to NaN."""
    if isinstance(facts, list):
        return [told(each, digits) for each in facts]
    if isinstance(facts, float):
        return f"{facts:.{digits}g}"
    if not isinstance(facts, dict):
        return facts
    kept = {key: told(value, digits) for key, value in facts.items() if key not in OTHERWISE}
    return kept | ({"checksum": ""} if "checksum" in facts else {})
