"""What `training.json` says: the resolved options, the loss curve, what was seen, and how long."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from modicum.render import Rendered
from modicum.runs import versions
from modicum.training.rows import learned_tokens

if TYPE_CHECKING:
    from modicum.training.options import Recipe
    from modicum.training.trainer import Trainer

_CURVE = ("step", "epoch", "loss", "learning_rate", "grad_norm", "tokens", "seconds")
PACKAGES = ("accelerate", "peft", "trl")
_SECRET = "token"  # hub_token and its kin are never written


def resolved(trainer: Trainer, recipe: Recipe) -> dict[str, Any]:
    """Every option as it was in force, ours and TRL's; and the adapter's, if there is one."""
    network: Any = trainer.model
    args: Any = trainer.args
    weights = list(network.parameters())
    plain = json.loads(args.to_json_string())
    options = {key: value for key, value in sorted(plain.items()) if not key.endswith(_SECRET)}
    adapter = recipe.adapter()
    lora: Any = adapter
    about = None if lora is None else json.loads(json.dumps(lora.to_dict(), default=_sorted))
    return {
        "given": recipe.to_json(),
        "options": options,
        "lora": about,
        "parameters": sum(int(weight.numel()) for weight in weights),
        "parameters_trained": sum(int(w.numel()) for w in weights if w.requires_grad),
        "processes": trainer.accelerator.num_processes,
        "device": str(trainer.args.device),
    }


def history(trainer: Trainer, rendered: Rendered, seconds: dict[str, float]) -> dict[str, Any]:
    """The loss curve; rows and tokens in the data and seen in training; seconds."""
    entries = [entry for entry in trainer.state.log_history if "loss" in entry]
    curve = [{key: _plain(entry[key]) for key in _CURVE if key in entry} for entry in entries]
    epochs = float(trainer.state.epoch or 0.0)
    prepared: Any = trainer.train_dataset
    last = [_covered(entries, i) for i, e in enumerate(entries) if e["epoch"] > epochs - 1]
    steps = sum(covered for _, covered in last)
    seen = entries[-1] if entries else {"tokens": 0, "answer_tokens": 0, "seconds": 0.0}
    return {
        "rows": len(rendered),
        "tokens": len(rendered.ids),
        "answer_tokens": int(learned_tokens(rendered).sum()),
        "sequences": len(prepared),
        "epochs": epochs,
        "steps": int(trainer.state.global_step),
        "rows_seen": round(epochs * len(rendered)),
        "tokens_seen": seen["tokens"],
        "answer_tokens_seen": seen["answer_tokens"],
        "last_epoch_loss": sum(loss * n for loss, n in last) / steps if steps else None,
        "loss_curve": curve,
        "seconds": {key: round(took, 2) for key, took in seconds.items()}
        | {"train": round(seen["seconds"], 2)},
        "versions": versions(PACKAGES),
    }


def _covered(entries: list[dict[str, Any]], at: int) -> tuple[float, int]:
    """The mean loss of an entry, and of how many steps it is the mean."""
    before = entries[at - 1]["step"] if at else 0
    return float(entries[at]["loss"]), int(entries[at]["step"] - before)


def _plain(value: Any) -> Any:
    """A number as JSON has it: the norm of a step that float16 skipped is none."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _sorted(value: Any) -> Any:
    return sorted(value) if isinstance(value, set) else str(value)
