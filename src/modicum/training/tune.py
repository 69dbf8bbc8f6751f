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
import os
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from modicum import durable
from modicum.errors import ModicumError, OptionError, RunError, TrainingError
from modicum.ledger import Ledger
from modicum.models import Model, first_line, quiet
from modicum.progress import progress
from modicum.render import Rendered
from modicum.runs import check_files, hashes, read_object, write_json
from modicum.training.apart import tune_apart
from modicum.training.options import PACK, WARM_UP, Recipe, needs_trl
from modicum.training.record import history, resolved
from modicum.training.rows import check_arrived, dataset, packed
from modicum.training.saving import ASIDE, load, save, saved
from modicum.training.together import Processes, launched

if TYPE_CHECKING:
    from modicum.training.trainer import Trainer, Watch

RECORD = "training.json"
CHECKPOINTS = "checkpoints"
_OURS = {"command.json", CHECKPOINTS}  # what may lie in a folder before it is claimed


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
        return tuned_model(self.folder, base)


def tuned_model(folder: Path, base: Model) -> Model:
    """The model of a folder that a tuning of `base` left, measured as precisely as its base."""
    return replace(base, name=str(folder), folder=folder)


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
    last checkpoint. A folder that holds anything else is a `RunError`. Raises `TrainingError` if
    rows or tokens are lost between here and the trainer, if the model does not keep the rows of a
    pack apart, or if the loss is no number; `OptionError` for options that do not work here.
    """
    ledger = Ledger() if ledger is None else ledger
    mine = made_from(rendered, model, recipe, seed)
    finished = (folder / RECORD).exists()
    if not finished:
        needs_trl()
        recipe.check(int(rendered.lengths_N.max(initial=0)))  # before the folder is claimed
    if not finished and recipe.processes > 1 and not launched():
        with ledger.time(None):
            tune_apart(rendered, model, folder, recipe, seed=seed, what=what)
    elif not finished:
        processes = Processes()
        if processes.first:  # one for all: another could read what is only half written
            _claim(folder, mine)
        processes.wait()
        with ledger.time(None), undisturbed():
            try:
                _tune(rendered, model, folder, recipe, seed, what, mine)
            except ModicumError:
                if processes.first:
                    _give_up(folder)
                raise
    record = read_object(folder / RECORD)
    if record.get("made_from") != mine:
        raise RunError(f"{folder} holds a model that was tuned otherwise; choose another folder")
    if finished:
        check_files(folder, record)
    durable.remove(folder / CHECKPOINTS)  # a kill may have come before
    ledger.trained(record["tokens_seen"], record["rows_seen"], record["seconds"])
    return Tuned(folder, record)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Without the bars of the libraries below, nor what one of them warns another of."""
    with quiet(), warnings.catch_warnings():
        # peft asks transformers for an attribute by its old name.
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing")
        yield


def start(
    rendered: Rendered,
    model: Model,
    folder: Path,
    recipe: Recipe,
    seed: int,
    watch: Watch,
) -> Trainer:
    """A trainer that holds exactly these rows, ready to train."""
    from modicum.training.packs import check_apart
    from modicum.training.trainer import Trainer

    args = recipe.config(
        folder / CHECKPOINTS,
        seed=seed,
        bfloat16=str(model.dtype) == "torch.bfloat16",
        longest=int(rendered.lengths_N.max(initial=0)),
        cpu=model.device.type == "cpu",
    )
    if not launched():
        args._n_gpu = min(1, args.n_gpu)  # left to itself it spreads over all, which TRL refuses
    args.logging_nan_inf_filter = False  # it would log the mean so far where the loss is NaN
    rows = dataset(rendered)
    if args.packing:
        rows = packed(rows, args.max_length or PACK)
        args.dataset_kwargs = {"skip_prepare_dataset": True}
    network, adapter = load(model, recipe), recipe.adapter()
    try:
        trainer = Trainer(
            model=network,
            args=args,
            train_dataset=rows,
            processing_class=copy.deepcopy(model.tokenizer),  # TRL sets its padding token
            peft_config=adapter,
            callbacks=[watch],
        )
    except (ImportError, RuntimeError, ValueError) as error:
        raise OptionError(
            f"--train: these options do not work here: {first_line(error)}"
        ) from error
    _silence(trainer)
    check_arrived(trainer.train_dataset, rendered)
    if args.packing and not (trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled):
        check_apart(trainer)
    if not {"warmup_steps", "warmup_ratio"} & recipe.given.keys():
        # Rounded up, as transformers does it, the first step of a short training has rate 0.
        trainer.args.warmup_steps = int(WARM_UP * _steps(trainer))
    watch.trainer = trainer
    return trainer


def run(trainer: Trainer, checkpoint: Path | None = None) -> None:
    """Train, from a checkpoint if there is one; what the user can mend is said as such."""
    import torch

    try:
        trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    except torch.OutOfMemoryError as error:
        raise TrainingError(
            f"out of memory: {first_line(error)}; try --lora, a smaller --train "
            "max_length with --max-tokens, or --train gradient_checkpointing=true"
        ) from error
    except ImportError as error:  # an optimiser or a kernel of another package
        raise OptionError(
            f"--train: these options do not work here: {first_line(error)}"
        ) from error


def _tune(
    rendered: Rendered,
    model: Model,
    folder: Path,
    recipe: Recipe,
    seed: int,
    what: str,
    mine: str,
) -> None:
    from modicum.training.trainer import Watch, last_checkpoint

    began = time.monotonic()
    model.release()
    watch = Watch(lambda done: None)
    trainer = start(rendered, model, folder, recipe, seed, watch)
    ready = time.monotonic()
    checkpoint = last_checkpoint(folder / CHECKPOINTS)
    with progress(what, _steps(trainer), "steps") as advance:
        watch.advance = advance
        run(trainer, checkpoint)
    stepped = time.monotonic()
    save(trainer, model, folder, recipe)
    if trainer.is_world_process_zero():
        seconds = {"setup": ready - began, "save": time.monotonic() - stepped}
        record = {
            "made_from": mine,
            "base": {"name": model.name, "fingerprint": model.fingerprint},
            "seed": seed,
            "resumed_at_step": None if checkpoint is None else _step_of(checkpoint),
            **resolved(trainer, recipe),
            **history(trainer, rendered, seconds),
            "files": hashes(folder, saved(folder)),
        }
        write_json(folder / RECORD, record)
    trainer.accelerator.wait_for_everyone()
    del trainer, watch
    gc.collect()


def made_from(rendered: Rendered, model: Model, recipe: Recipe, seed: int) -> str:
    """A hash of all that decides what a tuning makes, the number of processes included."""
    made = hashlib.blake2b(digest_size=16)
    for array in (rendered.ids, rendered.kinds, rendered.starts):
        made.update(np.ascontiguousarray(array).tobytes())
    processes = os.environ.get("WORLD_SIZE", str(recipe.processes))
    about = [model.fingerprint, str(model.dtype), recipe.to_json(), seed, processes]
    made.update(json.dumps(about, sort_keys=True, default=str).encode())
    return made.hexdigest()


def _claim(folder: Path, mine: str) -> None:
    """Make a folder this tuning's own: nobody's model is overwritten, nor gone on with."""
    folder.mkdir(parents=True, exist_ok=True)
    owner = folder / CHECKPOINTS / "made_from"
    if owner.exists():
        if owner.read_text(encoding="utf-8") != mine:
            raise RunError(
                f"{folder} holds an unfinished training of other rows, options or number of "
                "processes; run the line that began it, or choose another folder"
            )
        return
    names = [path.name for path in folder.iterdir() if not durable.half_written(path)]
    foreign = [name for name in names if name not in _OURS]
    if foreign:
        raise RunError(f"{folder} is not empty ({foreign[0]}); choose another folder")
    durable.write_text(owner, mine)


def _give_up(folder: Path) -> None:
    """Take back `_claim` for a training that was refused, or went astray: it ends so again."""
    for name in (CHECKPOINTS, ASIDE):
        durable.remove(folder / name)


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
