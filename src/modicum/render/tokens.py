"""Written rows to token ids, and what each token belongs to.

The text is cut at both edges of every answer that is learned, so no token lies across an edge: when
the model answers for itself, too, the prompt is tokenised first and the answer begins afresh. Words
that hold a special token's name are cut out as well and tokenised as the plain text they are.
"""

from __future__ import annotations

import copy
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
    from tokenizers import Tokenizer

TEMPLATE, USER, ANSWER = 0, 1, 2
_ANCHORS = ("\n", "x", ".")  # what a piece is tokenised behind, to stand inside a text
_PROBES = ("a", "Hello")


class Encoded(NamedTuple):
    """Token ids of one piece, and the characters of the piece that each stands for."""

    ids: Sequence[int]
    offsets: Sequence[Bounds]  # empty for a piece that is learned: nobody asks


class Tokens(NamedTuple):
    """The tokens of one row."""

    ids_T: np.ndarray  # int32
    kinds_T: np.ndarray  # uint8: TEMPLATE, USER or ANSWER


class Piece(NamedTuple):
    """A part of a row's text that is tokenised by itself."""

    start: int
    text: str
    plain: bool  # special tokens in it are text
    learned: bool  # all of it


class Layout(NamedTuple):
    """How a row's text is cut, and what its characters belong to."""

    size: int  # characters
    pieces: tuple[Piece, ...]
    said: tuple[Bounds, ...]  # by the user
    learned: tuple[Bounds, ...]  # answers, with what ends their turns


@dataclass(frozen=True)
class Speech:
    """How a tokenizer treats the pieces of a text."""

    backend: Tokenizer  # a copy: the rows that are read may use the one it is of meanwhile
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
        backend = copy.deepcopy(tokenizer.backend_tokenizer)
        return Speech(
            backend,
            re.compile(any_of(special)),
            re.compile(any_of(control)),
            re.compile(rf"\s*{any_of(ends)}"),
            _prefixes(backend),
        )


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
        Piece(a, text[a:b], _within(a, b, plain), _within(a, b, learned))
        for a, b in pairwise(sorted(edges))
    )
    return Layout(len(text), pieces, tuple(said), tuple(learned))


def _within(start: int, end: int, bounds: Sequence[Bounds]) -> bool:
    return any(a <= start and end <= b for a, b in bounds)


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


def encode(pieces: Sequence[Piece], speech: Speech) -> list[Encoded | None]:
    """The tokens of pieces, one call of the tokenizer for each kind of them; None: see `_inside`.

    What stands in many rows (the end of a turn, a whole question) is tokenised once.
    """
    by_kind: dict[tuple[bool, ...], dict[str, Encoded | None]] = {
        kind: {} for kind in product((True, False), repeat=3)
    }
    own = [by_kind[p.plain, speech.prefixes and p.start > 0, p.learned] for p in pieces]
    for piece, found in zip(pieces, own, strict=True):
        found[piece.text] = None
    # Plain pieces first: the tokenizer remembers how it was last told to treat special tokens.
    for (plain, inside, learned), found in by_kind.items():
        texts = list(found)
        if inside:
            made = _inside(speech.backend, texts, plain)
        else:
            made = _alone(speech.backend, texts, plain, offsets=not learned)
        found.update(zip(texts, made, strict=True))
    return [found[piece.text] for piece, found in zip(pieces, own, strict=True)]


def _alone(
    backend: Tokenizer, texts: Sequence[str], plain: bool, offsets: bool = True
) -> Sequence[Encoded | None]:
    if not texts:
        return []
    # Not through the tokenizer's own call, which makes lists of offsets that nobody asks for.
    backend.no_truncation()
    backend.no_padding()
    backend.encode_special_tokens = plain
    if not offsets:
        fast = backend.encode_batch_fast(list(texts), add_special_tokens=False)
        return [Encoded(one.ids, ()) for one in fast]
    made = backend.encode_batch(list(texts), add_special_tokens=False)
    return [Encoded(one.ids, one.offsets) for one in made]


def _inside(backend: Tokenizer, texts: Sequence[str], plain: bool) -> Sequence[Encoded | None]:
    """Tokens of texts that stand inside a longer one, without the space in front of a text.

    Each is tokenised behind an anchor, whose tokens are then taken away; None where no anchor
    keeps its tokens to itself.
    """
    result: list[Encoded | None] = [None] * len(texts)
    for anchor in _ANCHORS:
        (own,) = _alone(backend, [anchor], plain)
        open = [i for i, encoded in enumerate(result) if encoded is None]
        found = _alone(backend, [anchor + texts[i] for i in open], plain)
        for i, both in zip(open, found, strict=True):
            if own and both and own.ids and _stands_apart(own, both, len(anchor)):
                n = len(own.ids)
                offsets = [(a - len(anchor), b - len(anchor)) for a, b in both.offsets[n:]]
                result[i] = Encoded(both.ids[n:], offsets)
    return result


def _stands_apart(own: Encoded, both: Encoded, length: int) -> bool:
    n = len(own.ids)
    return both.ids[:n] == own.ids and all(start >= length for start, _ in both.offsets[n : n + 1])


def _prefixes(backend: Tokenizer) -> bool:
    alone, inside = (encode(backend, _PROBES, False) for encode in (_alone, _inside))
    return any(a and b and a.ids != b.ids for a, b in zip(alone, inside, strict=True))
