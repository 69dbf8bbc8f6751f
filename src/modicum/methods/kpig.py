"""Key-part information gain: Don't Half-listen, He et al. 2024, arXiv 2403.10056."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

from modicum.context import Context
from modicum.scores import Score
from modicum.scores.key_gain import KeyGain
from modicum.selection import Step, band


@dataclass(frozen=True)
class Kpig:
    """Take the rows that the model answers as well without the key words: it only half listens.

    The lowest gain first. In the paper GPT-4 marks the key part, and the rule decides which tasks
    and rows to replay; its replay is `modicum replay -m kpig`.
    """

    score: Score = field(default_factory=KeyGain)

    name: ClassVar[str] = "kpig"
    aims: ClassVar[bool] = False
    nested: ClassVar[bool] = True
    paper: ClassVar[str] = "Don't Half-listen, He et al. 2024, arXiv 2403.10056"
    needs: ClassVar[str] = "a model, and keyphrases (pip install 'modicum[replay]')"
    cost: ClassVar[str] = "2 forward passes a row: as it is, and with its key words masked"
    fails: ClassVar[str] = "where the answer stands in the prompt apart from its key words"

    wants: ClassVar = KeyGain.wants

    def __call__(self, context: Context) -> Iterator[Step]:
        return band(context.values(self.score), "bottom", self.score.name)
