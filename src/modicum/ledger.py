"""What it cost: tokens sent forward and backward through a model, rows, and seconds."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Ledger:
    """One run's costs. Tokens are real ones; padding is counted beside them."""

    forward_tokens: int = 0
    padding_tokens: int = 0
    backward_tokens: int = 0
    forward_passes: int = 0  # rows, and answers alone, sent through a model; not batches
    encoder_rows: int = 0
    encoder_rows_cut: int = 0  # longer than the encoder reads
    rows_reused: int = 0  # measurements that were found in the store
    damaged_shards: list[str] = field(default_factory=list)  # of the store: measured again
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def time(self, stage: str) -> Iterator[None]:
        """Count the seconds of a block to this stage, less those of the stages inside it."""
        began, before = time.perf_counter(), sum(self.seconds.values())
        try:
            yield
        finally:
            inside = sum(self.seconds.values()) - before
            taken = time.perf_counter() - began - inside
            self.seconds[stage] = self.seconds.get(stage, 0.0) + taken

    def to_json(self) -> dict[str, Any]:
        """Every figure, seconds to the hundredth."""
        figures = {name: value for name, value in vars(self).items() if name != "seconds"}
        return figures | {"seconds": {k: round(v, 2) for k, v in self.seconds.items()}}
