"""Two processes on one machine train as one process does, and only the first writes and speaks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from safetensors.torch import load_file

from modicum import select, train
from modicum.errors import OptionError
from modicum.pool import Pool
from modicum.training.options import Recipe
from modicum.training.together import Processes

# Without a GPU, --multi_gpu still starts two; --cpu wants MPI for it, and else starts one.
LAUNCH = ("-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2")
LAUNCH += ("--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no")
TWO_PACKS: dict[str, Any] = {"max_length": 300, "learning_rate": 0.01, "num_train_epochs": 4}
SECONDS = 240  # a launch takes about ten; processes that wait for each other would take for ever


class Launched(NamedTuple):
    folder: Path
    line: list[str]
    said: dict[str, Any]


def launch(line: list[str]) -> dict[str, Any]:
    """What `--json` prints, once."""
    alone = {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    ran = subprocess.run(
        line, env=os.environ | alone, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert ran.returncode == 0, ran.stderr
    said: dict[str, Any] = json.loads(ran.stdout)
    return said


@pytest.fixture(scope="module")
def launched(tiny_file, tiny_model, tmp_path_factory) -> Launched:
    folder = tmp_path_factory.mktemp("together") / "out"
    line = [sys.executable, *LAUNCH, "-m", "modicum", "train", str(tiny_file), "-o", str(folder)]
    line += ["--model", str(tiny_model.folder), "--precision", "float32", "--json"]
    given = TWO_PACKS | {"gradient_accumulation_steps": 1}
    line += [word for key, value in given.items() for word in ("--train", f"{key}={value}")]
    return Launched(folder, line, launch(line))


def record_of(launched: Launched) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((launched.folder / "training.json").read_text("utf-8"))
    return record


def test_two_processes_leave_one_record_that_counts_what_both_have_seen(launched) -> None:
    record = record_of(launched)
    assert (record["processes"], record["sequences"], record["steps"]) == (2, 2, 4)
    assert record["tokens_seen"] == 4 * record["tokens"] == 4 * 540
    assert record["answer_tokens_seen"] == 4 * record["answer_tokens"]
    assert launched.said["tokens_trained"] == 4 * 540 and launched.said["again"] is False
    assert not [path for path in launched.folder.rglob("*") if path.name.endswith(".part")]
    assert not (launched.folder / "checkpoints").exists()


def test_two_processes_learn_what_one_learns(launched, tiny_file, tiny_model, tmp_path) -> None:
    """Two packs a step: one in each process, or one after the other."""
    given = TWO_PACKS | {"gradient_accumulation_steps": 2}
    alone = train(Pool.read(tiny_file), tmp_path, tiny_model, train=given)
    losses, other = (
        [entry["loss"] for entry in record["loss_curve"]]
        for record in (record_of(launched), alone.record)
    )
    assert losses == pytest.approx(other, abs=1e-4)
    together = load_file(launched.folder / "model.safetensors")
    base = load_file(tiny_model.folder / "model.safetensors")
    for name, weight in load_file(tmp_path / "model.safetensors").items():
        torch.testing.assert_close(together[name], weight, rtol=0, atol=1e-3)
        assert (weight - base[name]).abs().max() > 1e-2


def test_two_processes_find_a_finished_folder_and_train_nothing(launched) -> None:
    before = (launched.folder / "training.json").stat().st_mtime_ns
    assert launch(launched.line) == {**launched.said, "again": True}
    assert (launched.folder / "training.json").stat().st_mtime_ns == before


def test_one_process_alone_decides_and_waits_for_nobody(monkeypatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "1")
    alone = Processes()
    assert alone.first
    assert alone.told(True) is True and alone.told(False) is False
    alone.wait()


# --- started by us: --train processes=2 ----------------------------------------------------------


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def test_processes_that_we_start_learn_what_those_of_a_launch_learn(
    launched, tiny_file, tiny_model, tmp_path, no_gpu
) -> None:
    given = TWO_PACKS | {"gradient_accumulation_steps": 1, "processes": 2}
    model = replace(tiny_model, precision="float32")
    made = train(Pool.read(tiny_file), tmp_path / "out", model, train=given)
    record = record_of(launched)
    assert made.record["processes"] == 2 and made.record["given"]["processes"] == 2
    assert [e["loss"] for e in made.record["loss_curve"]] == pytest.approx(
        [e["loss"] for e in record["loss_curve"]], abs=1e-5
    )
    again = train(Pool.read(tiny_file), tmp_path / "out", model, train=given)
    assert again.record == made.record


def test_what_is_wrong_in_a_process_is_said_as_here(tiny_file, tiny_model, tmp_path, no_gpu):
    given = {"processes": 2, "optim": "adamw_bnb_8bit", "max_steps": 1}
    with pytest.raises(OptionError, match="do not work here"):
        train(Pool.read(tiny_file), tmp_path / "out", tiny_model, train=given)


@pytest.mark.parametrize("several", ["0", "two", -1, 1.5])
def test_how_many_processes_is_a_whole_number(several) -> None:
    with pytest.raises(OptionError, match=f"processes={several}: give a whole number"):
        Recipe({"processes": several}).check()


def test_the_rounds_of_a_method_train_in_several_processes(
    tiny_pool, tiny_model, store, tmp_path, no_gpu
) -> None:
    given = {"processes": 2, "max_steps": 1, "max_length": 300}
    made = select(
        tiny_pool.take(range(6)),
        "diverse-evol",
        4,
        tiny_model,
        store=store,
        work=tmp_path,
        train=given,
        rounds=1,
        initial=2,
        keep_models="all",
    )
    assert len(made) == 4
    (record,) = tmp_path.rglob("training.json")
    assert json.loads(record.read_text("utf-8"))["processes"] == 2
