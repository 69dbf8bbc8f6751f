"""One tuning: what moves, what it leaves behind, and that a killed one ends as a straight one."""

from __future__ import annotations

import hashlib
import importlib
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from modicum import train
from modicum.errors import RunError, TrainingError
from modicum.ledger import Ledger
from modicum.meter import Meter
from modicum.models import Model, find_model
from modicum.pool import Pool
from modicum.render import Rendered
from modicum.store import Store
from modicum.training import Recipe, Tuned, trainer, tune
from modicum.training.tune import start
from modicum.wants import Loss

tuning = importlib.import_module("modicum.training.tune")  # `tune` is the function
FAST: dict[str, Any] = {"learning_rate": 0.01, "gradient_accumulation_steps": 1}
SMALL = {**FAST, "max_length": 128, "gradient_accumulation_steps": 2}  # 3 steps an epoch
DROPPED_OUT = {**SMALL, "use_peft": True, "lora_dropout": 0.2}  # chance has a part in it
LEFT = {"chat_template.jinja", "config.json", "generation_config.json", "model.safetensors"}
LEFT |= {"tokenizer.json", "tokenizer_config.json", "training.json"}
RUN = {"command.json", "manifest.json"}


@pytest.fixture
def rendered(meter, tiny_pool) -> Rendered:
    return meter.rendered(tiny_pool)


@pytest.fixture(scope="module")
def finished(tiny_model, tiny_pool, tmp_path_factory) -> Tuned:
    """Tuned for two epochs; nobody writes into it."""
    folder = tmp_path_factory.mktemp("finished") / "out"
    return train(tiny_pool, folder, tiny_model, train={**FAST, "num_train_epochs": 2})


def weights(tuned: Tuned | Model, name: str = "model.safetensors") -> dict[str, torch.Tensor]:
    return load_file(tuned.folder / name)


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, weight in one.items():
        torch.testing.assert_close(weight, other[name], rtol=0, atol=1e-6)


def curve(tuned: Tuned, *keys: str) -> list[list[float]]:
    return [[entry[key] for key in keys] for entry in tuned.record["loss_curve"]]


def hashes(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path): hashlib.blake2b(path.read_bytes()).hexdigest() for path in files}


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


# What is learned


def test_it_overfits_eight_rows(tiny_pool, tiny_model, tmp_path) -> None:
    eight = tiny_pool.take(range(8))
    tuned = train(eight, tmp_path, tiny_model, train={**FAST, "num_train_epochs": 60})
    losses = [loss for (loss,) in curve(tuned, "loss")]
    assert losses[0] > 5 and losses[-1] < 0.1
    read_again = Meter(tuned.model(tiny_model), Store(tmp_path / "store"))
    assert read_again.measured(eight, Loss()).max() < 0.2


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing")
@pytest.mark.parametrize("given", [FAST, {**FAST, "use_peft": True}])
def test_every_weight_that_is_trained_moves(given, rendered, tiny_model, tmp_path) -> None:
    watch = trainer.Watch(lambda done: None)
    ready = start(rendered, tiny_model, tmp_path, Recipe(given), 0, watch)
    trained = {name: w for name, w in ready.model.named_parameters() if w.requires_grad}
    before = {name: weight.detach().clone() for name, weight in trained.items()}
    assert len(trained) == (2 * 7 * 2 if "use_peft" in given else len(weights(tiny_model)))
    ready.train()
    for name, weight in trained.items():
        assert not torch.equal(weight, before[name]), name


def test_lora_leaves_the_base_alone_and_merges_what_it_learned(
    rendered, tiny_model, tmp_path
) -> None:
    before = hashes(tiny_model.folder)
    tuned = tune(rendered, tiny_model, tmp_path, Recipe({**FAST, "use_peft": True}))
    assert hashes(tiny_model.folder) == before
    base, merged = weights(tiny_model), weights(tuned)
    adapter = weights(tuned, "adapter/adapter_model.safetensors")
    moved = {name for name, weight in base.items() if not torch.equal(weight, merged[name])}
    assert moved == {name for name in base if name.endswith("_proj.weight")}
    assert {path.name for path in tuned.folder.iterdir()} == LEFT | {"adapter"}
    assert {"adapter_config.json", "adapter_model.safetensors"} <= files(tuned.folder / "adapter")
    layer = "model.layers.1.mlp.up_proj"
    a, b = (adapter[f"base_model.model.{layer}.lora_{part}.weight"] for part in "AB")
    change = merged[f"{layer}.weight"] - base[f"{layer}.weight"]
    torch.testing.assert_close(change, b @ a * 2, rtol=1e-4, atol=1e-6)  # alpha 32 / rank 16


def test_the_seed_decides_the_order_of_the_rows_and_nothing_else_does(
    rendered, tiny_model, tmp_path
) -> None:
    recipe = Recipe({**FAST, "max_length": 128, "max_steps": 5})
    one, again, other = (
        tune(rendered, tiny_model, tmp_path / name, recipe, seed=seed)
        for name, seed in (("one", 3), ("again", 3), ("other", 4))
    )
    assert_same(weights(one), weights(again))
    assert curve(one, "step", "loss", "tokens") == curve(again, "step", "loss", "tokens")
    assert curve(one, "tokens") != curve(other, "tokens")


def test_rows_can_be_trained_on_one_by_one(rendered, tiny_model, tmp_path) -> None:
    given = {**FAST, "packing": False, "num_train_epochs": 20}
    tuned = tune(rendered, tiny_model, tmp_path, Recipe(given))
    assert tuned.record["sequences"] == len(rendered)
    assert tuned.record["tokens_seen"] == 20 * len(rendered.ids)
    assert tuned.record["loss_curve"][0]["loss"] > 5 and tuned.loss < 0.5


@pytest.mark.parametrize("rarely", [{}, {"logging_steps": 1000}, {"logging_strategy": "no"}])
def test_a_loss_that_is_no_number_is_an_error(rarely, rendered, tiny_model, tmp_path) -> None:
    recipe = Recipe({**FAST, "learning_rate": 1e20, "max_grad_norm": 0, **rarely})
    with pytest.raises(TrainingError, match=r"(loss|grad_norm) is nan at step \d.*lower --train"):
        tune(rendered, tiny_model, tmp_path, recipe)
    assert list(tmp_path.iterdir()) == []  # another rate may be tried in the same folder


# What is left behind


def test_the_folder_is_a_model_and_nothing_more(finished, tiny_model, tiny_pool, store) -> None:
    assert {path.name for path in finished.folder.iterdir()} == LEFT | RUN
    model = find_model(finished.folder, precision="float32")
    assert model.fingerprint != tiny_model.fingerprint
    assert model.tokenizer.get_vocab() == tiny_model.tokenizer.get_vocab()
    assert model.tokenizer.chat_template == tiny_model.tokenizer.chat_template
    before = Meter(tiny_model, store).measured(tiny_pool, Loss())
    assert Meter(model, store).measured(tiny_pool, Loss()).mean() < before.mean()


def test_the_record_says_how_it_was_trained(finished, rendered, tiny_model) -> None:
    record = finished.record
    assert record == json.loads((finished.folder / "training.json").read_text("utf-8"))
    assert record["given"] == {**FAST, "num_train_epochs": 2}
    options = record["options"]
    assert options["learning_rate"] == 0.01 and options["lr_scheduler_type"] == "cosine"
    assert options["packing"] and options["max_length"] == 1024 and options["seed"] == 0
    assert not options["gradient_checkpointing"] and options["warmup_steps"] == 0
    assert record["base"] == {"name": tiny_model.name, "fingerprint": tiny_model.fingerprint}
    assert record["lora"] is None and record["parameters"] == record["parameters_trained"]
    assert record["parameters"] == sum(w.numel() for w in weights(tiny_model).values())
    assert (record["processes"], record["resumed_at_step"]) == (1, None)
    assert {"trl", "torch", "transformers", "modicum", "python"} <= record["versions"].keys()


def test_the_record_says_what_was_seen(finished, rendered) -> None:
    record, answers = finished.record, int(rendered.answer_lengths_N.sum())
    assert (record["rows"], record["rows_seen"]) == (12, 24)
    assert (record["tokens"], record["tokens_seen"]) == (540, 1080) == (len(rendered.ids), 2 * 540)
    assert (record["answer_tokens"], record["answer_tokens_seen"]) == (answers, 2 * answers)
    assert (record["epochs"], record["steps"], record["sequences"]) == (2, 2, 1)
    assert curve(finished, "step", "epoch", "tokens") == [[1, 1, 540], [2, 2, 1080]]
    assert curve(finished, "loss")[1][0] == finished.loss < curve(finished, "loss")[0][0]
    assert record["seconds"].keys() == {"setup", "train", "save"}
    assert all(seconds >= 0 for seconds in record["seconds"].values())


def test_the_record_holds_no_secret_and_only_numbers_that_are(
    rendered, tiny_model, tmp_path, monkeypatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_not_for_anyone")
    tuned = tune(rendered, tiny_model, tmp_path, Recipe({"use_peft": True, "max_steps": 1}))
    text = (tmp_path / "training.json").read_text("utf-8")
    assert not {"NaN", "Infinity", "hf_not_for_anyone", "hub_token"} & set(text.split('"'))
    json.loads(text, parse_constant=pytest.fail)
    assert not [key for key in tuned.record["options"] if key.endswith("token")]
    assert tuned.record["lora"]["r"] == 16
    assert 0 < tuned.record["parameters_trained"] < tuned.record["parameters"]


@pytest.mark.parametrize("rarely", [{"logging_steps": 4}, {"logging_strategy": "no"}])
def test_however_rarely_it_logs_everything_is_counted(
    rarely, rendered, tiny_model, tmp_path
) -> None:
    tuned = tune(rendered, tiny_model, tmp_path, Recipe({**SMALL, **rarely, "num_train_epochs": 2}))
    assert tuned.record["tokens_seen"] == 2 * len(rendered.ids)
    assert tuned.loss > 0 and tuned.record["loss_curve"][-1]["step"] == tuned.record["steps"]


# Again


def test_the_same_call_on_a_finished_folder_only_reads(
    finished, rendered, tiny_model, tiny_pool, monkeypatch
) -> None:
    monkeypatch.setattr(tuning, "start", pytest.fail)
    before, ledger = hashes(finished.folder), Ledger()
    recipe = Recipe({**FAST, "num_train_epochs": 2})
    assert tune(rendered, tiny_model, finished.folder, recipe, ledger=ledger) == finished
    assert (ledger.backward_tokens, ledger.trained_rows) == (1080, 24)
    assert sum(ledger.seconds.values()) == pytest.approx(sum(finished.record["seconds"].values()))
    assert hashes(finished.folder) == before


def test_another_call_on_a_finished_folder_is_refused(finished, rendered, tiny_model) -> None:
    recipe = Recipe({**FAST, "num_train_epochs": 2})
    folder, before = finished.folder, hashes(finished.folder)
    with pytest.raises(RunError, match="tuned otherwise; choose another folder"):
        tune(rendered, tiny_model, folder, recipe.with_(weight_decay=0.1))
    with pytest.raises(RunError, match="tuned otherwise"):
        tune(rendered.take(range(11)), tiny_model, folder, recipe)
    with pytest.raises(RunError, match="tuned otherwise"):
        tune(rendered, tiny_model, folder, recipe, seed=1)
    with pytest.raises(RunError, match="tuned otherwise"):
        tune(rendered, finished.model(tiny_model), folder, recipe)
    assert hashes(folder) == before


# Stopped


class Killed(KeyboardInterrupt):
    """Stands for a kill: nothing after it is done."""


def tune_until(step: int, *call: Any, complete: bool = True, **more: Any) -> None:
    """Save at every step, and die at one, before or after its checkpoint is marked complete."""
    mark = trainer.Watch.on_save

    def on_save(watch: Any, args: Any, state: Any, control: Any, **rest: Any) -> None:
        if complete or state.global_step < step:
            mark(watch, args, state, control, **rest)
        if state.global_step == step:
            raise Killed

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(trainer, "CHECKPOINT_SECONDS", -1.0)
        patch.setattr(trainer.Watch, "on_save", on_save)
        tune(*call, **more)


@pytest.fixture(scope="module")
def straight(tiny_model, tiny_pool, tmp_path_factory) -> Tuned:
    """What a run that nothing stops ends with."""
    return train(tiny_pool, tmp_path_factory.mktemp("straight") / "out", tiny_model, train=SMALL)


@pytest.mark.parametrize("given", [DROPPED_OUT, {**SMALL, "logging_steps": 3}])
def test_stopped_and_gone_on_with_it_ends_as_a_straight_run(
    given, rendered, tiny_model, tmp_path
) -> None:
    call = (rendered, tiny_model, tmp_path / "stopped", Recipe(given))
    tune_until(5, *call)
    assert not (tmp_path / "stopped" / "training.json").exists()
    resumed = tune(*call)
    straight = tune(rendered, tiny_model, tmp_path / "straight", Recipe(given))
    assert (resumed.record["resumed_at_step"], straight.record["resumed_at_step"]) == (5, None)
    assert_same(weights(resumed), weights(straight))
    keys = ("tokens_seen", "answer_tokens_seen", "rows_seen", "steps", "epochs")
    assert [resumed.record[k] for k in keys] == [straight.record[k] for k in keys]
    assert resumed.record["tokens_seen"] == 3 * len(rendered.ids)
    assert files(resumed.folder) == files(straight.folder)


def test_killed_three_times_the_loss_curve_is_that_of_a_straight_run(
    rendered, tiny_model, tmp_path, straight
) -> None:
    call = (rendered, tiny_model, tmp_path / "stopped", Recipe(SMALL))
    for step in (2, 3, 7):
        tune_until(step, *call)
    resumed = tune(*call)
    assert resumed.record["resumed_at_step"] == 7
    keys = ("step", "epoch", "tokens", "loss", "learning_rate")
    for one, other in zip(curve(resumed, *keys), curve(straight, *keys), strict=True):
        assert one == pytest.approx(other, abs=1e-6)
    seconds = [at for (at,) in curve(resumed, "seconds")]
    assert seconds == sorted(seconds) and resumed.loss == pytest.approx(straight.loss, abs=1e-6)
    assert_same(weights(resumed), weights(straight))


def test_a_checkpoint_that_was_not_written_to_its_end_is_not_used(
    rendered, tiny_model, tmp_path, straight
) -> None:
    call = (rendered, tiny_model, tmp_path, Recipe(SMALL))
    tune_until(5, *call, complete=False)
    four, five = sorted(tmp_path.glob("checkpoints/checkpoint-*"))
    assert (four.name, five.name) == ("checkpoint-4", "checkpoint-5")
    (five / "model.safetensors").write_bytes(b"half")
    resumed = tune(*call)
    assert resumed.record["resumed_at_step"] == 4
    assert_same(weights(resumed), weights(straight))


def test_checkpoints_of_another_call_are_neither_gone_on_with_nor_removed(
    rendered, tiny_model, tmp_path
) -> None:
    call = (rendered, tiny_model, tmp_path, Recipe(SMALL))
    tune_until(5, *call, seed=1)
    with pytest.raises(RunError, match="unfinished training of other rows, options"):
        tune(*call)
    assert tune(*call, seed=1).record["resumed_at_step"] >= 1


def test_checkpoints_that_a_kill_left_beside_the_finished_model_are_removed(
    rendered, tiny_model, tmp_path
) -> None:
    call = (rendered, tiny_model, tmp_path, Recipe(FAST))
    tune(*call)
    (tmp_path / "checkpoints" / "checkpoint-1").mkdir(parents=True)
    tune(*call)
    assert not (tmp_path / "checkpoints").exists()


def test_the_loss_of_the_last_epoch_does_not_depend_on_how_often_it_is_logged(
    rendered, tiny_model, tmp_path
) -> None:
    given = {**SMALL, "num_train_epochs": 3}
    often = tune(rendered, tiny_model, tmp_path / "often", Recipe(given))
    seldom = tune(rendered, tiny_model, tmp_path / "seldom", Recipe({**given, "logging_steps": 99}))
    assert len(seldom.record["loss_curve"]) == 3 < len(often.record["loss_curve"])
    assert seldom.loss == pytest.approx(often.loss, abs=1e-4)


@pytest.mark.parametrize("given", [FAST, {**FAST, "use_peft": True}])
def test_killed_while_the_model_is_written_it_is_written_again(
    given, rendered, tiny_model, tmp_path
) -> None:
    def killed(*_: Any) -> None:
        raise Killed

    call = (rendered, tiny_model, tmp_path / "stopped", Recipe(given))
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(tuning, "write_json", killed)
        tune(*call)
    half = tmp_path / "stopped" / ".model.part"
    half.mkdir()
    (half / "model.safetensors").write_bytes(b"half")
    again, straight = tune(*call), tune(rendered, tiny_model, tmp_path / "straight", call[-1])
    assert_same(weights(again), weights(straight))
    assert files(again.folder) == files(straight.folder)


def test_the_command_line_killed_by_the_system_goes_on(tiny_file, tiny_model, tmp_path) -> None:
    """SIGKILL, which no Python code can answer."""
    options = ["save_steps=1", "learning_rate=0.01", "num_train_epochs=80"]
    line = [sys.executable, "-m", "modicum", "train", str(tiny_file), "-o", str(tmp_path / "out")]
    line += ["--model", str(tiny_model.folder), "--precision", "float32"]
    line += [word for option in options for word in ("--train", option)]
    process = subprocess.Popen(line, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("out/checkpoints/checkpoint-*/complete")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "out" / "training.json").exists()
    subprocess.run(line, check=True, capture_output=True)
    record = json.loads((tmp_path / "out" / "training.json").read_text("utf-8"))
    resumed, recipe = Tuned(tmp_path / "out", record), Recipe.parse(options[1:])
    straight = train(Pool.read(tiny_file), tmp_path / "straight", tiny_model, train=recipe)
    assert resumed.record["resumed_at_step"] >= 1
    assert_same(weights(resumed), weights(straight))
