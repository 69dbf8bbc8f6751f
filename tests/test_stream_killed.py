"""A stream killed at any moment: the same line goes on, and ends with the same `stream.json`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modicum.evaluation import evaluate
from modicum.models import Model
from modicum.replay import Plan, Stage
from modicum.selection import Step
from modicum.training import Recipe
from modicum.training.evolving import MEASURED
from test_cli import Run
from test_cli import run as line
from test_diverse_evol_killed import Killed, kill
from test_stream import Ran, Tunings, quick, run, task_files

__all__ = ["line", "quick"]

REUSED = ("seconds", "forward_tokens", "padding_tokens", "forward_passes", "rows_reused")
HOW: dict[str, Any] = {"methods": "random,none", "seeds": range(2)}
# Tunes with the stand-in and dies, as a process without memory does, in the given evaluation.
DYING = """
import os, signal, sys
import modicum.stream.course, modicum.stream.bench as bench
from modicum.cli import main
from test_stream import Tunings

evaluate, done = bench.evaluate, []

def evaluate_and_die(rows, meter, measures, **how):
    found = evaluate(rows, meter, measures, **how)
    done.append(1)
    if len(done) == 12:
        os.kill(os.getpid(), signal.SIGKILL)
    return found

bench.evaluate, modicum.stream.course.tune = evaluate_and_die, Tunings()
main()
"""


def told(facts: Any) -> Any:
    """Facts without seconds, and without what is less where something was found done."""
    if isinstance(facts, list):
        return [told(each) for each in facts]
    if not isinstance(facts, dict):
        return facts
    return {key: told(value) for key, value in facts.items() if key not in REUSED}


@pytest.fixture
def evaluations(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The pools of all evaluations that came to an end."""
    ended: list[str] = []

    def counted(rows: Any, meter: Any, measures: Any, **how: Any) -> Any:
        found = evaluate(rows, meter, measures, **how)
        ended.append(rows.fingerprint)
        return found

    monkeypatch.setattr("modicum.stream.bench.evaluate", counted)
    return ended


@pytest.fixture(scope="module")
def straight(tiny_model: Model, tmp_path_factory: pytest.TempPathFactory) -> tuple[Ran, Tunings]:
    """A stream that nobody killed."""
    folder, stand_in = tmp_path_factory.mktemp("straight"), Tunings()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("modicum.stream.course.tune", stand_in)
        patch.setenv("MODICUM_CACHE", str(folder / "cache"))
        return run(task_files(folder), folder / "out", tiny_model, **HOW), stand_in


WRITE, STAGE = "modicum.training.rounds.write_json", "modicum.stream.course.tune"
MOMENTS = [
    ("modicum.stream.bench.evaluate", 2, False),  # the base
    ("modicum.stream.run.rehearse", 2, False),  # what methods are tried on
    (STAGE, 2, False),  # an expert
    ("modicum.stream.bench.evaluate", 6, True),  # between an expert's tuning and what is kept
    ("shutil.rmtree", 1, True),  # an expert's model is gone
    ("modicum.stream.bench.evaluate", 8, False),  # within the evaluation of a first stage
    (WRITE, 9, True),  # a first stage
    ("modicum.stream.arms.decide", 5, True),  # between a choice and its being kept
    (WRITE, 10, True),  # between a kept choice and its tuning
    (STAGE, 5, False),  # a tuning
    (STAGE, 5, True),  # between a tuning and its evaluation
    ("modicum.stream.bench.evaluate", 11, False),  # within the evaluation of a stage
    (WRITE, 14, False),  # a stage
    (WRITE, 14, True),  # between stages
    ("shutil.rmtree", 5, True),  # between arms
    ("modicum.jobs.stream.write_json", 1, False),  # stream.json
    ("modicum.jobs.stream.write_manifest", 1, False),  # the manifest
]


@pytest.mark.parametrize(("what", "call", "after"), MOMENTS)
def test_killed_at_any_moment_the_same_stream_ends_the_same(
    what: str,
    call: int,
    after: bool,
    straight: tuple[Ran, Tunings],
    evaluations: list[str],
    quick: Tunings,
    tiny_model: Model,
    tmp_path: Path,
):
    paths, (whole, tunings) = task_files(tmp_path), straight
    with pytest.MonkeyPatch.context() as patch:
        kill(patch, what, call, after)
        with pytest.raises(Killed):
            run(paths, tmp_path / "out", tiny_model, **HOW)
    assert not (tmp_path / "out" / "manifest.json").exists()
    ran = run(paths, tmp_path / "out", tiny_model, **HOW)
    assert told(ran.record) == told(whole.record)
    assert told(ran.done.manifest["ledger"]) == told(whole.done.manifest["ledger"])
    assert sorted(quick.trained) == sorted(tunings.trained)  # none twice
    once = 3 + 3 + 2 * 2 + 4 * 2 * 3  # base, experts, two first stages, four arms
    assert len(evaluations) == once + (what.endswith("evaluate") and after)
    assert not (tmp_path / "out" / "models").exists()
    assert run(paths, tmp_path / "out", tiny_model, **HOW).done.again


def test_killed_again_and_again_it_ends_the_same(
    quick: Tunings, tiny_model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    paths, how = task_files(tmp_path), {"methods": "inscl,surprise", "generate": True}
    whole = run(paths, tmp_path / "whole", tiny_model, **how)
    trained = sorted(quick.trained)
    quick.trained.clear()
    monkeypatch.setenv("MODICUM_CACHE", str(tmp_path / "another"))
    for call in range(1, 9):  # each process does a little more than the one before
        with pytest.MonkeyPatch.context() as patch:
            kill(patch, WRITE, 6, True)
            try:
                ran = run(paths, tmp_path / "out", tiny_model, **how)
                break
            except Killed:
                assert call < 8
    assert call > 3
    assert told(ran.record) == told(whole.record)
    assert told(ran.done.manifest["ledger"]) == told(whole.done.manifest["ledger"])
    assert sorted(quick.trained) == trained


def test_arms_that_are_finished_are_not_touched_again(
    quick: Tunings, tiny_model: Model, tmp_path: Path
):
    paths = task_files(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        kill(patch, "modicum.stream.course.tune", 7, False)  # in the second arm
        with pytest.raises(Killed):
            run(paths, tmp_path / "out", tiny_model, keep_models="all")
    finished = [
        path
        for place in ("arms", "models", "scores")
        for path in (tmp_path / "out" / place).glob("random-given-s0/**/*")
        if path.is_file() and MEASURED not in path.parts  # which goes in the end
    ]
    before = {path: path.stat().st_mtime_ns for path in finished}
    assert len(finished) > 6
    run(paths, tmp_path / "out", tiny_model, keep_models="all")
    assert {path: path.stat().st_mtime_ns for path in finished} == before


ASKED: list[Stage] = []


def wavering(stage: Stage) -> Plan:
    """A method that answers otherwise each time it is asked."""
    ASKED.append(stage)
    row = Step(len(ASKED) % len(stage.old[0].pool), f"asked {len(ASKED)} times")
    one_J = np.zeros(len(stage.old), dtype=np.int64)
    one_J[0] = 1
    return Plan(one_J, one_J.astype(float), ((row,), *(() for _ in stage.old[1:])))


@pytest.mark.parametrize("after", [False, True])
def test_a_tuning_that_was_begun_goes_on_with_the_rows_that_were_chosen_for_it(
    quick: Tunings, tiny_model: Model, tmp_path: Path, after: bool
):
    ASKED.clear()
    paths, how = task_files(tmp_path), {"methods": "test_stream_killed:wavering"}
    with pytest.MonkeyPatch.context() as patch:
        kill(patch, STAGE, 4, after)  # of the second stage, after three experts
        with pytest.raises(Killed):
            run(paths, tmp_path / "out", tiny_model, **how)
    (place,) = (tmp_path / "out" / "arms").iterdir()
    chosen = json.loads((place / "1-replay.json").read_text())["replay"]
    asked = len(ASKED)
    (arm,) = run(paths, tmp_path / "out", tiny_model, **how).record["arms"]
    assert arm["stages"][1]["replay"] == chosen
    assert chosen["tasks"][0]["rows"][0]["reason"] == f"asked {asked} times"
    assert len(ASKED) == asked + 2 + 1  # the rehearsal again, and the third stage


def test_killed_by_the_system_the_same_line_goes_on(
    straight: tuple[Ran, Tunings], quick: Tunings, line: Run, tiny_model: Model, tmp_path: Path
):
    words = ["stream", *task_files(tmp_path), "-m", "random,none", "-k", "2", "--seeds", "2"]
    words += ["--holdout", "2", "--max-new-tokens", "2", "--no-generate", "-o", "out"]
    words += ["--model", str(tiny_model.folder), "--precision", "float32"]
    tests = str(Path(__file__).parent)
    killed = subprocess.run(
        [sys.executable, "-c", DYING, *words],
        env={**os.environ, "PYTHONPATH": tests},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    whole, tunings = straight
    kept = sorted(path.name for path in (tmp_path / "out" / "arms").rglob("*.json"))
    assert kept == ["0.json", "1-replay.json", "1.json", "2-replay.json"]  # in the third stage
    assert line(*words).status == 0
    before = ["alone-0-s0", "alone-1-s0", "alone-2-s0", "1", "2"]
    assert sorted([*before, *quick.trained]) == sorted(tunings.trained)
    record = json.loads((tmp_path / "out" / "stream.json").read_text())
    assert told(record) == told(whole.record)
    assert line(*words, "--json").json["again"]


def test_killed_in_a_real_tuning_it_goes_on(
    tiny_model: Model, real: Ran, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MODICUM_CACHE", str(tmp_path / "cache"))
    paths = task_files(tmp_path)[:2]
    with pytest.MonkeyPatch.context() as patch:
        kill(patch, "modicum.training.tune.save", 3, False)  # trained, and not yet written
        with pytest.raises(Killed):
            run(paths, tmp_path / "out", tiny_model, **REAL)
    assert told(run(paths, tmp_path / "out", tiny_model, **REAL).record) == told(real.record)


REAL = {
    "methods": "random",
    "recipe": Recipe({"learning_rate": 1e-2, "num_train_epochs": 2}),
}


@pytest.fixture(scope="module")
def real(tiny_model: Model, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """Two tasks, really tuned."""
    folder = tmp_path_factory.mktemp("real")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODICUM_CACHE", str(folder / "cache"))
        return run(task_files(folder)[:2], folder / "out", tiny_model, **REAL)


def test_really_tuned_a_task_is_learned(real: Ran):
    (arm,) = real.record["arms"]
    for task in ("sums", "colours"):
        assert real.record["experts"][task]["loss"] < real.record["base"][task]["loss"]
    assert [stage["training"]["rows"] for stage in arm["stages"]] == [4, 4 + 2]
    assert all(stage["training_loss"] > 0 for stage in arm["stages"])
    assert real.done.manifest["ledger"]["trainings"] == 3
