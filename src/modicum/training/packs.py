"""Whether the rows of a pack are kept apart by the model at hand. Not every architecture does."""

from __future__ import annotations

from typing import Any

import torch

from modicum.errors import TrainingError
from modicum.forward import rounding

_TOKENS = 12  # of each of two rows: enough to see one another
_WAY_OUT = "add --train packing=false"


def check_apart(trainer: Any) -> None:
    """Refuse a model that reads the second row of a pack otherwise than alone.

    Two short forward passes. What is scored would not be what is trained.
    """
    ids = [token for pack in trainer.train_dataset["input_ids"] for token in pack]
    first, second = ids[:_TOKENS], ids[_TOKENS : 2 * _TOKENS] or ids[:_TOKENS]
    network = trainer.model
    was_training = network.training
    network.eval()
    try:
        together, alone = (_logits(trainer, rows) for rows in ([first, second], [second]))
    except ValueError as error:
        said = " ".join(str(error).split())
        raise TrainingError(
            f"{type(network).__name__} takes no packs: {said}; {_WAY_OUT}"
        ) from error
    finally:
        network.train(was_training)
    gap = (together[-len(second) :] - alone).abs().max() / alone.abs().max().clamp_min(1e-6)
    if not float(gap) < rounding(network):
        raise TrainingError(
            f"{type(network).__name__} sees the earlier rows of a pack (relative difference "
            f"{float(gap):.2g}); {_WAY_OUT}"
        )


def _logits(trainer: Any, rows: list[list[int]]) -> torch.Tensor:
    """(T, V) logits of rows in one pack, as training sends it."""
    ids = [token for row in rows for token in row]
    pack = {"input_ids": ids, "labels": ids, "seq_lengths": [len(row) for row in rows]}
    batch = trainer.data_collator([pack])
    device = trainer.args.device
    sent = {
        key: value.to(device) if isinstance(value, torch.Tensor) else value
        for key, value in batch.items()
        if key != "labels"
    }
    with torch.no_grad():
        logits: torch.Tensor = trainer.model(**sent, use_cache=False).logits[0].float()
    return logits
