"""`modicum train`, and `select` with methods that train, from the line to the folder."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from modicum.estimate import Rates
from modicum.models import Model, find_model
from test_cli import Ran, Run, bad_file, run, select

__all__ = ["bad_file", "run", "select"]

SHORT = ("--train", "num_train_epochs=1")


@pytest.fixture(autouse=True)
def known_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calibrating takes longer than the tiny model's training."""
    rates = Rates(1000.0, 0.5, 100.0, 2.0, 2**30)
    for module in ("question", "tuning"):
        monkeypatch.setattr(f"modicum.{module}.calibrate", lambda *_: rates)


@pytest.fixture
def train(run: Run, tiny_file: Path, tiny_model: Model) -> Run:
    """`modicum train` on the tiny pool with the tiny model."""

    def trained(*words: object, pool: object = tiny_file) -> Ran:
        model = ("--model", tiny_model.folder, "--precision", "float32")
        return run("train", pool, *model, *words)

    return trained


def test_train_leaves_a_model_folder_that_model_takes(train: Run, run: Run, tiny_file: Path):
    ran = train("-o", "tuned", *SHORT)
    assert ran.status == 0 and "of answers" in ran.out and "tuned" in ran.out
    record = json.loads(Path("tuned/training.json").read_text())
    assert record["rows"] == 12 and record["epochs"] == 1.0
    assert record["options"]["num_train_epochs"] == 1 and record["versions"]["trl"]
    assert find_model("tuned").fingerprint != record["base"]["fingerprint"]
    assert run("score", tiny_file, "--with", "loss", "--model", "tuned", "-o", "s").status == 0


def test_train_again_says_so_and_another_line_is_refused(train: Run):
    assert not train("-o", "tuned", *SHORT, "--json").json["again"]
    assert train("-o", "tuned", *SHORT, "--json").json["again"]
    ran = train("-o", "tuned", "--train", "num_train_epochs=2")
    assert ran.status == 2 and "belongs to another command: its train was" in ran.err


def test_train_needs_a_folder(train: Run):
    ran = train()
    assert ran.status == 2 and "Missing option '-o'" in ran.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("learning_rat=1", "did you mean learning_rate?"),
        ("learning_rate=fast", "learning_rate"),
        ("output_dir=x", "output_dir"),
        ("max_length=8", "would cut the longest row"),
        ("nope.yaml", "nope.yaml"),
    ],
)
def test_a_wrong_training_option_is_one_line_and_status_two(train: Run, words: str, said: str):
    ran = train("-o", "tuned", "--train", words)
    assert ran.status == 2 and said in ran.err
    assert not Path("tuned/config.json").exists()


def test_options_come_from_a_yaml_file(train: Run):
    Path("how.yaml").write_text("num_train_epochs: 1\nlearning_rate: 1e-4\n")
    assert train("-o", "tuned", "--train", "how.yaml").status == 0
    record = json.loads(Path("tuned/training.json").read_text())
    assert record["options"]["learning_rate"] == 1e-4


def test_bad_rows_stop_the_training_or_are_set_aside(train: Run, bad_file: Path):
    assert train("-o", "tuned", pool=bad_file).status == 2
    assert train("-o", "tuned", "--skip-bad", *SHORT, pool=bad_file).status == 0
    assert json.loads(Path("tuned/manifest.json").read_text())["counts"]["rejected"] == 3
    assert len(Path("tuned/rejected.jsonl").read_text().splitlines()) == 3


def test_long_rows_are_dropped_and_named(train: Run):
    assert train("-o", "tuned", "--max-tokens", 50, *SHORT).status == 0
    manifest = json.loads(Path("tuned/manifest.json").read_text())
    assert manifest["counts"]["trained"] == 12 - len(manifest["left_out"]) < 12
    assert all("too long" in row["reason"] for row in manifest["left_out"])


def test_lora_leaves_the_adapter_beside_the_merged_model(train: Run):
    assert train("-o", "tuned", "--lora", *SHORT).status == 0
    assert Path("tuned/adapter/adapter_model.safetensors").exists()
    assert json.loads(Path("tuned/training.json").read_text())["lora"]["r"] == 16


@pytest.mark.parametrize("command", ["select", "train"])
def test_a_dry_run_prints_the_plan_and_writes_nothing(
    command: str, select: Run, train: Run, tmp_path: Path
):
    before = sorted(tmp_path.rglob("*"))
    if command == "train":
        ran = train("-o", "out", "--dry-run", "--json")
    else:
        ran = select("-m", "lobass", "-k", 3, "-o", "out", "--dry-run", "--json")
    plan = ran.json
    assert ran.status == 0 and sorted(tmp_path.rglob("*")) == before
    trained = [work["tokens"] for work in plan["work"] if work["stage"] == "train"]
    assert [plan["backward_tokens"]] == trained
    assert plan["seconds"]["train"] == pytest.approx(2 + plan["backward_tokens"] / 100)
    assert plan["memory_bytes"] == 2**30 and plan["disk_bytes"] > 0


def test_a_dry_run_for_people_names_seconds_memory_and_disk(select: Run):
    ran = select("-m", "diverse-evol", "-k", 6, "--set", "initial=2", "--dry-run")
    assert ran.status == 0
    for word in ("tokens/s forward", "tokens/s trained", "training", "memory", "disk"):
        assert word in ran.out


def test_a_method_that_trains_leaves_its_rounds_and_what_it_foretold(select: Run):
    line = ("-m", "diverse-evol", "-k", 6, "--set", "initial=2", "--set", "rounds=2", *SHORT)
    ran = select(*line, "-o", "out")
    assert ran.status == 0 and "trained on" in ran.out
    manifest = json.loads(Path("out/manifest.json").read_text())
    assert manifest["training"] == {"num_train_epochs": "1"}
    told = manifest["predicted"]
    assert told["seconds"]["train"] > 0 and told["actual"]["seconds"]["train"] > 0
    assert manifest["cost"]["selection_to_tuning"]["compute"] > 0
    assert [r["round"] for r in json.loads(Path("out/rounds.json").read_text())] == [0, 1, 2]
    assert sorted(pq.read_table("out/rows.parquet")["round"].drop_null().to_pylist()) == [
        0, 0, 1, 1, 2, 2,
    ]  # fmt: skip
    assert select(*line, "-o", "out", "--json").json["again"]


def test_one_round_for_people_who_train_elsewhere(select: Run, tiny_file: Path):
    taken = Path("taken.jsonl")
    taken.write_text("".join(tiny_file.read_text().splitlines(keepends=True)[:3]))
    ran = select("-m", "diverse-evol", "--chosen", taken, "-k", 2, "-o", "out")
    assert ran.status == 0
    assert json.loads(Path("out/manifest.json").read_text())["ledger"]["backward_tokens"] == 0
    (only,) = json.loads(Path("out/rounds.json").read_text())
    assert only["training"] is None and len(only["picks"]) == 2
