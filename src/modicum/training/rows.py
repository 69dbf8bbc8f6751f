"""Rendered rows as a trainer takes them, and the check that all of them arrive there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from modicum.errors import InputError, TrainingError
from modicum.render import ANSWER, Rendered

if TYPE_CHECKING:
    from datasets import Dataset

IGNORED = -100  # the label of a token that carries no loss


def dataset(rendered: Rendered) -> Dataset:
    """`input_ids` and `labels` of every row: the answers' own ids where they are learned.

    Raises `InputError` for a row without tokens, or without anything to learn.
    """
    from datasets import Dataset
    from datasets.table import InMemoryTable

    if not len(rendered):
        raise InputError("there are no rows to train on")
    empty_M = np.flatnonzero(learned_tokens(rendered) == 0)
    if len(empty_M):
        why = rendered.errors.get(int(empty_M[0]), "no answer token is predicted by anything")
        raise InputError(f"{len(empty_M)} rows teach nothing; the first, row {empty_M[0]}: {why}")
    labels = np.where(rendered.kinds == ANSWER, rendered.ids, IGNORED).astype(np.int32)
    columns = {"input_ids": rendered.ids, "labels": labels}
    starts = pa.array(rendered.starts, pa.int64())
    lists = {k: pa.LargeListArray.from_arrays(starts, pa.array(v)) for k, v in columns.items()}
    return Dataset(InMemoryTable(pa.table(lists)))


def learned_tokens(rendered: Rendered) -> np.ndarray:
    """(N,) tokens of each row that carry loss: its answer's, but not a row's very first token."""
    learned_N = rendered.answer_lengths_N.copy()
    filled_M = np.flatnonzero(rendered.lengths_N)
    learned_N[filled_M] -= rendered.kinds[rendered.starts[filled_M]] == ANSWER
    return learned_N


def check_arrived(prepared: Any, rendered: Rendered) -> None:
    """Refuse what a trainer made of the rows if a row or a token is missing or has been added."""
    packed = "seq_lengths" in prepared.column_names
    rows = sum(map(len, prepared["seq_lengths"])) if packed else len(prepared)
    arrived = {
        "rows": rows,
        "tokens": sum(map(len, prepared["input_ids"])),
        "answer tokens": sum(
            int((np.asarray(labels) != IGNORED).sum()) for labels in prepared["labels"]
        ),
    }
    sent = {
        "rows": len(rendered),
        "tokens": len(rendered.ids),
        "answer tokens": int(rendered.answer_lengths_N.sum()),
    }
    for what, number in sent.items():
        if arrived[what] != number:
            raise TrainingError(
                f"the trainer made {arrived[what]:,} {what} of {number:,}; "
                "nothing was trained (an option under --train cuts or drops rows)"
            )
