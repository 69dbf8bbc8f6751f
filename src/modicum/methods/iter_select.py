"""IterSelectTune: Song et al. 2024, arXiv 2410.13464."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, ClassVar

import numpy as np

from modicum.context import Context, aligned
from modicum.errors import OptionError
from modicum.geometry import blocks_of, largest_cosine
from modicum.methods.kmeans import kmeans_need
from modicum.own_answers import cut_notes
from modicum.plan import Work, passes, scaled
from modicum.scores import Score
from modicum.scores.judge_gap import JudgeGap
from modicum.selection import Step, balanced, band, kmeans
from modicum.selection.memory import Need
from modicum.selection.rows import finite_rows
from modicum.views import View
from modicum.views.hidden import Hidden


@dataclass(frozen=True)
class IterSelect:
    """Have a judge tell which of some rows are hard, learn to tell it of the others, and go on.

    `initial` rows, one of each of so many clusters, are judged: hard is what the model answers
    worse than the row does. A classifier of vectors learns from them, the `per_round` likeliest to
    be hard are judged next, `rounds` times. Then `alpha` × the chance of being hard + (1 − `alpha`)
    × the cosine to the most alike other row that is known to be is the score, highest first. In
    the paper GPT-4 judges and BERT classifies; here any model rates both answers, and a logistic
    regression classifies. Its numbers of rows, rounds and its alpha are not known: those here
    are guesses.
    """

    view: View = field(default_factory=lambda: Hidden(whiten=True))
    score: Score = field(default_factory=JudgeGap)
    initial: int = 100
    per_round: int = 50
    rounds: int = 2
    alpha: float = 0.5

    name: ClassVar[str] = "iter-select"
    aims: ClassVar[bool] = False
    nested: ClassVar[bool] = True
    paper: ClassVar[str] = "IterSelectTune, Song et al. 2024, arXiv 2410.13464"
    needs: ClassVar[str] = "a view, and a model that judges (judge=; else the one given)"
    cost: ClassVar[str] = "1 forward pass a row; to some rows an answer, and 2 questions about it"
    fails: ClassVar[str] = "with a small judge, whose labels are all that is learned"

    def __post_init__(self) -> None:
        for option in ("initial", "per_round", "rounds"):
            if getattr(self, option) < (least := int(option != "rounds")):
                raise OptionError(f"{option}={getattr(self, option)}; at least {least} is needed")
        if not 0 <= self.alpha <= 1:
            raise OptionError(f"alpha={self.alpha}: give a share of the score, from 0 to 1")

    def selectors(self, context: Context) -> list[Need]:
        """What k-means will take beside the vectors."""
        return kmeans_need(context, self.view, self.initial)

    def plan(self, context: Context) -> list[Work]:
        """The view of all rows, and the questions about those that are judged."""
        pool, meter = context.pool, context.meter
        share = min(1, (self.initial + self.rounds * self.per_round) / len(pool))
        works = passes(meter.rendered(pool), self.view.wants)
        judged = [(pool, self.score.wants)]
        if hasattr(self.score, "further"):
            judged += self.score.further(pool, meter)
        for made, wants in judged:
            works += scaled(passes(meter.rendered(made), wants), share)
        return works

    def __call__(self, context: Context) -> Iterator[Step]:
        vectors_ND = context.vectors(self.view)
        seen_N = finite_rows(vectors_ND)
        hard_N = np.full(len(vectors_ND), np.nan)  # 1, 0, or not judged
        next_M = self._diverse(context, vectors_ND)
        for _ in range(self.rounds + 1):
            self._judge(context, next_M, hard_N)
            chance_N = _chance(vectors_ND, seen_N, hard_N)
            steps = band(np.where(np.isnan(hard_N), chance_N, np.nan))
            next_M = np.sort([step.pick for step in islice(steps, self.per_round)]).astype(int)
        judged, hard = int(np.isfinite(hard_N).sum()), int((hard_N == 1).sum())
        context.notes.append(f"{judged:,} rows were judged, {hard:,} of them hard for the model")
        hard_M = np.flatnonzero(hard_N == 1)
        like_N = largest_cosine(vectors_ND, vectors_ND[hard_M])
        for i in hard_M:  # a row is not like itself
            like_N[i] = largest_cosine(vectors_ND[[i]], vectors_ND[hard_M[hard_M != i]])[0]
        value_N = self.alpha * chance_N + (1 - self.alpha) * like_N
        context.scored[self.name] = value_N
        return band(value_N, "top", self.name)

    def _diverse(self, context: Context, vectors_ND: np.ndarray) -> np.ndarray:
        """One row of each cluster, drawn at random."""
        spread: dict[str, Any] = {"memory": context.memory, "over": context.over}
        groups = kmeans(vectors_ND, self.initial, context.seed, **spread)
        rows_M = np.flatnonzero(groups.labels_N >= 0)
        drawn = balanced([f"{label:09}" for label in groups.labels_N[rows_M]], context.seed)
        first = islice(drawn, len(groups.centers_CD))
        return np.sort(rows_M[[step.pick for step in first]])

    def _judge(self, context: Context, rows_M: np.ndarray, hard_N: np.ndarray) -> None:
        """Fill in which of these rows are hard; what cannot be judged stays unknown."""
        if not len(rows_M):
            return
        rows, meter = context.meter.narrow(context.pool, rows_M), context.meter
        gap_M = aligned(self.score, self.score(rows, meter), rows, dimensions=1)
        hard_N[rows_M] = np.where(np.isfinite(gap_M), gap_M > 0, np.nan)
        context.notes.extend(cut_notes(self.score, rows, meter))


def _chance(vectors_ND: np.ndarray, seen_N: np.ndarray, hard_N: np.ndarray) -> np.ndarray:
    """(N,) how likely each row is to be hard; NaN of what the view cannot see."""
    from sklearn.linear_model import LogisticRegression

    known_N = np.isfinite(hard_N) & seen_N
    chance_N = np.where(seen_N, hard_N[known_N].mean() if known_N.any() else 0.5, np.nan)
    if len(set(hard_N[known_N])) < 2:
        return chance_N  # all alike: there is nothing to tell apart
    learned = LogisticRegression(max_iter=1000).fit(vectors_ND[known_N], hard_N[known_N])
    at = 0
    for block_BD in blocks_of(vectors_ND):
        inside_B = seen_N[at : at + len(block_BD)]
        if inside_B.any():
            rows_M = at + np.flatnonzero(inside_B)
            chance_N[rows_M] = learned.predict_proba(block_BD[inside_B])[:, 1]
        at += len(block_BD)
    return chance_N
