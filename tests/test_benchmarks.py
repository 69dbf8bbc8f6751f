"""The benchmarks run, on a few rows of the tiny model."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest

from modicum import compiled

SCRIPTS = Path(__file__).parent.parent / "benchmarks"


def test_the_scoring_benchmark_compares_three_ways(tiny_file, tiny_model, monkeypatch, capsys):
    monkeypatch.setattr(compiled, "WORTH_IT", compiled.WORTH_IT)  # the script sets its own
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


def test_the_selecting_benchmark_compares_three_selectors(monkeypatch, capsys):
    options = ["--rows", 300, "--width", 8, "--picks", 50, "--targets", 5, "--clusters", 4]
    words = [*map(str, options), "--repeats", "1", "--json"]
    monkeypatch.setattr(sys, "argv", ["selecting.py", *words])
    runpy.run_path(str(SCRIPTS / "selecting.py"), run_name="__main__")
    ways = json.loads(capsys.readouterr().out)["ways"]
    assert [ways[name]["agree"] for name in ("walk", "target")] == [1.0, 1.0]
    assert ways["target"]["similarities"] == 5 * 300
    # With 50 of 300 picked, each candidate met at most the 49 picks before it.
    assert 50 * 49 / 2 <= ways["walk"]["similarities"] < 300 * 49
    worth = ways["kmeans"]["squared_distances"]
    assert worth["modicum"] <= 1.05 * worth["plain way"]
    assert all(way["ratio"] > 0 and way["needs_bytes"] > 0 for way in ways.values())
