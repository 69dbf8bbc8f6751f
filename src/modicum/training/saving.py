"""A tuned model on disk: read as training wants it, written whole or not at all."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modicum import durable
from modicum.errors import ModelError
from modicum.models import Model, first_line
from modicum.training.options import Recipe

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from modicum.training.trainer import Trainer

ADAPTER = "adapter"  # the folder of what LoRA learned, beside the model it is merged into
ASIDE = ".model.part"
_MODEL = ("*.safetensors", "*.safetensors.index.json", "config.json", "generation_config.json")
_TOKENIZER = (
    *("token*", "vocab*", "merges*", "*.model", "special_tokens_map.json", "added_tokens.json"),
    *("chat_template*", "additional_chat_templates/*", "*.py"),
)
_NOT_KEPT = ("training_args.bin", "README.md")  # a pickle; a card with nothing in it


def load(model: Model, recipe: Recipe) -> PreTrainedModel:
    """The weights as training wants them: float32 where they are tuned, for bfloat16 rounds small
    steps away; where only an adapter is, in the model's own precision."""
    import torch
    from transformers import AutoModelForCausalLM

    model.check()
    wanted: dict[str, Any] = {"dtype": model.dtype if recipe.lora else torch.float32}
    try:
        network: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
            model.folder,
            use_safetensors=True,
            trust_remote_code=model.trust_remote_code,
            local_files_only=True,
            **(wanted | recipe.loading()),
        )
    except (ImportError, OSError, ValueError) as error:
        raise ModelError(f"{model.name} cannot be loaded: {first_line(error)}") from error
    return network


def save(trainer: Trainer, model: Model, folder: Path, recipe: Recipe) -> None:
    """Weights, configuration, tokenizer and template; with LoRA merged, and the adapter beside.

    All processes that train together call it; the first one writes.
    """
    aside = folder / ASIDE
    if trainer.is_world_process_zero():
        durable.remove(aside)  # of a killed run, and perhaps merged
    trainer.save_model(str(aside))
    if not trainer.is_world_process_zero():
        return
    for name in _NOT_KEPT:
        durable.remove(aside / name)
    if recipe.lora:
        durable.remove(folder / ADAPTER)
        durable.move(aside, folder / ADAPTER)
        _merge(model, folder / ADAPTER, aside)
    _only_model(aside)
    for pattern in _TOKENIZER:
        for path in model.folder.glob(pattern):
            if path.is_file():
                target = aside / path.relative_to(model.folder)
                target.parent.mkdir(exist_ok=True)
                shutil.copyfile(path, target)
    durable.move_files(aside, folder)


def _only_model(folder: Path) -> None:
    """Keep what a model is read from, readable for others too: weights come for their owner's eyes
    only."""
    kept = {path for pattern in _MODEL for path in folder.glob(pattern)}
    for path in folder.iterdir():
        if path not in kept:
            durable.remove(path)
    for path in kept:
        shutil.copymode(folder / "config.json", path)


def saved(folder: Path) -> list[Path]:
    """The files of a model that was saved, and of its adapter."""
    found = [path for pattern in (*_MODEL, *_TOKENIZER) for path in folder.glob(pattern)]
    return [*found, *(folder / ADAPTER).glob("*")]


def _merge(model: Model, adapter: Path, folder: Path) -> None:
    """The base in float32 with the adapter added to it."""
    from peft import PeftModel

    whole = PeftModel.from_pretrained(load(model, Recipe()), str(adapter))
    whole.merge_and_unload().save_pretrained(folder)
