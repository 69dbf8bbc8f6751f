"""The benchmarks run, on a few rows of the tiny model."""

from __future__ import annotations

import json
import runpy
import sys
from argparse import Namespace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from modicum import Pool, compiled

SCRIPTS = Path(__file__).parent.parent / "benchmarks"


# Scores a row by the letters of what was said: 1 / letters given the prompt, 2 / letters alone.
WANA = """
import json, sys
command, given, o, made, limit, longest = sys.argv[1:]
assert (command, o, limit) == ("score", "-o", "--max-tokens") and int(longest) > 2
with open(made, "w") as out:
    for line in open(given):
        row = json.loads(line)
        letters = sum(len(turn["content"]) for turn in row["messages"])
        told = {"conditional_nll": 1 / letters, "unconditional_nll": 2 / letters, "length": 3}
        out.write(json.dumps(row | {"wana": {"scores": told}}) + "\\n")
"""


def test_the_scoring_benchmark_compares_its_ways(tiny_file, tiny_model, monkeypatch, capsys):
    monkeypatch.setattr(compiled, "WORTH_IT", compiled.WORTH_IT)  # the script sets its own
    options = ["--pool", tiny_file, "--model", tiny_model.folder, "--rows", 4, "--slice", 2]
    monkeypatch.setattr(sys, "argv", ["scoring.py", *map(str, options), "--peers", "--json"])
    runpy.run_path(str(SCRIPTS / "scoring.py"), run_name="__main__")
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert "wana reads the embedded model only; it is left out" in err
    assert found["rows"] == 4
    assert found["max_loss_difference"] < 0.1
    for name in ("ratio_to_public_way", "ratio_to_careful_loop", "share_of_matmul_limit"):
        assert found[name] > 0, name
    ways = found["rows_per_second"]
    eager = ways["without a compiler"] / ways["modicum"] * found["share_of_matmul_limit"]
    assert found["without_compiler"] == pytest.approx(eager)
    assert found["ratio_to_public_way"] == pytest.approx(ways["modicum"] / ways["public way"])


@pytest.fixture
def wana(tmp_path, monkeypatch):
    """A program of that name on the PATH, and the benchmark's functions."""
    program = tmp_path / "bin" / "wana"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}{WANA}")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    return runpy.run_path(str(SCRIPTS / "scoring.py"))


def test_wana_is_timed_on_the_same_rows_and_compared_with(wana, tiny_file, tiny_model):
    rows = wana["sample"](str(tiny_file), 6, tiny_model, 512)
    letters = [sum(len(turn.content) for turn in one.turns) for one in Pool.read(tiny_file)]
    chosen = [letters[i] for i in (0, 2, 4, 6, 8, 11)]
    way = wana["wana_way"](rows, None)
    way.time(rows)
    np.testing.assert_allclose(way.losses[0], np.divide([[1, 2]], np.array(chosen)[:, None]))
    assert way.start >= 0
    assert way.seconds[0] < 60


def test_where_wana_is_not_installed_it_is_left_out_and_that_is_said(wana, monkeypatch, capsys):
    monkeypatch.setenv("PATH", "")
    assert wana["wana_way"](None, None) is None
    assert capsys.readouterr().err == "note: wana is not on the PATH; it is left out\n"


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


def test_the_facility_benchmark_compares_value_and_picks(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "apricot", None)  # as if neither peer were installed
    monkeypatch.setitem(sys.modules, "submodlib", None)
    options = ["--rows", 150, "--width", 8, "--picks", 20, "--sizes", 200, "--repeats", 1]
    monkeypatch.setattr(sys, "argv", ["facility.py", *map(str, options), "--json"])
    runpy.run_path(str(SCRIPTS / "facility.py"), run_name="__main__")
    out, err = capsys.readouterr()
    for peer in ("apricot", "submodlib"):
        assert f"note: {peer} cannot be imported" in err
    found = json.loads(out)
    (each,) = found["compared"]
    assert each["the_same_picks"]["plain way"] == 1.0
    assert each["value"]["plain way"] == each["value"]["modicum"]
    assert 0 < each["value"]["modicum, nearest only"] <= each["value"]["modicum"]
    assert each["ratio"]["modicum"] == 1.0
    assert [alone["among"] for alone in found["alone"]] == ["all"]


def test_a_peer_of_facility_that_can_be_imported_is_timed(monkeypatch):
    """A stand-in that is asked as submodlib is, and takes rows in their order."""

    class InOrder:
        def __init__(self, n: int, sijs: np.ndarray, **how: object) -> None:
            assert sijs.shape == (n, n) and sijs.min() >= 0

        def maximize(self, budget: int, **how: object) -> list[tuple[int, float]]:
            return [(row, 0.0) for row in range(budget)]

    stand_in = ModuleType("submodlib")
    stand_in.FacilityLocationFunction = InOrder
    monkeypatch.setitem(sys.modules, "submodlib", stand_in)
    script = runpy.run_path(str(SCRIPTS / "facility.py"))
    options = Namespace(picks=5, repeats=1, vectors=None, width=8)
    vectors_ND = script["load"](options, 60)
    ways = {"modicum": script["modicum"], "submodlib": script["submodlib"]}
    found = script["compared"](vectors_ND, ways, options)
    assert found["the_same_picks"]["submodlib"] < 1
    assert found["value"]["submodlib"] < found["value"]["modicum"]
    cosines_NK = (
        vectors_ND
        @ vectors_ND[:5].T
        / np.outer(np.linalg.norm(vectors_ND, axis=1), np.linalg.norm(vectors_ND[:5], axis=1))
    )
    assert found["value"]["submodlib"] == pytest.approx(
        np.maximum(cosines_NK.max(axis=1), 0).sum(), rel=1e-5
    )


def test_the_scale_benchmark_tells_seconds_memory_and_growth(monkeypatch, capsys):
    words = ["--sizes", "200", "800", "--width", "8", "--picks", "20", "--json"]
    monkeypatch.setattr(sys, "argv", ["scale.py", *words, "--only", "k-center", "near target"])
    runpy.run_path(str(SCRIPTS / "scale.py"), run_name="__main__")
    result = json.loads(capsys.readouterr().out)
    assert [(each["name"], each["rows"]) for each in result["found"]] == [
        ("k-center", 200),
        ("near target", 200),
        ("k-center", 800),
        ("near target", 800),
    ]
    assert all(each["seconds"] > 0 and each["bytes"] > 0 for each in result["found"])
    assert sorted(result["exponents"]) == ["k-center", "near target"]


def test_the_scale_benchmark_runs_the_whole_command_on_shards(
    monkeypatch, capsys, tmp_path, tiny_file
):
    words = ["--command", "--sizes", "30", "--picks", "3", "--width", "8", "--pool", tiny_file]
    words += ["--only", "random", "--folder", tmp_path, "--json"]
    monkeypatch.setattr(sys, "argv", ["scale.py", *map(str, words)])
    runpy.run_path(str(SCRIPTS / "scale.py"), run_name="__main__")
    (found,) = json.loads(capsys.readouterr().out)["found"]
    assert found["name"] == "random" and found["stages"]["render"] > 0


def test_growth_is_the_slope_between_the_two_largest_sizes():
    exponents = runpy.run_path(str(SCRIPTS / "scale.py"))["exponents"]
    found = [("a", 10, 5.0), ("a", 100, 1.0), ("a", 1000, 10.0), ("b", 10, 1.0)]
    told = [{"name": name, "rows": rows, "seconds": s} for name, rows, s in found]
    assert exponents(told) == {"a": pytest.approx(1.0), "b": None}
