"""What a tuning refuses: folders of others, models that mix rows, options that do not work here."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import OPTConfig, OPTForCausalLM

from modicum import train
from modicum.errors import ModelError, OptionError, RunError, TrainingError
from modicum.models import Model, find_model
from modicum.render import Rendered
from modicum.training import Recipe, tune
from modicum.training.record import history

FAST: dict[str, Any] = {"learning_rate": 0.01, "gradient_accumulation_steps": 1}


@pytest.fixture
def rendered(meter, tiny_pool) -> Rendered:
    return meter.rendered(tiny_pool)


def test_a_folder_with_something_else_in_it_is_left_alone(rendered, tiny_model, tmp_path) -> None:
    base = tmp_path / "base"
    shutil.copytree(tiny_model.folder, base)
    before = (base / "model.safetensors").read_bytes()
    with pytest.raises(RunError, match="is not empty"):
        tune(rendered, find_model(base, precision="float32"), base, Recipe(FAST))
    assert (base / "model.safetensors").read_bytes() == before


def test_a_step_that_float16_skipped_has_no_norm_in_the_record() -> None:
    entry = {"step": 1, "epoch": 1.0, "loss": 2.0, "grad_norm": math.inf}
    entry |= {"tokens": 5, "answer_tokens": 3, "seconds": 1.0}
    state = SimpleNamespace(log_history=[entry], epoch=1.0, global_step=1)
    trainer = SimpleNamespace(state=state, train_dataset=[0])
    nothing = Rendered(np.zeros(0, np.int32), np.zeros(0, np.uint8), np.zeros(1, np.int64))
    made = history(trainer, nothing, {})
    assert made["loss_curve"][0]["grad_norm"] is None and made["last_epoch_loss"] == 2.0


def opt(folder: Path, tokenizer: Any) -> Model:
    """A tiny OPT: it numbers positions by the mask, so packed rows see each other."""
    torch.manual_seed(0)
    config = OPTConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        word_embed_proj_dim=32,
        ffn_dim=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=512,
    )
    OPTForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return find_model(folder, precision="float32")


def test_a_model_that_does_not_keep_packed_rows_apart_is_refused(
    rendered, tiny_model, tmp_path
) -> None:
    model = opt(tmp_path / "opt", tiny_model.tokenizer)
    with pytest.raises(TrainingError, match=r"sees the earlier rows .* --train packing=false"):
        tune(rendered, model, tmp_path / "out", Recipe(FAST))
    given = {**FAST, "packing": False, "num_train_epochs": 1}
    assert tune(rendered, model, tmp_path / "out", Recipe(given)).record["steps"] >= 1


@pytest.mark.parametrize(
    "given",
    [
        {"report_to": "nope"},
        {"fp16": True, "bf16": True},
        {"use_peft": True, "lora_target_modules": ["nope"]},
        {"attn_implementation": "flash_attention_2"},
        {"optim": "adamw_bnb_8bit"},
    ],
)
def test_options_that_do_not_work_here_are_refused_and_leave_nothing(
    given, rendered, tiny_model, tmp_path
) -> None:
    with pytest.raises((OptionError, ModelError)):
        tune(rendered, tiny_model, tmp_path / "out", Recipe({"num_train_epochs": 1, **given}))
    assert not list((tmp_path / "out").glob("*"))


def test_rows_that_are_left_out_are_named_beside_the_model(tiny_pool, tiny_model, tmp_path) -> None:
    train(tiny_pool, tmp_path / "out", tiny_model, train=FAST, max_tokens=50)
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text("utf-8"))
    assert len(manifest["left_out"]) == manifest["counts"]["rows"] - manifest["counts"]["trained"]
    assert manifest["left_out"] and "too long" in manifest["left_out"][0]["reason"]
    with pytest.raises(RunError, match="belongs to another command"):
        train(tiny_pool, tmp_path / "out", tiny_model, train=FAST, seed=1)


def test_a_seed_that_no_library_takes_is_refused(tiny_pool, tiny_model, tmp_path) -> None:
    with pytest.raises(OptionError, match="seed 5000000000: give a whole number from 0"):
        train(tiny_pool, tmp_path / "out", tiny_model, seed=5_000_000_000)
