"""The reproductions: their pieces on real rows, and the page that is made of their results."""

from __future__ import annotations

import importlib
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "reproductions"))
    monkeypatch.setattr(sys, "path", [*sys.path, str(ROOT / "experiments")])


def test_the_page_of_results_is_what_the_results_files_make():
    made = importlib.import_module("results").page()
    assert (ROOT / "docs/results.md").read_text(encoding="utf-8") == made


def test_of_many_pairs_those_with_a_baseline_are_told_and_those_that_were_shown():
    results: Any = importlib.import_module("results")
    figures = dict.fromkeys(("difference", "low", "high", "could_have_seen"), 0.0)
    about = {**figures, "budget": "5%", "measure": "loss", "better": "lower", "anecdote": False}
    names = [f"m{i}" for i in range(11)] + ["random"]
    pairs = [
        {**about, "methods": [a, b], "verdict": "better" if (a, b) == ("m0", "m1") else "not shown"}
        for n, a in enumerate(names)
        for b in names[n + 1 :]
    ]
    told = "\n".join(results._pairs({"pairs": pairs}))
    assert told.count("\n| m") == 11 + 1  # with random, and the one that was shown
    assert "54 pairs" in told
    few = [pair for pair in pairs if "m9" in pair["methods"]]
    assert "\n".join(results._pairs({"pairs": few})).count("\n| m") == 11


def test_what_the_program_tells_of_methods_is_what_the_results_say():
    shown, claims = importlib.import_module("shown"), importlib.import_module("results").CLAIMS
    told = json.loads(shown.FILE.read_text(encoding="utf-8"))
    assert told == shown.shown(claims)
    # Of docs/results.md: two pairs at 6 %, one at 1.5 %, worse, worse and not shown.
    assert told["lobass"][0] == {
        "against": "random",
        "better": 0,
        "worse": 3,
        "not shown": 3,
        "where": ["dolly/four", "lobass/alpaca", "lobass/steps"],
    }


@pytest.mark.parametrize("paper", ["dolly", "field", "ltd", "diverse_evol", "lobass"])
def test_the_pieces_are_small_whole_and_hold_nothing_out_that_is_learned(
    paper: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    script: Any = importlib.import_module(paper)
    monkeypatch.setattr(script.shared, "work", lambda name: tmp_path / name)
    for piece in script.pieces("cpu"):
        most = 8_000 if paper == "ltd" else 3_000
        assert 900 <= len(piece.pool) <= most and len(piece.held_out) >= 200
        learned = {row["id"] for row in piece.pool}
        assert len(learned) == len(piece.pool)
        assert not learned & {row["id"] for row in piece.held_out}
        assert piece.asks and "--seeds" in piece.line
        if "OneSource" in piece.line:
            assert len({row["source"] for row in piece.pool}) > 1
        if initial := re.search(r"initial=(\d+)", piece.line):
            share = re.search(r"-k (\d+)%", piece.line)
            assert share and int(initial[1]) * 4 == len(piece.pool) * int(share[1]) // 100


def test_in_the_pool_whose_answer_is_known_half_the_rows_carry_another_rows_answer():
    known: Any = importlib.import_module("known")
    rows = [{"id": i, "messages": [{"content": f"q{i}"}, {"content": f"a{i}"}]} for i in range(11)]
    made = known.planted(rows)
    own = [row["messages"][1]["content"] == f"a{row['id']}" for row in made]
    assert own == [i % 2 == 0 for i in range(11)]
    assert [row["kind"] == "own" for row in made] == own
    answers = sorted(row["messages"][1]["content"] for row in made)
    assert answers == sorted(f"a{i}" for i in range(11))
