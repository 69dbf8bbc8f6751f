"""What it cost: tokens sent forward and backward through a model, rows, and seconds."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from typing import Any

SET_UP = "set up training"  # the stage before the first step and after the last
_SAID = set[str]()  # by this process: one run may have many ledgers


@dataclass
class Ledger:
    """One run's costs. Tokens are real ones; padding is counted beside them."""

    forward_tokens: int = 0
    padding_tokens: int = 0
    backward_tokens: int = 0  # trained on: each forward and backward, once an epoch
    trained_rows: int = 0  # once an epoch
    trainings: int = 0  # finished tunings
    compiled_tokens: int = 0  # of the forward tokens, those through compiled layers
    ray_tokens: int = 0  # of the forward tokens, those through workers of Ray
    ray_workers: int = 0  # that measured, anew for every measurement
    ray_workers_lost: int = 0
    forward_passes: int = 0  # rows, and answers alone, sent through a model; not batches
    encoder_rows: int = 0
    encoder_rows_cut: int = 0  # longer than the encoder reads
    rows_not_asked: int = 0  # longer than the window once made into a question: no value
    generated_tokens: int = 0  # answers written by a model, their end tokens included
    requests: int = 0  # answered by an endpoint
    request_tokens: int = 0  # of prompts and replies, as the endpoint counted them
    rows_reused: int = 0  # measurements that were found in the store
    damaged_shards: list[str] = field(default_factory=list)  # of the store: measured again
    fallbacks: list[str] = field(default_factory=list)  # what was done the slower way, and why
    seconds: dict[str, float] = field(default_factory=dict)

    _inside: list[float] = field(default_factory=list, repr=False)  # seconds within open stages

    @contextmanager
    def time(self, stage: str | None) -> Iterator[None]:
        """Count the seconds of a block to this stage, less those of the stages inside it.

        None: they are counted otherwise, but are not the surrounding stage's.
        """
        began = time.perf_counter()
        self._inside.append(0.0)
        try:
            yield
        finally:
            taken, inside = time.perf_counter() - began, self._inside.pop()
            if stage is not None:
                self.spent(stage, taken - inside)
            if self._inside:
                self._inside[-1] += taken

    def fall_back(self, why: str) -> None:
        """Note that work is done the slower way, and why; said once, on standard error.

        At once, and not with the result: whoever waits may rather stop and mend it.
        """
        if why not in self.fallbacks:
            self.fallbacks.append(why)
        _say(why)

    def not_asked(self, rows: int, limit: int) -> None:
        """Count rows whose question the window does not hold; said on standard error."""
        self.rows_not_asked += rows
        if rows:
            _say(
                f"{rows:,} rows are longer than {limit:,} tokens once a question is made of them; "
                "they have no value"
            )

    def trained(self, tokens: int, rows: int, seconds: Mapping[str, float]) -> None:
        """Count a finished tuning, whichever process did it: its steps, and what stands around.

        `seconds` are those of a `training.json`: `train` of the steps, and besides `setup`, `save`.
        """
        self.backward_tokens += tokens
        self.trained_rows += rows
        self.trainings += 1
        self.spent("train", seconds["train"])
        self.spent(SET_UP, sum(seconds.values()) - seconds["train"])

    def spent(self, stage: str, seconds: float) -> None:
        """Count seconds that were measured elsewhere."""
        self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds

    def add(self, figures: Mapping[str, Any]) -> None:
        """Count what another ledger's `to_json` says."""
        for name, value in figures.items():
            if name == "seconds":
                for stage, taken in value.items():
                    self.spent(stage, taken)
            else:
                setattr(self, name, getattr(self, name) + value)

    def since(self, before: Ledger) -> dict[str, Any]:
        """What was added after a copy was made, as `to_json` has it."""
        now, then = self.to_json(), before.to_json()
        seconds = {
            stage: round(taken - then["seconds"].get(stage, 0.0), 2)
            for stage, taken in now.pop("seconds").items()
        }
        lists = {name: now.pop(name)[len(then[name]) :] for name in ("damaged_shards", "fallbacks")}
        figures = {name: value - then[name] for name, value in now.items()}
        return figures | lists | {"seconds": seconds}

    def to_json(self) -> dict[str, Any]:
        """Every figure, seconds to the hundredth."""
        figures = {name: value for name, value in vars(self).items() if name in _PLAIN}
        return figures | {"seconds": {k: round(v, 2) for k, v in self.seconds.items()}}


def _say(what: str) -> None:
    """Once a process: many runs of one command have the same to say."""
    if what not in _SAID:
        _SAID.add(what)
        sys.stderr.write(f"note: {what}\n")


_PLAIN = {figure.name for figure in fields(Ledger)} - {"seconds", "_inside"}
