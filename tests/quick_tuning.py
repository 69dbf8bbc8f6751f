"""A stand-in for `tune`, for tests of what is done with tuned models and not of tuning."""

from __future__ import annotations

import shutil
import zlib
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from modicum.ledger import Ledger
from modicum.models import Model
from modicum.render import Rendered
from modicum.runs import check_files, hashes, read_object, write_json
from modicum.training import Recipe, Tuned

EPOCHS = 3
FILE = "model.safetensors"


class QuickTuning:
    """Moves the base's weights in a direction that its rows and the seed decide, and no other."""

    def __init__(self, step: float = 0.05) -> None:
        self.step = step
        self.trained: list[str] = []  # names of the folders, each time one was made
        self.calls: list[dict[str, Any]] = []

    def __call__(
        self,
        rendered: Rendered,
        model: Model,
        folder: Path,
        recipe: Recipe,
        *,
        seed: int = 0,
        ledger: Ledger | None = None,
        what: str = "",
    ) -> Tuned:
        self.calls.append({"rendered": rendered, "start": model.folder, "recipe": recipe})
        if not (folder / "training.json").exists():
            self._make(rendered, model, folder, seed)
            self.trained.append(folder.name)
        record = read_object(folder / "training.json")
        check_files(folder, record)
        if ledger is not None:
            ledger.trained(record["tokens_seen"], EPOCHS * record["rows"], record["seconds"])
        return Tuned(folder, record)

    def _make(self, rendered: Rendered, model: Model, folder: Path, seed: int) -> None:
        left_out = shutil.ignore_patterns("*.json.part")
        shutil.copytree(model.folder, folder, ignore=left_out, dirs_exist_ok=True)
        (folder / "training.json").unlink(missing_ok=True)
        drawn = torch.Generator().manual_seed(zlib.crc32(rendered.ids.tobytes()) + seed)
        weights = load_file(folder / FILE)
        for name, values in sorted(weights.items()):
            weights[name] = values + self.step * torch.randn(values.shape, generator=drawn)
        save_file(weights, folder / FILE, {"format": "pt"})
        record = {
            "rows": len(rendered),
            "steps": 1,
            "epochs": EPOCHS,
            "tokens_seen": EPOCHS * len(rendered.ids),
            "seconds": {"train": 1.0},
            "last_epoch_loss": 1.0 + len(rendered),
            "files": hashes(folder, folder.iterdir()),
        }
        write_json(folder / "training.json", record)
