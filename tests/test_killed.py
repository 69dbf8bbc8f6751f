"""Killed at moments drawn at random, the same line ends with the same result."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from modicum.models import Model

SCRIPT = Path(__file__).with_name("killed.py")
KILLS = int(os.environ.get("MODICUM_KILLS", "9"))  # of each line


@pytest.mark.parametrize("line", ["select", "diverse-evol", "stream"])
def test_a_line_that_is_killed_ends_as_one_that_is_not(
    line: str, tiny_file: Path, tiny_model: Model, tmp_path: Path
):
    words = [line, str(KILLS), "0", str(tiny_file), str(tiny_model.folder), str(tmp_path / "runs")]
    (tmp_path / "runs").mkdir()
    made = subprocess.run(
        [sys.executable, str(SCRIPT), *words], capture_output=True, text=True, check=False
    )
    assert made.returncode == 0, made.stderr
    found = json.loads(made.stdout)
    assert (found["killed"], found["another"]) == (KILLS, [])
