"""The selecting half of LLM2LLM: Lee et al. 2024, arXiv 2403.15042."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

from modicum.context import Context
from modicum.methods.lobass import same_tokens
from modicum.models import find_model
from modicum.own_answers import cut_notes
from modicum.scores import Score
from modicum.scores.wrong_answer import WrongAnswer
from modicum.selection import Step, uniform


@dataclass(frozen=True)
class WrongAnswers:
    """Take rows that the model answers wrongly, by chance: of those there is nothing to rank by.

    The paper tunes a student, keeps what it gets wrong and has a teacher write more like it, round
    after round; here nothing is written. `reference` is a tuned student that answers instead.
    """

    score: Score = field(default_factory=WrongAnswer)
    reference: str | None = None

    name: ClassVar[str] = "wrong-answers"
    aims: ClassVar[bool] = False
    nested: ClassVar[bool] = True
    paper: ClassVar[str] = "LLM2LLM, Lee et al. 2024, arXiv 2403.15042"
    needs: ClassVar[str] = "answers that can be right: a label, a number, a few words"
    cost: ClassVar[str] = "an answer written to every row, a pass for each token of it"
    fails: ClassVar[str] = "with open answers: none is the same, and all rows are taken for wrong"

    def other_model(self, trust_remote_code: bool) -> str | None:
        """A hash of the student that was given, as it lies there now."""
        if self.reference is None:
            return None
        return find_model(self.reference, trust_remote_code=trust_remote_code).fingerprint

    def __call__(self, context: Context) -> Iterator[Step]:
        meter = context.meter
        if self.reference is not None:
            meter = meter.through(same_tokens(self.reference, context))
        wrong_N = context.values(self.score, meter)
        context.notes.extend(cut_notes(self.score, context.pool, meter))
        right = int((wrong_N == 0).sum())
        context.notes.append(f"{right:,} of {len(wrong_N):,} rows are answered right: not offered")
        drawn = uniform(len(wrong_N), context.seed)
        reason = "answered wrongly, drawn at random"
        return (Step(s.pick, reason, 1.0) for s in drawn if wrong_N[s.pick] == 1)
