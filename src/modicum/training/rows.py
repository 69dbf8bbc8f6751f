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


def packed(rows: Dataset, length: int) -> Dataset:
    """Rows packed by TRL (best fit decreasing) into `length` tokens; longer ones each by itself.

    TRL alone knows one length. Were it that of the longest row, one long row would make every
    pack as long, and attention and logits grow with it.
    """
    from datasets import concatenate_datasets
    from trl.data_utils import pack_dataset

    tokens_N = np.array([len(ids) for ids in rows["input_ids"]])
    short_M, long_M = np.flatnonzero(tokens_N <= length), np.flatnonzero(tokens_N > length)
    parts = []
    if len(short_M):
        parts.append(pack_dataset(rows.select(short_M), length, "bfd"))
    if len(long_M):
        alone = rows.select(long_M).add_column("seq_lengths", [[n] for n in tokens_N[long_M]])
        parts.append(alone.cast(parts[0].features) if parts else alone)
    return concatenate_datasets(parts)


def learned_tokens(rendered: Rendered) -> np.ndarray:
    """(N,) tokens of each row that carry loss: its answer's, but not a row's very first token."""
    learned_N = rendered.answer_lengths_N.copy()
    filled_M = np.flatnonzero(rendered.lengths_N)
    learned_N[filled_M] -= rendered.kinds[rendered.starts[filled_M]] == ANSWER
    return learned_N


def check_arrived(prepared: Any, rendered: Rendered) -> None:
    """Refuse what a trainer made of the rows if a row or a token is missing or has been added."""
    in_packs = "seq_lengths" in prepared.column_names
    rows = sum(map(len, prepared["seq_lengths"])) if in_packs else len(prepared)
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
