"""The benchmarks run, on a few rows of the tiny model."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parent.parent / "benchmarks"


def test_the_scoring_benchmark_compares_three_ways(tiny_file, tiny_model, monkeypatch, capsys):
    options = ["--pool", tiny_file, "--model", tiny_model.folder, "--rows", 4, "--slice", 2]
    monkeypatch.setattr(sys, "argv", ["scoring.py", *map(str, options), "--json"])
    runpy.run_path(str(SCRIPTS / "scoring.py"), run_name="__main__")
    found = json.loads(capsys.readouterr().out)
    assert found["rows"] == 4
    assert found["max_loss_difference"] < 0.1
    for name in ("ratio_to_public_way", "ratio_to_careful_loop", "share_of_matmul_limit"):
        assert found[name] > 0, name
    ways = found["rows_per_second"]
    assert found["ratio_to_public_way"] == pytest.approx(ways["modicum"] / ways["public way"])
