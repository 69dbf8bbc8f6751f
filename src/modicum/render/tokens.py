"""Written rows to token ids, and what each token belongs to.

The text is cut at both edges of every answer that is learned, so no token lies across an edge: when
the model answers for itself, too, the prompt is tokenised first and the answer begins afresh. Words
that hold a special token's name are cut out as well and tokenised as the plain text they are.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from modicum.errors import RenderError
from modicum.pool import Turn
from modicum.render.template import Bounds, Template, Written, any_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TEMPLATE, USER, ANSWER = 0, 1, 2
_ANCHORS = ("\n", "x", ".")  # what a piece is tokenised behind, to stand inside a text
_PROBES = ("a", "Hello")


class Encoded(NamedTuple):
    """Token ids of one piece, and the characters of the piece that each stands for."""

    ids: list[int]
    offsets: list[Bounds]


class Tokens(NamedTuple):
    """The tokens of one row."""

    ids_T: np.ndarray  # int32
    kinds_T: np.ndarray  # uint8: TEMPLATE, USER or ANSWER


class Piece(NamedTuple):
    """A part of a row's text that is tokenised by itself."""

    start: int
    text: str
    plain: bool  # special tokens in it are text


class Layout(NamedTuple):
    """How a row's text is cut, and what its characters belong to."""

    pieces: tuple[Piece, ...]
    said: tuple[Bounds, ...]  # by the user
    learned: tuple[Bounds, ...]  # answers, with what ends their turns


@dataclass(frozen=True)
class Speech:
    """How a tokenizer treats the pieces of a text."""

    tokenizer: PreTrainedTokenizerBase
    special: re.Pattern[str]  # names of special tokens
    control: re.Pattern[str]  # names of other added tokens that the template writes
    closing: re.Pattern[str]  # white space and the token that ends a turn
    prefixes: bool  # every text gets a space in front

    @staticmethod
    def of(template: Template) -> Speech:
        """Found by trying, so that no class of tokenizers has to be known. Refuses slow ones."""
        tokenizer, added = template.tokenizer, template.added
        if not tokenizer.is_fast:
            raise RenderError(
                f"{type(tokenizer).__name__} is a slow tokenizer, which does not say where its "
                "tokens stand; load the model with a fast one (tokenizer.json)"
            )
        special = [token.content for token in added if token.special]
        control = [t.content for t in added if not t.special and len(t.content.strip()) > 1]
        control = [name for name in control if name in template.source]
        # A start token opens the next turn and ends none, unless one token does both (GPT-2).
        opens = {tokenizer.bos_token} - {tokenizer.eos_token}
        ends = [name for name in special + control if name not in opens]
        return Speech(
            tokenizer,
            re.compile(any_of(special)),
            re.compile(any_of(control)),
            re.compile(rf"\s*{any_of(ends)}"),
            _prefixes(tokenizer),
        )


def tokenise(layouts: Sequence[Layout], speech: Speech) -> list[Tokens | str]:
    """Tokenise rows together. A row that cannot be tokenised comes back as the reason."""
    found = iter(_encode([piece for layout in layouts for piece in layout.pieces], speech))
    return [_row(layout, [next(found) for _ in layout.pieces]) for layout in layouts]


def lay_out(row: Written, turns: Sequence[Turn], lead: str, speech: Speech) -> Layout:
    """Cut a row's text where tokens may not lie across, and say whose words are where."""
    text, edges = row.text, {0, len(row.text)}
    said, learned, plain = list[Bounds](), list[Bounds](), list[Bounds]()
    for start, end, i in row.spans:
        if turns[i].train and start < end:
            start -= len(lead) * text.endswith(lead, 0, start)
            closing = speech.closing.match(text, end)
            learned.append((start, closing.end() if closing else end))
            edges |= {start, end}
        elif turns[i].role == "user":
            said.append((start, end))
        if speech.special.search(text, start, end):
            plain.append((start, end))
            edges |= {start, end}
        if turns[i].role != "assistant":  # there is no switch for these; cut in two they are text
            edges |= {found.start() + 1 for found in speech.control.finditer(text, start, end)}
    pieces = tuple(
        Piece(a, text[a:b], any(start <= a and b <= end for start, end in plain))
        for a, b in pairwise(sorted(edges))
    )
    return Layout(pieces, tuple(said), tuple(learned))


def shorten(row: Tokens, limit: int) -> Tokens:
    """Without the first of the user's tokens, as many as are too many; whole if that is not enough.

    An answer and its template are never cut, so a row can stay longer than the limit.
    """
    said = np.flatnonzero(row.kinds_T == USER)
    excess = len(row.ids_T) - limit
    if not 0 < excess <= len(said):
        return row
    kept_T = np.ones(len(row.ids_T), bool)
    kept_T[said[:excess]] = False
    return Tokens(row.ids_T[kept_T], row.kinds_T[kept_T])


def _row(layout: Layout, found: Sequence[Encoded | None]) -> Tokens | str:
    ids, kinds = list[np.ndarray](), list[np.ndarray]()
    for piece, encoded in zip(layout.pieces, found, strict=True):
        if encoded is None:
            return f"the tokenizer cannot begin a piece of text at {piece.text[:20]!r}"
        ids.append(np.array(encoded.ids, np.int32))
        kinds.append(_kinds(piece, encoded, layout))
    if not any((kinds_T == ANSWER).any() for kinds_T in kinds):
        return "no answer token"
    return Tokens(np.concatenate(ids), np.concatenate(kinds))


def _kinds(piece: Piece, encoded: Encoded, layout: Layout) -> np.ndarray:
    end = piece.start + len(piece.text)
    if any(start <= piece.start and end <= stop for start, stop in layout.learned):
        return np.full(len(encoded.ids), ANSWER, np.uint8)
    kinds_T = np.full(len(encoded.ids), TEMPLATE, np.uint8)
    offsets = np.array(encoded.offsets, np.int64).reshape(-1, 2) + piece.start
    starts_T, ends_T = offsets[:, 0].copy(), offsets[:, 1].copy()
    # Some tokenizers trim white space from offsets, to nothing where a token is nothing else.
    empty = np.flatnonzero(starts_T == ends_T)
    starts_T[empty] = np.where(empty, ends_T[empty - 1], piece.start)
    ends_T = np.maximum(ends_T, starts_T + 1)
    for start, stop in layout.said:
        kinds_T[(starts_T < stop) & (ends_T > start)] = USER
    for start, stop in layout.learned:
        kinds_T[(starts_T < stop) & (ends_T > start)] = ANSWER
    return kinds_T


def _encode(pieces: Sequence[Piece], speech: Speech) -> list[Encoded | None]:
    """One call of the tokenizer for each kind of piece."""
    result: list[Encoded | None] = [None] * len(pieces)
    # Plain pieces first: the tokenizer remembers how it was last told to treat special tokens.
    for plain, inside in product((True, False), repeat=2):
        chosen = [
            i
            for i, piece in enumerate(pieces)
            if piece.plain == plain and (speech.prefixes and piece.start > 0) == inside
        ]
        texts = [pieces[i].text for i in chosen]
        found = (_inside if inside else _alone)(speech.tokenizer, texts, plain)
        for i, encoded in zip(chosen, found, strict=True):
            result[i] = encoded
    return result


def _alone(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], plain: bool
) -> Sequence[Encoded | None]:
    if not texts:
        return []
    batch = tokenizer(
        list(texts),
        add_special_tokens=False,
        split_special_tokens=plain,
        return_offsets_mapping=True,
        return_attention_mask=False,
        return_token_type_ids=False,
        verbose=False,
    )
    return list(map(Encoded, batch["input_ids"], batch["offset_mapping"]))


def _inside(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], plain: bool
) -> Sequence[Encoded | None]:
    """Tokens of texts that stand inside a longer one, without the space in front of a text.

    Each is tokenised behind an anchor, whose tokens are then taken away; None where no anchor
    keeps its tokens to itself.
    """
    result: list[Encoded | None] = [None] * len(texts)
    for anchor in _ANCHORS:
        (own,) = _alone(tokenizer, [anchor], plain)
        open = [i for i, encoded in enumerate(result) if encoded is None]
        found = _alone(tokenizer, [anchor + texts[i] for i in open], plain)
        for i, both in zip(open, found, strict=True):
            if own and both and own.ids and _stands_apart(own, both, len(anchor)):
                n = len(own.ids)
                offsets = [(a - len(anchor), b - len(anchor)) for a, b in both.offsets[n:]]
                result[i] = Encoded(both.ids[n:], offsets)
    return result


def _stands_apart(own: Encoded, both: Encoded, length: int) -> bool:
    n = len(own.ids)
    return both.ids[:n] == own.ids and all(start >= length for start, _ in both.offsets[n : n + 1])


def _prefixes(tokenizer: PreTrainedTokenizerBase) -> bool:
    alone, inside = (encode(tokenizer, _PROBES, False) for encode in (_alone, _inside))
    return any(a and b and a.ids != b.ids for a, b in zip(alone, inside, strict=True))
