"""A model on held-out rows: a value per row and measure, ready to be paired with another's."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from modicum import generation
from modicum.answers import exact_match, rouge_l
from modicum.errors import AlignmentError, InputError, OptionError, TrainingError
from modicum.evaluation.choices import choose
from modicum.evaluation.judge import Asked, Judge, length_controlled, relative_score
from modicum.evaluation.measures import MAY_MISS, VALUES, WRITTEN, check_measures, scoring
from modicum.ledger import Ledger
from modicum.meter import Meter
from modicum.pool import Example, Pool
from modicum.training.rows import learned_tokens
from modicum.wants import Loss


@dataclass(frozen=True)
class Evaluated:
    """What a model reaches on the rows of a pool; row i is pool[i].

    Every value is finite, but for those of a judge, which are NaN where it could not be read.
    """

    pool: str  # its fingerprint
    how: str  # `scoring` of it
    values: dict[str, np.ndarray]  # measure: (N,) float64
    answers: list[str] | None = None  # (N,) as the model wrote them
    cut: np.ndarray | None = None  # (N,) bool: which of them did not end by themselves
    about: dict[str, Any] = field(default_factory=dict)  # what a judge and choices say besides

    def __post_init__(self) -> None:
        written = [each for each in (self.answers, self.cut) if each is not None]
        sizes = {len(each) for each in [*self.values.values(), *written]}
        if len(sizes) != 1 or sizes == {0}:
            raise InputError("an evaluation has as many values of each measure as rows, at least 1")
        for name, values_N in self.values.items():
            missing_N = np.isnan(values_N) & (name in MAY_MISS)
            bad_M = np.flatnonzero(~np.isfinite(values_N) & ~missing_N)
            if len(bad_M):
                raise InputError(f"{name} of row {bad_M[0]} is {values_N[bad_M[0]]}, not a number")

    def means(self) -> dict[str, float]:
        """The mean of each value over the rows that have it; NaN where none has."""
        known = {name: values_N[~np.isnan(values_N)] for name, values_N in self.values.items()}
        return {name: float(v.mean()) if len(v) else math.nan for name, v in known.items()}

    def to_json(self) -> dict[str, Any]:
        """As JSON holds it, to the bit."""
        values = {name: listed(values_N) for name, values_N in self.values.items()}
        cut = None if self.cut is None else self.cut.tolist()
        told = {"pool": self.pool, "how": self.how, "about": self.about}
        return {**told, "values": values, "answers": self.answers, "cut": cut}

    @staticmethod
    def from_json(facts: Mapping[str, Any]) -> Evaluated:
        """What `to_json` said."""
        values = {name: np.array(v, dtype=np.float64) for name, v in facts["values"].items()}
        cut = None if facts["cut"] is None else np.array(facts["cut"], dtype=bool)
        return Evaluated(facts["pool"], facts["how"], values, facts["answers"], cut, facts["about"])


def listed(values_N: np.ndarray) -> list[float | None]:
    """Values as JSON holds them: a missing one is null."""
    return [None if math.isnan(value) else value for value in values_N.tolist()]


def evaluate(
    rows: Pool,
    meter: Meter,
    measures: Sequence[str] = ("loss", "exact", "rouge"),
    *,
    max_new_tokens: int = 64,
    judge: Judge | None = None,
) -> Evaluated:
    """Measure a model on held-out rows.

    `loss` is the mean negative log-likelihood of the learned answers, in nats per token; `bits` its
    sum in bits per byte of their text, which models with other tokenizers share. For `exact` and
    `rouge` (0 to 1) the model answers in place of each row's last learned turn, and is compared
    with that turn; for `judge` another model compares the two. `choice`: whether the likeliest of
    the row's choices is the right one (`choose`). A row that cannot be measured is refused, not
    skipped: `InputError`, or `TrainingError` where its loss is no number.
    """
    check_measures(measures)
    _check(rows, meter)
    values, about = _read(rows, meter, measures)
    answers, cut_N = None, None
    if set(measures) & set(WRITTEN):
        answers, cut_N = generation.generate(
            meter.rendered(rows), meter.model, meter.ledger, max_new_tokens=max_new_tokens
        )
        values |= _compared(answers, [reference(row) for row in rows], measures)
    if "judge" in measures and answers is not None:
        if judge is None:
            raise OptionError("the measure judge needs a judge: give its address and its model")
        made, about["judge"] = _judged(rows, answers, judge, meter.ledger)
        values |= made
    how = scoring(measures, max_new_tokens, "" if judge is None else judge.asked)
    if "choice" in measures:
        how += f"-{about['choice']['options']}"
    return Evaluated(rows.fingerprint, how, values, answers, cut_N, about)


def paired_differences(one: Evaluated, other: Evaluated, measure: str) -> np.ndarray:
    """(N,) `one` − `other`, row by row. Refuses different rows, and different `how`."""
    if one.pool != other.pool:
        raise AlignmentError(
            f"one evaluation is of pool {one.pool[:8]}, the other of {other.pool[:8]}; "
            "compare models on the same rows"
        )
    if one.how != other.how:
        raise AlignmentError(
            f"one evaluation is {one.how}, the other {other.how}; evaluate both models the same way"
        )
    for each in (one, other):
        if measure not in each.values:
            raise OptionError(f"no measure {measure!r} here; there is {', '.join(each.values)}")
    return np.asarray(one.values[measure] - other.values[measure])


def _check(rows: Pool, meter: Meter) -> None:
    if not len(rows):
        raise InputError("there are no held-out rows; give at least one")
    rendered = meter.rendered(rows)
    for i, reason in sorted(rendered.errors.items()):
        raise InputError(f"{rows.where(i)}: cannot be rendered ({reason}); leave the row out")
    long_M = np.flatnonzero(rendered.lengths_N > meter.max_tokens)
    if len(long_M):
        raise InputError(
            f"{rows.where(int(long_M[0]))}: {rendered.lengths_N[long_M[0]]:,} tokens, the limit is "
            f"{meter.max_tokens:,}, and so for {len(long_M):,} held-out rows; leave them out"
        )


def _read(
    rows: Pool, meter: Meter, measures: Sequence[str]
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """What takes no writing: values, and what is to be said of them."""
    values, about = dict[str, np.ndarray](), dict[str, Any]()
    if {"loss", "bits"} & set(measures):
        loss_N = _losses(rows, meter)
        if "loss" in measures:
            values["loss"] = loss_N
        if "bits" in measures:
            values["bits_per_byte"] = loss_N * _tokens_per_byte(rows, meter) / math.log(2)
    if "choice" in measures:
        chosen = choose(rows, meter)
        values |= {"choice": chosen.choice, "choice_normalised": chosen.choice_normalised}
        about["choice"] = {
            "options": chosen.options,
            "by_chance": chosen.chance,
            "gathered": int(chosen.gathered.sum()),  # rows whose choices are their task's answers
            "apart": chosen.apart,
            "shared": chosen.shared,
        }
    return values, about


def _losses(rows: Pool, meter: Meter) -> np.ndarray:
    loss_N = meter.measured(rows, Loss()).astype(np.float64)
    if not np.isfinite(loss_N).all():
        row = int(np.argmin(np.isfinite(loss_N)))
        raise TrainingError(
            f"{rows.where(row)}: the loss is {loss_N[row]} through {meter.model.name}; its "
            "training lost its way (try a lower learning rate), or its weights are damaged"
        )
    return loss_N


def _tokens_per_byte(rows: Pool, meter: Meter) -> np.ndarray:
    """(N,) tokens that the loss is a mean over, for each byte of the learned answers' text."""
    learned = ((turn.content for turn in row.turns if turn.train) for row in rows)
    bytes_N = np.array([sum(len(text.encode()) for text in texts) for texts in learned])
    return np.asarray(learned_tokens(meter.rendered(rows)) / bytes_N)


def _compared(
    answers: Sequence[str], references: Sequence[str], measures: Sequence[str]
) -> dict[str, np.ndarray]:
    values: dict[str, np.ndarray] = {}
    if "exact" in measures:
        pairs = zip(answers, references, strict=True)
        values["exact"] = np.array([exact_match(*pair) for pair in pairs], dtype=np.float64)
    if "rouge" in measures:
        values["rouge_l"] = rouge_l(answers, references)
    return values


def _judged(
    rows: Pool, answers: Sequence[str], judge: Judge, ledger: Ledger
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    pairs = zip(rows, answers, strict=True)
    found = judge([Asked(_question(row), said, reference(row)) for row, said in pairs], ledger)
    lengths = (found.lengths_N, found.reference_lengths_N)
    figures = {
        "relative_score": relative_score(found.score_N, found.reference_N),
        "length_controlled": length_controlled(found.wins_N, *lengths),
    }
    known = {name: None if math.isnan(figure) else figure for name, figure in figures.items()}
    values = dict(
        zip(VALUES["judge"], (found.wins_N, found.score_N, found.reference_N), strict=True)
    )
    return values, {**found.to_json(), **known}


def _question(row: Example) -> str:
    """All that stands before the answer that is compared."""
    last = max(i for i, turn in enumerate(row.turns) if turn.train)
    before = row.turns[:last]
    if len(before) == 1:
        return before[0].content
    return "\n\n".join(f"{turn.role}: {turn.content}" for turn in before)


def reference(row: Example) -> str:
    """The answer that a model's own is compared with: a row's last learned turn."""
    return [turn.content for turn in row.turns if turn.train][-1]
