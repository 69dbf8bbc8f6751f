"""What can be measured of a row, by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from modicum.head import Unsure

Pooling = Literal["weighted", "mean", "last"]
Over = Literal["row", "answer", "instruction"]


@dataclass(frozen=True)
class Loss:
    """Mean negative log-likelihood (nats per token) of the learned answers.

    With `prompt`, given everything before them; without, each answer after a start token only.
    The turn's end token counts as part of the answer.
    """

    prompt: bool = True

    @property
    def name(self) -> str:
        return "loss" if self.prompt else "loss-alone"


@dataclass(frozen=True)
class HiddenState:
    """Hidden states of one layer, pooled over tokens in float32 and kept with float16's 11 bits."""

    layer: int = -1
    pooling: Pooling = "weighted"
    over: Over = "row"

    @property
    def name(self) -> str:
        return f"hidden-{self.layer}-{self.pooling}-{self.over}"


@dataclass(frozen=True)
class Uncertainty:
    """How unsure the model is of the learned answers' tokens, given everything before them.

    The mean, over the tokens whose loss `Loss()` is of, of a number of the distribution p over the
    vocabulary: 1 − max p, or the largest p less the second largest, or −Σ p ln p in nats.
    """

    kind: Unsure

    @property
    def name(self) -> str:
        return f"uncertainty-{self.kind}"


@dataclass(frozen=True)
class Opening:
    """ln p (nats) of one token where the first learned answer begins, given everything before."""

    token: int

    @property
    def name(self) -> str:
        return f"opening-{self.token}"


Want = Loss | Uncertainty | Opening | HiddenState
