"""From the tokens of pieces to the tokens of rows, and what each belongs to, for many rows at once.

All rows lie behind one another on one axis of characters, a gap between two of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import numpy as np

from modicum.render.template import Bounds
from modicum.render.tokens import (
    ANSWER,
    TEMPLATE,
    USER,
    Encoded,
    Layout,
    Tokens,
)

_GAP = 2  # characters: a token without any counts as one, at a row's end, too


def assemble(layouts: Sequence[Layout], found: Sequence[Encoded | None]) -> list[Tokens | str]:
    """The rows, from what was found for all their pieces; of one without tokens the reason."""
    pieces = [piece for layout in layouts for piece in layout.pieces]
    sizes_N = np.array([layout.size + _GAP for layout in layouts], np.int64)
    bases_N = np.cumsum(sizes_N) - sizes_N
    of_P = np.repeat(np.arange(len(layouts)), [len(layout.pieces) for layout in layouts])
    counts_P = np.array([len(one.ids) if one else 0 for one in found], np.int64)
    learned_P = np.array([piece.learned for piece in pieces], bool)
    starts_P = np.array([piece.start for piece in pieces], np.int64) + bases_N[of_P]
    ids_T = np.fromiter(
        chain.from_iterable(one.ids for one in found if one), np.int32, int(counts_P.sum())
    )
    kinds_T = np.repeat(np.where(learned_P, ANSWER, TEMPLATE).astype(np.uint8), counts_P)
    open_T = np.repeat(~learned_P, counts_P)
    offsets = [
        one.offsets for one, piece in zip(found, pieces, strict=True) if one and not piece.learned
    ]
    kinds_T[open_T] = _kinds(layouts, bases_N, offsets, starts_P[~learned_P], counts_P[~learned_P])
    return _cut(layouts, found, Tokens(ids_T, kinds_T), counts_P, of_P)


def _kinds(
    layouts: Sequence[Layout],
    bases_N: np.ndarray,
    offsets: Sequence[Sequence[Bounds]],
    starts_P: np.ndarray,
    counts_P: np.ndarray,
) -> np.ndarray:
    """The kind of each token of pieces that are not learned as a whole, by where it stands."""
    total = int(counts_P.sum())
    flat = chain.from_iterable(chain.from_iterable(offsets))
    within_T2 = np.fromiter(flat, np.int64, 2 * total).reshape(-1, 2)
    base_T = np.repeat(starts_P, counts_P)
    starts_T, ends_T = within_T2[:, 0] + base_T, within_T2[:, 1] + base_T
    # Some tokenizers trim white space from offsets, to nothing where a token is nothing else.
    before_T = np.concatenate([[0], ends_T[:-1]])[:total]
    first_T = (np.cumsum(counts_P) - counts_P)[counts_P > 0]
    before_T[first_T] = base_T[first_T]
    starts_T = np.where(starts_T == ends_T, before_T, starts_T)
    ends_T = np.maximum(ends_T, starts_T + 1)
    kinds_T = np.full(total, TEMPLATE, np.uint8)
    for kind, bounds in ((USER, [x.said for x in layouts]), (ANSWER, [x.learned for x in layouts])):
        kinds_T[_touched(starts_T, ends_T, bounds, bases_N)] = kind
    return kinds_T


def _touched(
    starts_T: np.ndarray,
    ends_T: np.ndarray,
    bounds: Sequence[Sequence[Bounds]],
    bases_N: np.ndarray,
) -> np.ndarray:
    """Which tokens share a character with any of these bounds, given row by row."""
    counts_N = [len(row) for row in bounds]
    flat = chain.from_iterable(chain.from_iterable(bounds))
    spans_S2 = np.fromiter(flat, np.int64, 2 * sum(counts_N)).reshape(-1, 2)
    spans_S2 += np.repeat(bases_N, counts_N)[:, None]
    spans_S2 = spans_S2[np.argsort(spans_S2[:, 0], kind="stable")]
    # Of the spans that begin before a token ends, does the one that reaches farthest reach it?
    reach_S = np.concatenate([[-1], np.maximum.accumulate(spans_S2[:, 1])])
    return np.asarray(reach_S[np.searchsorted(spans_S2[:, 0], ends_T)] > starts_T)


def _cut(
    layouts: Sequence[Layout],
    found: Sequence[Encoded | None],
    all: Tokens,
    counts_P: np.ndarray,
    of_P: np.ndarray,
) -> list[Tokens | str]:
    counts_N = np.bincount(of_P, counts_P, len(layouts)).astype(np.int64)
    edges = np.concatenate([[0], np.cumsum(counts_N)])
    answers = np.concatenate([[0], np.cumsum(all.kinds_T == ANSWER)])[edges]
    rows: list[Tokens | str] = [
        Tokens(all.ids_T[a:b], all.kinds_T[a:b]) if learns else "no answer token"
        for a, b, learns in zip(
            edges[:-1].tolist(), edges[1:].tolist(), np.diff(answers) > 0, strict=True
        )
    ]
    for place in reversed([p for p, one in enumerate(found) if one is None]):
        layout, number = layouts[of_P[place]], place - int(np.searchsorted(of_P, of_P[place]))
        text = layout.pieces[number].text
        rows[of_P[place]] = f"the tokenizer cannot begin a piece of text at {text[:20]!r}"
    return rows
