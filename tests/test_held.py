"""Two processes in one place: the second is told at once, and the first goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from modicum.errors import RunError
from modicum.held import held
from modicum.models import Model
from test_cli import Run, run

__all__ = ["run"]

HOLDING = """
import sys, time
from pathlib import Path
from modicum.held import held
with held(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def other(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that works on `run` in the temporary folder."""
    words = [sys.executable, "-c", HOLDING, str(tmp_path / "run")]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=os.environ) as process:
        assert process.stdout and process.stdout.readline() == "held\n"
        yield process
        process.kill()


@pytest.mark.parametrize("name", ["run", "link", "sub/../run"])
def test_a_place_that_another_process_has_is_refused(
    other: subprocess.Popen[str], tmp_path: Path, name: str
):
    (tmp_path / "sub").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "run")
    said = pytest.raises(RunError, match=r"another process is working on .*; wait for it, or cho")
    with said, held(tmp_path / name):
        pytest.fail("two have it")
    with held(tmp_path / "sub"):
        pass


def test_a_killed_process_has_nothing(other: subprocess.Popen[str], tmp_path: Path):
    other.send_signal(signal.SIGKILL)
    other.wait()
    with held(tmp_path / "run"):
        pass


LINES = [
    ("run", ["select", "FILE", "-m", "random", "-k", "2"]),
    ("run", ["score", "FILE", "--with", "length"]),
    ("run", ["train", "FILE"]),
    ("run", ["compare", "FILE", "--eval", "FILE", "-m", "random", "-k", "2"]),
    ("run", ["stream", "FILE", "FILE", "-m", "random", "-k", "2"]),
    ("mix.jsonl", ["replay", "--old", "FILE", "--new", "FILE", "-m", "random", "-k", "2"]),
]


@pytest.mark.parametrize(("name", "line"), LINES, ids=[line[0] for _, line in LINES])
def test_a_command_says_so_and_leaves_the_place_alone(
    name: str, line: list[str], run: Run, tiny_model: Model, tiny_file: Path, tmp_path: Path
):
    out = tmp_path / name
    model = ["--model", str(tiny_model.folder), "--precision", "float32"]
    words = [str(tiny_file) if word == "FILE" else word for word in line]
    with held(out):
        made = run(*words, *model, "-o", str(out))
    assert (made.status, "another process is working on" in made.err) == (2, True), made.err
    assert not out.exists()
