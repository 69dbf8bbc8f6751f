"""TRL's trainer, with a cheaper loss where it has none, and a watch on what it does.

Imported where training begins: TRL takes seconds to load.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cross_entropy
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from trl.trainer.sft_trainer import SFTTrainer

from modicum import durable
from modicum.errors import TrainingError
from modicum.training.attention import RowByRow
from modicum.training.rows import IGNORED

CHECKPOINT_SECONDS = 600.0
SETTLING = 2  # steps that are slow because memory is first asked for
_ENOUGH = 32  # steps to know a rate by, however fast they are
COMPLETE = "complete"  # a file that says a checkpoint was written to its end


class Trainer(SFTTrainer):
    """SFTTrainer that counts what it sees, and on a processor projects answer tokens only."""

    tokens_seen: int = 0
    answers_seen: int = 0

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """The mean loss of the step's answer tokens, as in TRL."""
        labels_BT = inputs["labels"]
        mask_BT = inputs.get("attention_mask")
        self.tokens_seen += int(labels_BT.numel() if mask_BT is None else mask_BT.sum())
        learned_BT = labels_BT[:, 1:] != IGNORED
        self.answers_seen += int(learned_BT.sum())
        if self._own_loss(inputs) and not return_outputs:
            return self._answer_loss(model, inputs, learned_BT[0], num_items_in_batch)
        theirs: Any = super().compute_loss
        return theirs(model, inputs, return_outputs, num_items_in_batch)

    def _own_loss(self, inputs: dict[str, Any]) -> bool:
        """Without Triton, TRL projects every position on the vocabulary, in float32, twice."""
        args: Any = self.args
        plain = args.loss_type == "nll" and args.label_smoothing_factor == 0
        packed = len(inputs["labels"]) == 1 and "attention_mask" not in inputs
        return plain and packed and not self.aux_loss_enabled and args.device.type == "cpu"

    def _answer_loss(
        self, model: Any, inputs: dict[str, Any], learned_T: torch.Tensor, items: Any
    ) -> torch.Tensor:
        target_M = inputs["labels"][0, 1:][learned_T]
        passed = {key: value for key, value in inputs.items() if key != "labels"}
        at_M = torch.nonzero(learned_T)[:, 0]
        with self._attention(inputs):
            out = model(**passed, use_cache=False, logits_to_keep=at_M)
        total = cross_entropy(out.logits[0].float(), target_M, reduction="sum")
        loss = total / torch.as_tensor(len(target_M) if items is None else items).clamp(min=1)
        if self.args.average_tokens_across_devices and items is not None:
            loss = loss * self.accelerator.num_processes  # gradients are averaged over processes
        return loss

    def _attention(self, inputs: dict[str, Any]) -> AbstractContextManager[Any]:
        """A row at a time; not where layers are traced, or run again outside of this."""
        args: Any = self.args
        if args.gradient_checkpointing or args.torch_compile or "position_ids" not in inputs:
            return nullcontext()
        return RowByRow(inputs["position_ids"][0])


class Watch(TrainerCallback):
    """Counts and times the steps, refuses a loss that is no number, and asks for checkpoints.

    What a history entry says of tokens and seconds goes on where a checkpoint left off.
    """

    def __init__(self, advance: Callable[[int], None], stop_after: float | None = None) -> None:
        self.advance = advance
        self.stop_after = stop_after
        self.trainer: Trainer | None = None
        self.step_ends: list[tuple[float, int]] = []  # seconds since the start, tokens until then
        self._before: dict[str, float] = {}

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        told = [entry for entry in state.log_history if "seconds" in entry]
        self._before = dict(told[-1]) if told else {}
        self._began = self._saved = time.monotonic()
        self.advance(state.global_step)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        now = time.monotonic()
        self.advance(1)
        self.step_ends.append((now - self._began, self.trainer.tokens_seen if self.trainer else 0))
        if self.stop_after is not None:
            steps = len(self.step_ends)
            enough = steps > SETTLING + 1 and (
                now - self._began > self.stop_after or steps == _ENOUGH
            )
            control.should_training_stop |= enough
        elif _agreed(now - self._saved > CHECKPOINT_SECONDS):
            control.should_save = True
            self._saved = now
        # However rarely steps are logged, a checkpoint, an epoch's end and the end have an entry:
        # the counts and the check of the loss are made there.
        control.should_log |= control.should_save or state.global_step >= state.max_steps

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        control.should_log = True

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        entry, trainer = state.log_history[-1], self.trainer
        if trainer is None or "loss" not in entry:
            return
        figures = ["loss"] if args.fp16 else ["loss", "grad_norm"]  # float16 skips such steps
        for name in figures:
            if not math.isfinite(float(entry.get(name, 0.0))):
                raise TrainingError(
                    f"the training's {name} is {entry[name]} at step {state.global_step}; "
                    "try a lower --train learning_rate, or --precision float32"
                )
        seen = {"tokens": trainer.tokens_seen, "answer_tokens": trainer.answers_seen}
        entry |= {key: int(self._before.get(key, 0)) + _summed(n) for key, n in seen.items()}
        entry["seconds"] = self._before.get("seconds", 0.0) + time.monotonic() - self._began

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        if state.is_world_process_zero:
            saved = Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
            durable.flush_all(saved)
            durable.write_text(saved / COMPLETE, "")


def last_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that was written to its end; a killed save leaves others."""
    found = [path.parent for path in folder.glob(f"checkpoint-*/{COMPLETE}")]
    return max(found, key=lambda path: int(path.name.rpartition("-")[2]), default=None)


def _agreed(mine: bool) -> bool:
    """What the first process says: clocks differ, and all must save together."""
    if not torch.distributed.is_initialized():
        return mine
    from accelerate.utils import broadcast_object_list

    said = [mine]
    broadcast_object_list(said)
    return bool(said[0])


def _summed(mine: int) -> int:
    """Over all processes that train together."""
    if not torch.distributed.is_initialized():
        return mine
    from accelerate import PartialState

    number = torch.tensor([mine], device=PartialState().device)
    torch.distributed.all_reduce(number)
    return int(number)
