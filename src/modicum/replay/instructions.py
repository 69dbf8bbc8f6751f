"""The instructions of tasks: distinct texts, the rows that have each, and their vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, is_dataclass, replace
from typing import NamedTuple

import numpy as np

from modicum.context import aligned
from modicum.meter import Meter
from modicum.pool import Pool, RawRow, Turn
from modicum.views import View


class Instructions(NamedTuple):
    """The distinct instructions of one task, in the order they are met in its pool."""

    texts: tuple[str, ...]
    rows: tuple[np.ndarray, ...]  # positions in the pool, for each

    @property
    def counts(self) -> np.ndarray:
        """Rows of each instruction."""
        return np.array([len(rows) for rows in self.rows], dtype=np.int64)


def instructions(pool: Pool) -> Instructions:
    """The distinct instructions of a pool (`--fields instruction=` says which column they are)."""
    found: dict[str, list[int]] = {}
    for position, text in enumerate(pool.table["instruction"].to_pylist()):
        found.setdefault(text, []).append(position)
    return Instructions(tuple(found), tuple(np.array(rows) for rows in found.values()))


def seen(view: View, texts: Sequence[str], meter: Meter) -> np.ndarray:
    """(K, D) float32: each text through a view, whatever else that looks at, as a user's words."""
    words = is_dataclass(view) and any(each.name == "over" for each in fields(view))
    look: View = replace(view, over="instruction") if words else view  # type: ignore[type-var]
    pool = _as_pool(texts)
    return aligned(look, look(pool, meter), pool, dimensions=2)


def vectors_of(view: View, tasks: Sequence[Instructions], meter: Meter) -> list[np.ndarray]:
    """(K, D) float32 for each task; a text that several share is looked at once."""
    texts = list(dict.fromkeys(text for task in tasks for text in task.texts))
    vectors_ND = seen(view, texts, meter)
    at = {text: place for place, text in enumerate(texts)}
    return [vectors_ND[[at[text] for text in task.texts]] for task in tasks]


def _as_pool(texts: Sequence[str]) -> Pool:
    """Each instruction as what a user says. The answer stands in for one: a row needs it."""
    turns = [(Turn("user", text, False), Turn("assistant", ".", True)) for text in texts]
    return Pool.build(
        RawRow(None, "", text, said, 0, n, 0, 0)
        for n, (text, said) in enumerate(zip(texts, turns, strict=True))
    )
