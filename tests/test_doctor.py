"""What `doctor` says of the machine, and which damage it finds in what Modicum wrote."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from modicum.cli import app
from modicum.damage import Looked, look
from modicum.doctor import KEYS, machine
from modicum.errors import RunError
from modicum.held import held
from modicum.jobs.reading import Reading
from modicum.jobs.select import run_select
from modicum.models import Model
from modicum.runs import hashes
from modicum.store import Store
from modicum.training.options import Recipe


@pytest.fixture
def run(tiny_file: Path, tiny_model: Model, tmp_path: Path) -> Path:
    """A finished selection, of a copy of the tiny pool."""
    pool, out = tmp_path / "pool.jsonl", tmp_path / "run"
    shutil.copy(tiny_file, pool)
    how: dict[str, Any] = {"settings": {}, "target": [], "chosen": [], "decontaminate": []}
    run_select(
        Reading((str(pool),)), out, method="random", budget="3", seed=0, model=tiny_model,
        auto=None, train=Recipe.parse([]), too_long="drop", max_tokens=None, memory=None,
        say=print, dry=False, **how,
    )  # fmt: skip
    return out


def what(looked: Looked) -> list[tuple[str, str]]:
    return [(Path(one.where).name, one.what) for one in looked.found]


def test_a_finished_run_is_whole_and_every_file_with_a_hash_was_read(run: Path):
    looked = look(run)
    made = json.loads((run / "manifest.json").read_text())["files"]
    assert looked == Looked("run", len(made), ())
    assert {"subset.jsonl", "rows.parquet"} <= set(made)


def test_a_flipped_bit_is_found_even_where_size_and_time_stay(run: Path):
    path, when = run / "rows.parquet", (run / "rows.parquet").stat().st_mtime_ns
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(when, when))
    looked = look(run)
    assert what(looked) == [("rows.parquet", "not as it was written")] and not looked.ok


def test_missing_files_and_broken_records_are_damage(run: Path):
    (run / "subset.jsonl").unlink()
    assert what(look(run)) == [("subset.jsonl", "missing")]
    (run / "manifest.json").write_text('{"files": ["subset.jsonl"], "inputs": [1]}')
    assert what(look(run)) == [("manifest.json", "its `files` are no hashes")]
    (run / "manifest.json").write_text('{"files": {}, "inputs": [1]}')
    (said,) = what(look(run))
    assert said[1].startswith("holds no hashes") and look(run).ok
    (run / "manifest.json").write_text('{"subset": ["subset.jsonl"]}')
    assert what(look(run))[0] == ("subset.jsonl", "missing") and not look(run).ok
    (run / "manifest.json").write_text("[" * 100_000)
    assert what(look(run)) == [("manifest.json", "cannot be read")]
    (run / "manifest.json").write_text("{")
    assert what(look(run)) == [("manifest.json", "cannot be read")]


def test_a_run_that_lost_its_command_is_damaged(run: Path):
    (run / "command.json").unlink()
    assert what(look(run)) == [("command.json", "missing")] and not look(run).ok


@pytest.mark.parametrize("place", ["", "models/kept"])
def test_weights_of_a_tuned_model_are_looked_at_wherever_it_lies(run: Path, place: str):
    model = run / place
    model.mkdir(parents=True, exist_ok=True)
    (model / "model.safetensors").write_bytes(b"weights")
    record = {"files": hashes(model, [model / "model.safetensors"])}
    (model / "training.json").write_text(json.dumps(record))
    before = look(run)
    assert before.ok and before.files == look(run).files > 1
    (model / "model.safetensors").write_bytes(b"weighty")
    assert what(look(run)) == [("model.safetensors", "not as it was written")]


def test_other_peoples_weights_are_no_store(tmp_path: Path):
    place = tmp_path / "org" / "name"
    place.mkdir(parents=True)
    (place / "model.safetensors").write_bytes(b"")
    with pytest.raises(RunError, match="is no run, no tuned model and no store"):
        look(tmp_path)


def test_an_empty_cache_is_whole(cache: Path):
    cache.mkdir(exist_ok=True)
    assert look(cache).ok and look(cache).kind == "store"


def test_what_is_in_use_is_not_judged(run: Path):
    (run / "rows.parquet").unlink()
    with held(run):
        assert what(look(run)) == [("run", "a process is working on it")]
    assert what(look(run)) == [("rows.parquet", "missing")]


def test_an_unfinished_run_a_changed_pool_and_half_written_files_are_no_damage(run: Path):
    (run / ".rows.parquet.0123.part").write_bytes(b"")
    assert [one.way_out for one in look(run).found] == ["harmless; remove it"] and look(run).ok
    (run / ".rows.parquet.0123.part").unlink()
    with (run.parent / "pool.jsonl").open("a") as pool:
        pool.write("\n")
    assert what(look(run)) == [("pool.jsonl", "changed since it was read")] and look(run).ok
    (run.parent / "pool.jsonl").unlink()
    assert what(look(run)) == [("pool.jsonl", "not found from here, so not compared")]
    (run / "manifest.json").unlink()
    assert what(look(run)) == [("run", "the run is not finished")] and look(run).ok


def test_a_store_names_its_damaged_shards(tmp_path: Path):
    store = Store(tmp_path / "measured")
    for n in range(2):
        store.block("model", "loss").add([bytes([n] * 16)], np.ones(1, np.float32))
    assert look(tmp_path) == look(store.folder) == Looked("store", 2, ())
    shard = min(store.folder.rglob("*.safetensors"))
    shard.write_bytes(shard.read_bytes()[:-1])
    assert what(look(tmp_path)) == [(shard.name, "damaged, or written for another block")]


@pytest.mark.parametrize("folder", [".", "nope"])
def test_a_folder_that_is_none_of_ours_is_refused(tmp_path: Path, folder: str):
    with pytest.raises(RunError, match=r"is no (run|folder)"):
        look(tmp_path / folder)


def test_the_command_exits_with_one_where_something_is_damaged(run: Path):
    ask = CliRunner().invoke
    assert ask(app, ["doctor", str(run)]).exit_code == 0
    (run / "rows.parquet").write_bytes(b"")
    ended = ask(app, ["doctor", str(run), "--json"])
    assert ended.exit_code == 1 and not json.loads(ended.stdout)["ok"]
    assert "rows.parquet: not as it was written" in ask(app, ["doctor", str(run)]).stdout


def test_the_machine_is_told_without_a_key(monkeypatch: pytest.MonkeyPatch, cache: Path):
    for name in KEYS:
        monkeypatch.setenv(name, "sk-secret")
    found = machine()
    assert found["keys"] == dict.fromkeys(KEYS, True)
    assert found["cache"]["folder"] == str(cache)
    assert all(speed > 0 for speed in found["gflops"].values())
    assert machine(fast=True)["gflops"] is None
    shown = CliRunner().invoke(app, ["doctor", "--fast"])
    assert shown.exit_code == 0 and "modicum   " in shown.stdout
    assert "sk-secret" not in shown.stdout + json.dumps(found)


def test_every_key_stands_in_the_docs(run: Path):
    page = (Path(__file__).parent.parent / "docs" / "doctor.md").read_text(encoding="utf-8")
    (run / "subset.jsonl").unlink()
    told = [
        json.loads(CliRunner().invoke(app, ["doctor", word, "--json"]).stdout)
        for word in (str(run), "--fast")
    ]
    for key in {*told[0], *told[0]["found"][0], *told[1]}:
        assert f"`{key}`" in page, key
