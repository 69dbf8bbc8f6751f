"""Modicum chooses the few examples worth tuning a language model on."""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from modicum.choose import Selection, select
    from modicum.comparing import compare
    from modicum.context import Context
    from modicum.errors import ModicumError
    from modicum.evidence import Compared
    from modicum.fewest import enough
    from modicum.mixing import Mix, mix
    from modicum.models import find_model
    from modicum.pool import Example, Pool, Turn
    from modicum.scoring import Scored, score
    from modicum.selection.budget import Budget, Step
    from modicum.tuning import train

__version__ = "0.1.0"

# Libraries below report to the hub that a trainer was made, unless told not to before they load.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

__all__ = [
    "Budget",
    "Compared",
    "Context",
    "Example",
    "Mix",
    "ModicumError",
    "Pool",
    "Scored",
    "Selection",
    "Step",
    "Turn",
    "compare",
    "enough",
    "find_model",
    "mix",
    "score",
    "select",
    "train",
]

# Public names are fetched when first used: `import modicum` loads neither numpy nor torch.
_HOMES = {
    "Budget": "selection.budget",
    "Compared": "evidence.run",
    "Context": "context",
    "Example": "pool",
    "Mix": "mixing",
    "ModicumError": "errors",
    "Pool": "pool",
    "Scored": "scoring",
    "Selection": "choose",
    "Step": "selection.budget",
    "Turn": "pool",
    "compare": "comparing",
    "enough": "fewest",
    "find_model": "models",
    "mix": "mixing",
    "score": "scoring",
    "select": "choose",
    "train": "tuning",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'modicum' has no attribute {name!r}")
    return getattr(import_module(f"modicum.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
