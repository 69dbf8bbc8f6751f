"""One supervised tuning: rows in, a model folder out.

TRL's trainer does the work. Ours are the rows (their mask is the one that scores), the check that
all of them arrive, and that what is killed goes on from its last whole checkpoint. The folder gets
`training.json` last: without it the tuning is not finished.
"""

from __future__ import annotations

import copy
import gc
import hashlib
import json
import math
import shutil
import time
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from modicum.errors import ModelError, RunError
from modicum.ledger import Ledger
from modicum.models import Model, first_line, quiet
from modicum.progress import progress
from modicum.render import Rendered
from modicum.training.options import WARM_UP, Recipe, needs_trl
from modicum.training.record import history, resolved, write_record
from modicum.training.rows import check_arrived, dataset
from modicum.training.together import Processes

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from modicum.training.trainer import Trainer, Watch

RECORD = "training.json"
ADAPTER = "adapter"  # the folder of what LoRA learned, beside the model it is merged into
_TOKENIZER = ("token*", "vocab*", "merges*", "*.model", "special_tokens_map.json")
_TEMPLATES = ("chat_template*", "added_tokens.json", "additional_chat_templates/*", "*.py")
_MODEL = ("*.safetensors", "*.safetensors.index.json", "config.json", "generation_config.json")


@dataclass(frozen=True)
class Tuned:
    """A finished tuning: its folder, which is a model, and what `training.json` says of it."""

    folder: Path
    record: dict[str, Any]

    @property
    def loss(self) -> float:
        """Mean training loss of the last epoch, in nats per answer token."""
        return float(self.record["last_epoch_loss"])

    def model(self, base: Model) -> Model:
        """The tuned model, measured as precisely as its base."""
        return replace(base, name=str(self.folder), folder=self.folder)


def tune(
    rendered: Rendered,
    model: Model,
    folder: Path,
    recipe: Recipe,
    *,
    seed: int = 0,
    ledger: Ledger | None = None,
    what: str = "training",
) -> Tuned:
    """Tune a model on rendered rows; leave safetensors, tokenizer and `training.json` in `folder`.

    With LoRA the folder holds the merged model, and `adapter/` what was learned. The same call on
    a folder that is finished returns what is there; on one that was killed it goes on from the
    last checkpoint. Another call on it is a `RunError`. Raises `TrainingError` if rows or tokens
    are lost between here and the trainer, or if the loss is no number.
    """
    ledger = Ledger() if ledger is None else ledger
    made_from = _made_from(rendered, model, recipe, seed)
    if not (folder / RECORD).exists():
        recipe.check(int(rendered.lengths_N.max(initial=0)))  # before the folder is claimed
        processes = Processes()
        if processes.first:  # one for all: another could read what is only half written
            _claim(folder, made_from)
        processes.wait()
        with ledger.time(None), quiet(), warnings.catch_warnings():
            # peft asks transformers for an attribute by its old name.
            warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing")
            _tune(rendered, model, folder, recipe, seed, what, made_from)
    record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    if record["made_from"] != made_from:
        raise RunError(f"{folder} holds a model that was tuned otherwise; choose another folder")
    ledger.trained(record["tokens_seen"], record["rows_seen"], record["seconds"])
    return Tuned(folder, record)


def start(
    rendered: Rendered,
    model: Model,
    folder: Path,
    recipe: Recipe,
    seed: int,
    watch: Watch,
) -> Trainer:
    """A trainer that holds exactly these rows, ready to train."""
    from modicum.training.trainer import Trainer

    args = recipe.config(
        folder / "checkpoints",
        seed=seed,
        bfloat16=str(model.dtype) == "torch.bfloat16",
        longest=int(rendered.lengths_N.max(initial=0)),
        cpu=model.device.type == "cpu",
    )
    if not Processes().many:
        args._n_gpu = min(1, args.n_gpu)  # left to itself it spreads over all, which TRL refuses
    args.logging_nan_inf_filter = False  # it would log the mean so far where the loss is NaN
    rows = dataset(rendered)
    trainer = Trainer(
        model=_load(model, recipe),
        args=args,
        train_dataset=rows,
        processing_class=copy.deepcopy(model.tokenizer),  # TRL sets its padding token
        peft_config=recipe.adapter(),
        callbacks=[watch],
    )
    _silence(trainer)
    check_arrived(trainer.train_dataset, rendered)
    if not {"warmup_steps", "warmup_ratio"} & recipe.given.keys():
        # Rounded up, as transformers does it, the first step of a short training has rate 0.
        trainer.args.warmup_steps = int(WARM_UP * _steps(trainer))
    watch.trainer = trainer
    return trainer


def _tune(
    rendered: Rendered,
    model: Model,
    folder: Path,
    recipe: Recipe,
    seed: int,
    what: str,
    made_from: str,
) -> None:
    needs_trl()
    from modicum.training.trainer import Watch, last_checkpoint

    began = time.monotonic()
    model.release()
    watch = Watch(lambda done: None)
    trainer = start(rendered, model, folder, recipe, seed, watch)
    ready = time.monotonic()
    checkpoint = last_checkpoint(folder / "checkpoints")
    with progress(what, _steps(trainer), "steps") as advance:
        watch.advance = advance
        trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    stepped = time.monotonic()
    _save(trainer, model, folder, recipe)
    if trainer.is_world_process_zero():
        seconds = {"setup": ready - began, "save": time.monotonic() - stepped}
        record = {
            "made_from": made_from,
            "base": {"name": model.name, "fingerprint": model.fingerprint},
            "seed": seed,
            "resumed_at_step": None if checkpoint is None else _step_of(checkpoint),
            **resolved(trainer, recipe),
            **history(trainer, rendered, seconds),
        }
        write_record(folder / RECORD, record)
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    trainer.accelerator.wait_for_everyone()
    del trainer, watch
    gc.collect()


def _load(model: Model, recipe: Recipe) -> PreTrainedModel:
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
    except (OSError, ValueError) as error:
        raise ModelError(f"{model.name} cannot be loaded: {first_line(error)}") from error
    return network


def _save(trainer: Trainer, model: Model, folder: Path, recipe: Recipe) -> None:
    """Weights whole or not at all: written aside, then renamed into the folder."""
    aside = folder / ".model.part"
    if trainer.is_world_process_zero():
        shutil.rmtree(aside, ignore_errors=True)  # of a killed run, and perhaps merged
    trainer.save_model(str(aside))
    if not trainer.is_world_process_zero():
        return
    if recipe.lora:
        shutil.rmtree(folder / ADAPTER, ignore_errors=True)
        (aside / "training_args.bin").unlink(missing_ok=True)  # a pickle
        (aside / "README.md").unlink(missing_ok=True)  # a card with nothing in it
        aside.replace(folder / ADAPTER)
        _merge(model, folder / ADAPTER, aside)
    for pattern in _MODEL:
        for path in aside.glob(pattern):
            path.replace(folder / path.name)
    for pattern in _TOKENIZER + _TEMPLATES:
        for path in model.folder.glob(pattern):
            if path.name != RECORD and path.is_file():
                target = folder / path.relative_to(model.folder)
                target.parent.mkdir(exist_ok=True)
                shutil.copyfile(path, target)
    shutil.rmtree(aside)


def _merge(model: Model, adapter: Path, folder: Path) -> None:
    """The base in float32 with the adapter added to it."""
    from peft import PeftModel

    whole = PeftModel.from_pretrained(_load(model, Recipe()), str(adapter))
    whole.merge_and_unload().save_pretrained(folder)


def _claim(folder: Path, made_from: str) -> None:
    """Checkpoints of another tuning must not be gone on with."""
    folder.mkdir(parents=True, exist_ok=True)
    owner = folder / "checkpoints" / "made_from"
    if owner.exists() and owner.read_text(encoding="utf-8") != made_from:
        shutil.rmtree(owner.parent)
    owner.parent.mkdir(exist_ok=True)
    owner.write_text(made_from, encoding="utf-8")


def _made_from(rendered: Rendered, model: Model, recipe: Recipe, seed: int) -> str:
    made = hashlib.blake2b(digest_size=16)
    for array in (rendered.ids, rendered.kinds, rendered.starts):
        made.update(np.ascontiguousarray(array).tobytes())
    about = [model.fingerprint, str(model.dtype), recipe.to_json(), seed]
    made.update(json.dumps(about, sort_keys=True, default=str).encode())
    return made.hexdigest()


def _steps(trainer: Trainer) -> int:
    """Optimiser steps of the whole training, for the bar."""
    args: Any = trainer.args
    rows: Any = trainer.train_dataset
    if args.max_steps > 0:
        return int(args.max_steps)
    batches: int = math.ceil(len(rows) / (args.train_batch_size * args.world_size))
    per_epoch = math.ceil(batches / int(args.gradient_accumulation_steps))
    return math.ceil(per_epoch * float(args.num_train_epochs))


def _step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])


def _silence(trainer: Trainer) -> None:
    """Without its own bars, the trainer prints every history entry; ours shows instead."""
    from transformers.trainer_callback import PrinterCallback

    trainer.remove_callback(PrinterCallback)
