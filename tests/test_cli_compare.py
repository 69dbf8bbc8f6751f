"""`modicum compare` as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from modicum.models import Model
from test_cli import Run, run
from test_evidence import files

__all__ = ["run"]

LINE = [
    "-m",
    "k-center(view=lexical)",
    "-k",
    "20%",
    "--seeds",
    "2",
    "--train",
    "num_train_epochs=1",
]


@pytest.fixture
def words(tiny_model: Model, tmp_path: Path) -> list[str]:
    pool, held_out = files(tmp_path)
    model = ["--model", str(tiny_model.folder), "--precision", "float32"]
    return ["compare", pool, "--eval", held_out, *model, *LINE, "-o", str(tmp_path / "out")]


def test_it_says_which_beats_chance_and_leaves_its_record(
    run: Run, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("modicum.report.page.html", lambda page: 1 / 0)
    ended = run(*words, "--no-full")
    assert ended.status == 0, ended.err
    for said in (
        "20 rows to choose from, 6 held out",
        "k-center(view=lexical)",
        "untuned",
        "seen from",
        "note: no page, or not all of it: ZeroDivisionError",
    ):
        assert said in ended.out
    few, *arms = ended.err.splitlines()
    assert few.startswith("note: 6 held-out rows are few")
    assert [arm.partition(",")[0] for arm in arms[:2]] == [
        "1 of 6 arms: k-center_view=lexical_-20%-s0",
        "2 of 6 arms: longest-20%-s0",
    ]
    record = json.loads((tmp_path / "out/compare.json").read_text())
    assert {pair["verdict"] for pair in record["pairs"]} <= {"better", "worse", "not shown"}
    again = run(*words, "--no-full", "--json")
    assert again.status == 0 and json.loads(again.out)["again"]
    told = json.loads(again.out)
    assert told["pairs"] == record["pairs"] and "values" not in told["arms"][0]


def test_a_dry_run_says_what_it_would_take_and_leaves_nothing(
    run: Run, words: list[str], tmp_path: Path
):
    ended = run(*words, "--dry-run", "--json")
    assert ended.status == 0, ended.err
    told = json.loads(ended.out)
    plan = {work["stage"]: work for work in told["work"]}
    assert len(told["arms"]) == 8 and {"full-s0", "random-20%-s1"} <= {*told["arms"]}
    assert plan["train"]["times"] == 8 and plan["train"]["rows"] == 2 * (3 * 4 + 20)
    assert plan["measure"]["times"] == 9 and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--match", "tokens"], "--match tokens: choose epochs, steps"),
        (["--judge", "http://localhost:1/v1"], "belong together"),
        (["--measure", "loss,judge"], "--judge URL"),
        (["--measure", "loss", "--measure", "exact"], "--measure is given twice"),
        (["--seeds", "0"], "--seeds"),
        (["--measure", "lm-eval:"], "name the task"),
        (["--full-seeds", "1", "--no-full"], "leave one of them out"),
        (["--full-seeds", "9"], "the whole pool under seed 2"),
        (["-m", "ltd"], "ltd needs rows of the task in view: --target FILE"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(run: Run, words: list[str], more: list[str], said: str):
    if "-m" in more:
        words = [word for word in words if word not in LINE[:2]]
    ended = run(*words, *more)
    assert ended.status == 2 and said in ended.err
    assert len(ended.err.strip().splitlines()) == 1


def test_held_out_rows_may_have_columns_of_their_own(run: Run, words: list[str], tmp_path: Path):
    held_out = tmp_path / "held.jsonl"
    rows = [{"asked": f"Name number {i}.", "told": str(i), "which": ["3", str(i)]} for i in (8, 9)]
    held_out.write_text("".join(json.dumps(row) + "\n" for row in rows))
    fields = "instruction=asked,output=told,choices=which"
    ended = run(*words, "--no-full", "--eval-fields", fields, "--measure", "choice", "--seeds", "1")
    assert ended.status == 0, ended.err
    assert "one seed: an anecdote" in ended.out
