"""The start-up benchmark runs, on the tiny pool and the tiny model."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

SCRIPT = Path(__file__).parent.parent / "benchmarks" / "startup.py"


def test_the_startup_benchmark_times_every_stage(tiny_file, tiny_model, monkeypatch, capsys):
    options = ["--pool", tiny_file, "--model", tiny_model.folder, "--repeats", 1, "--slice", 2]
    monkeypatch.setattr(sys, "argv", ["startup.py", *map(str, options), "--json"])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    found = json.loads(capsys.readouterr().out)
    stages = found["select_seconds"]
    assert {"read", "tokenizer", "render", "write"} < set(stages)
    assert sum(stages.values()) - stages["whole process"] < stages["whole process"]
    assert found["tokens"] > found["rows"] > 0
    assert all(rate > 0 for rate in found["tokens_per_second"].values())
