"""Ask-LLM: Sachdeva et al. 2024, arXiv 2402.09668."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

from modicum.context import Context
from modicum.scores import Score
from modicum.scores.opinions import AskLlm as Asked
from modicum.selection import Step, band


@dataclass(frozen=True)
class AskLlm:
    """Take the rows of which a model is surest that they would help to teach.

    The paper samples text to pretrain on; the question here is about a request and its answer.
    """

    score: Score = field(default_factory=Asked)

    name: ClassVar[str] = "ask-llm"
    aims: ClassVar[bool] = False
    nested: ClassVar[bool] = True
    paper: ClassVar[str] = "How to Train Data-Efficient LLMs, 2024, arXiv 2402.09668"
    needs: ClassVar[str] = "a model that judges (judge=; else the one given)"
    cost: ClassVar[str] = "1 forward pass a question about a row, or 1 token of an endpoint"
    fails: ClassVar[str] = "with a small judge; and it takes what is alike again and again"

    def __call__(self, context: Context) -> Iterator[Step]:
        return band(context.values(self.score), "top", self.score.name)
