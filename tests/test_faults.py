"""The disk as a death at any durable write leaves it: the same line goes on, and ends the same.

A command is run once, and at every step of a write or removal all that it keeps (its folder and
its cache) is copied: a process that dies there leaves just that. From each copy the same line is
run again.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from diverse_evol_rounds import RATES
from lines import LINES, STAND_INS, Place
from modicum import durable
from modicum.models import Model
from quick_tuning import QuickTuning
from test_cli import Run
from test_cli import run as cli

__all__ = ["cli"]

DEATHS = ("begin", "written", "kept", "removed")


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
    return Place(tmp_path / "all", request.param, cli, tiny_file, tiny_model.folder)


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


def test_a_disk_that_refuses_is_said_and_the_same_line_goes_on(place: Place):
    """The first write is refused, then the second of the line run again, and so on to its end."""
    said = os.strerror(errno.ENOSPC)
    assert place.run().status == 0
    whole = place.result()
    shutil.rmtree(place.root)
    place.root.mkdir()
    for number in count(1):
        writes = count(1)

        def step(moment: str, path: Path, number: int = number, writes: Any = writes) -> None:
            if "hashes" in path.parts:
                return  # a memo: without it, nothing is lost
            if moment == "written" and next(writes) == number:
                raise OSError(errno.ENOSPC, said, str(path))

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(durable, "step", step)
            ran = place.run()
        if next(writes) <= number:
            break
        assert (ran.status, said in ran.err) == (2, True), (number, ran.err)
    assert number > 3
    assert place.result() == whole


def test_a_file_that_was_cut_in_half_is_named_or_made_again(place: Place, tmp_path: Path):
    states = list(copies(place, tmp_path / "copies"))
    whole, refused = place.result(digits=4), set()
    for state in (states[len(states) // 2], states[-1]):
        files = [p.relative_to(state) for p in sorted(state.rglob("*")) if p.is_file()]
        if (state / "out" / "manifest.json").exists():  # what led to a finished result is not read
            files = [file for file in files if file.parts[0] != "out" or len(file.parts) == 2]
        for file in files:
            place.put_back(state)
            half = (state / file).read_bytes()
            (place.root / file).write_bytes(half[: len(half) // 2])
            ran = place.run()
            if ran.status == 2:
                assert str(place.root / file.parts[0]) in ran.err, (file, ran.err)
                refused.add(file.name)
                shutil.rmtree(named(ran.err, place.root))
                ran = place.run()
            assert ran.status == 0, (state.name, file, ran.err)
            assert place.result(digits=4) == whole, (state.name, file)
    assert refused


def named(said: str, root: Path) -> Path:
    """The folder that a message says to remove, or that holds the file it names."""
    if found := re.search(r"remove (/\S+) and run", said):
        return Path(found[1])
    path = Path(re.findall(rf"{re.escape(str(root))}[^\s;,:]*", said)[0])
    return path if path.is_dir() else path.parent
