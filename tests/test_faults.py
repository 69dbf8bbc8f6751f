"""The disk as a death at any durable write leaves it: the same line goes on, and ends the same.

A command is run once, and at every step of a write or removal all that it keeps (its folder and
its cache) is copied: a process that dies there leaves just that. From each copy the same line is
run again.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from diverse_evol_rounds import RATES
from modicum import durable
from modicum.models import Model
from quick_tuning import QuickTuning
from test_cli import Run
from test_cli import run as cli
from test_stream import task_files

__all__ = ["cli"]

STAND_INS = ("training.evolving.tune", "stream.course.tune", "evidence.arms.tune")
# What a second process can do faster, for it finds things done; and what clocks decide.
OTHERWISE = {
    *("seconds", "forward_tokens", "padding_tokens", "forward_passes", "rows_reused"),
    *("predicted", "calibrate", "cost", "resumed_at_step", "loss_curve"),
    *("damaged_shards", "fallbacks", "files"),
}
DEATHS = ("begin", "written", "kept", "removed")
LINES = {
    "select": "select POOL -m k-center -k 4 -o OUT",
    "diverse-evol": "select POOL -m diverse-evol -k 6 --set initial=2 --set rounds=2 -o OUT",
    "stream": "stream TASKS -m random -k 2 --holdout 2 --seeds 1 --no-generate -o OUT",
    "compare": "compare POOL --eval TASK -m random -k 4 --seeds 1 --no-full -o OUT",
    "train": "train POOL --train max_steps=2 -o OUT",
    "replay": "replay --old TASKS --new POOL -m random -k 3 -o OUT/mix.jsonl",
}


class Place:
    """A folder with all that a line keeps, and the line."""

    def __init__(self, root: Path, name: str, cli: Run, pool: Path, model: Model) -> None:
        self.root, self.cli = root, cli
        tasks = task_files(root.parent / "tasks")
        given: dict[str, list[str]] = {
            "POOL": [str(pool)],
            "TASK": [tasks[0]],
            "TASKS": list(tasks[:2]),
        }
        self.words = [
            w.replace("OUT", str(root / "out"))
            for word in LINES[name].split()
            for w in given.get(word, [word])
        ]
        self.words += ["--model", str(model.folder), "--precision", "float32"]
        root.mkdir()

    @property
    def out(self) -> Path:
        return self.root / "out"

    def run(self) -> Any:
        return self.cli(*self.words)

    def put_back(self, copy: Path) -> None:
        shutil.rmtree(self.root)
        shutil.copytree(copy, self.root)

    def result(self) -> dict[str, Any]:
        """What the finished folder holds, file by file, as far as it must not differ."""
        found: dict[str, Any] = {}
        for path in sorted(self.out.rglob("*")):
            name = path.relative_to(self.out).as_posix()
            if path.is_dir() or path.name.startswith((".", "report.")) or path.suffix == ".damaged":
                continue
            if path.suffix == ".json":
                found[name] = told(json.loads(path.read_text()))
            elif path.suffix == ".parquet":
                found[name] = told(pq.read_table(path).to_pydict())
            else:
                found[name] = path.read_bytes()
        return found


def told(facts: Any) -> Any:
    if isinstance(facts, list):
        return [told(each) for each in facts]
    if not isinstance(facts, dict):
        return f"{facts:.4g}" if isinstance(facts, float) else facts  # in another batch, rounded so
    kept = {key: told(value) for key, value in facts.items() if key not in OTHERWISE}
    return kept | ({"checksum": ""} if "checksum" in facts else {})


@pytest.fixture(params=LINES)
def place(
    request: pytest.FixtureRequest,
    cli: Run,
    tiny_file: Path,
    tiny_model: Model,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Place:
    """Every command, with short batches, each kept at once, and without calibration."""
    monkeypatch.setenv("MODICUM_CACHE", str(tmp_path / "all" / "cache"))
    monkeypatch.setattr("modicum.question.calibrate", lambda *_: RATES)
    monkeypatch.setattr("modicum.measure.FLUSH_SECONDS", 0)
    monkeypatch.setattr("modicum.measure.BATCH_TOKENS", 200)
    for stand_in in STAND_INS:
        monkeypatch.setattr(f"modicum.{stand_in}", QuickTuning())
    return Place(tmp_path / "all", request.param, cli, tiny_file, tiny_model)


def copies(place: Place, into: Path) -> Iterator[Path]:
    """Copies of the place, one for every state of the disk at a step of one undisturbed run."""
    seen: set[Any] = set()
    numbers = count()

    def step(moment: str, path: Path) -> None:
        files = [p for p in place.root.rglob("*") if p.is_file()]
        state = tuple(sorted((str(p), p.stat().st_mtime_ns, p.stat().st_size) for p in files))
        if moment in DEATHS and state not in seen:
            seen.add(state)
            shutil.copytree(place.root, into / f"{next(numbers):03d}-{moment}-{path.name}")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(durable, "step", step)
        assert place.run().status == 0
    yield from sorted(into.iterdir())


def test_from_any_state_that_a_death_leaves_the_same_line_ends_the_same(
    place: Place, tmp_path: Path
):
    states = list(copies(place, tmp_path / "copies"))
    whole = place.result()
    assert len(states) > 5 and len(whole) > 1
    for state in states:
        place.put_back(state)
        ran = place.run()
        assert ran.status == 0, (state.name, ran.err)
        assert place.result() == whole, state.name


@pytest.mark.parametrize("refusal", [errno.ENOSPC, errno.EROFS])
def test_a_disk_that_refuses_is_said_and_the_same_line_goes_on(
    place: Place, tmp_path: Path, refusal: int
):
    """The first write is refused, then the second of the line run again, and so on to its end."""
    assert place.run().status == 0
    whole = place.result()
    shutil.rmtree(place.root)
    place.root.mkdir()
    for number in count(1):
        writes = count(1)

        def step(moment: str, path: Path, number: int = number, writes: Any = writes) -> None:
            if moment == "written" and next(writes) == number:
                raise OSError(refusal, os.strerror(refusal), str(path))

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(durable, "step", step)
            ran = place.run()
        if next(writes) <= number:
            break
        assert (ran.status, os.strerror(refusal) in ran.err) == (2, True), (number, ran.err)
    assert number > 3
    assert place.result() == whole


def test_a_file_that_was_cut_in_half_is_named_or_made_again(place: Place, tmp_path: Path):
    states = list(copies(place, tmp_path / "copies"))
    whole, outcomes = place.result(), set()
    for state in (states[len(states) // 2], states[-1]):
        files = [p.relative_to(state) for p in sorted(state.rglob("*")) if p.is_file()]
        if (state / "out" / "manifest.json").exists():  # what led to a finished result is not read
            files = [file for file in files if file.parts[0] != "out" or len(file.parts) == 2]
        for file in files:
            place.put_back(state)
            half = (state / file).read_bytes()
            (place.root / file).write_bytes(half[: len(half) // 2])
            ran = place.run()
            outcomes.add(ran.status)
            if ran.status == 2:
                assert str(place.root / file.parts[0]) in ran.err, (file, ran.err)
            else:
                assert place.result() == whole, (state.name, file)
    assert outcomes <= {0, 2}
