"""A model on held-out rows: a value per row and measure, ready to be paired with another's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from modicum.errors import AlignmentError, InputError, OptionError, TrainingError
from modicum.evaluation import generation
from modicum.evaluation.answers import exact_match, rouge_l
from modicum.measure import Loss
from modicum.meter import Meter
from modicum.pool import Pool

VERSION = 1  # of the values: raise it whenever the same model would get others on the same rows


def scoring(generate: bool, max_new_tokens: int) -> str:
    """How values are made, in a word that a path can hold: `generated-64-v1`, or `loss-v1`."""
    return f"generated-{max_new_tokens}-v{VERSION}" if generate else f"loss-v{VERSION}"


@dataclass(frozen=True)
class Evaluated:
    """What a model reaches on the rows of a pool. Every value is finite; row i is pool[i]."""

    pool: str  # its fingerprint
    how: str  # `scoring` of it
    values: dict[str, np.ndarray]  # measure: (N,) float64
    answers: list[str] | None = None  # (N,) as the model wrote them
    cut: np.ndarray | None = None  # (N,) bool: which of them did not end by themselves

    def __post_init__(self) -> None:
        written = [each for each in (self.answers, self.cut) if each is not None]
        sizes = {len(each) for each in [*self.values.values(), *written]}
        if len(sizes) != 1 or sizes == {0}:
            raise InputError("an evaluation has as many values of each measure as rows, at least 1")
        for name, values_N in self.values.items():
            bad_M = np.flatnonzero(~np.isfinite(values_N))
            if len(bad_M):
                raise InputError(f"{name} of row {bad_M[0]} is {values_N[bad_M[0]]}, not a number")

    def means(self) -> dict[str, float]:
        """The mean over all rows of each measure."""
        return {name: float(values_N.mean()) for name, values_N in self.values.items()}

    def to_json(self) -> dict[str, Any]:
        """As JSON holds it, to the bit."""
        values = {name: values_N.tolist() for name, values_N in self.values.items()}
        cut = None if self.cut is None else self.cut.tolist()
        about = {"pool": self.pool, "how": self.how}
        return {**about, "values": values, "answers": self.answers, "cut": cut}

    @staticmethod
    def from_json(facts: Mapping[str, Any]) -> Evaluated:
        """What `to_json` said."""
        values = {name: np.array(v, dtype=np.float64) for name, v in facts["values"].items()}
        cut = None if facts["cut"] is None else np.array(facts["cut"], dtype=bool)
        return Evaluated(facts["pool"], facts["how"], values, facts["answers"], cut)


def evaluate(
    rows: Pool, meter: Meter, *, generate: bool = True, max_new_tokens: int = 64
) -> Evaluated:
    """Measure a model on held-out rows.

    `loss` is the mean negative log-likelihood of the learned answers, in nats per token. With
    `generate`, the model answers in place of each row's last learned turn, and `exact` and
    `rouge_l` (0 to 1) compare that with the turn. A row that cannot be measured is refused, not
    skipped: `InputError`, or `TrainingError` where its loss is no number.
    """
    _check(rows, meter)
    loss_N = meter.measured(rows, Loss()).astype(np.float64)
    if not np.isfinite(loss_N).all():
        row = int(np.argmin(np.isfinite(loss_N)))
        raise TrainingError(
            f"{rows.where(row)}: the loss is {loss_N[row]} through {meter.model.name}; its "
            "training lost its way (try a lower learning rate), or its weights are damaged"
        )
    how = scoring(generate, max_new_tokens)
    if not generate:
        return Evaluated(rows.fingerprint, how, {"loss": loss_N})
    references = [_reference(rows, i) for i in range(len(rows))]
    answers, cut_N = generation.generate(
        meter.rendered(rows), meter.model, meter.ledger, max_new_tokens=max_new_tokens
    )
    exact_N = np.array(list(map(exact_match, answers, references)), dtype=np.float64)
    values = {"loss": loss_N, "exact": exact_N, "rouge_l": rouge_l(answers, references)}
    return Evaluated(rows.fingerprint, how, values, answers, cut_N)


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


def _reference(rows: Pool, position: int) -> str:
    return [turn.content for turn in rows[position].turns if turn.train][-1]
