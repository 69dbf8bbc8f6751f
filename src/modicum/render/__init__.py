"""Rows as a model reads them: token ids, and which of them are the answer.

The chat template is the model's own, for any number of turns, and needs no `{% generation %}`
marks. The mask that scores is the mask that trains. Row *i* is example *i*; a row that cannot be
written has no tokens and a reason.
"""

from __future__ import annotations

import hashlib
import json
from array import array
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from modicum.errors import OptionError, RenderError
from modicum.pool import Example
from modicum.render.assemble import assemble
from modicum.render.forms import Forms
from modicum.render.template import Template, Written, template_text
from modicum.render.tokens import (
    ANSWER,
    TEMPLATE,
    USER,
    Encoded,
    Layout,
    Speech,
    Tokens,
    encode,
    lay_out,
    shorten,
)
from modicum.spool import Spool

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = [
    "ANSWER",
    "TEMPLATE",
    "USER",
    "Rendered",
    "Rows",
    "render",
    "render_one",
    "template_fingerprint",
]

_COUNTED = 4096  # rows whose tokens are counted, or joined, together
_CHUNK = 1000  # rows tokenised together
_RULES = "1"  # raised whenever the same row gets other ids or kinds
_NOTHING = Tokens(np.zeros(0, np.int32), np.zeros(0, np.uint8))


@dataclass(frozen=True)
class Rendered:
    """The tokens of a pool's rows, one after another; on disk where they are many."""

    ids: np.ndarray  # (total,) int32
    kinds: np.ndarray  # (total,) uint8: TEMPLATE, USER or ANSWER
    starts: np.ndarray  # (N + 1,) int64: row i is ids[starts[i] : starts[i + 1]]
    errors: dict[int, str] = field(default_factory=dict)  # position: why it has no tokens
    folded_rows: tuple[int, ...] = ()  # positions whose system turn went into the first user turn
    truncated: tuple[int, ...] = ()  # positions whose user lost words to the limit

    def __len__(self) -> int:
        return len(self.starts) - 1

    def row(self, position: int) -> Tokens:
        """Views of one row's ids and kinds; empty for a row in `errors`."""
        if not 0 <= position < len(self):
            raise IndexError(f"row {position} of {len(self)} rendered rows")
        here = slice(*self.starts[position : position + 2])
        return Tokens(self.ids[here], self.kinds[here])

    @property
    def folded(self) -> int:
        """Rows whose system turn went into the first user turn: the template has no such role."""
        return len(self.folded_rows)

    @cached_property
    def lengths_N(self) -> np.ndarray:
        """Tokens of each row, int64."""
        return np.diff(self.starts)

    @cached_property
    def answer_lengths_N(self) -> np.ndarray:
        """Tokens of each row that are learned, int64."""
        lengths_N = np.zeros(len(self), np.int64)
        for begin in range(0, len(self), _COUNTED):
            starts = self.starts[begin : begin + _COUNTED + 1]
            learned_T = self.kinds[starts[0] : starts[-1]] == ANSWER
            counts = np.concatenate([[0], np.cumsum(learned_T, dtype=np.int64)])
            lengths_N[begin : begin + _COUNTED] = np.diff(counts[starts - starts[0]])
        return lengths_N

    def take(self, positions: Sequence[int] | np.ndarray) -> Rendered:
        """The rows at these positions, in the order given, as if they had been rendered alone."""
        rows, at = Rows(), dict[int, int]()
        for i in map(int, positions):
            at[i] = len(rows)
            rows.add(self.row(i))
        return Rendered(
            *rows.whole(),
            {at[i]: reason for i, reason in self.errors.items() if i in at},
            tuple(at[i] for i in self.folded_rows if i in at),
            tuple(at[i] for i in self.truncated if i in at),
        )


class Rows:
    """Tokens of rows that are added in order."""

    def __init__(self) -> None:
        self._ids, self._kinds = Spool(np.int32), Spool(np.uint8)
        self._lengths, self._waiting = array("q", [0]), list[Tokens]()

    def __len__(self) -> int:
        return len(self._lengths) - 1

    def add(self, row: Tokens) -> None:
        """One more row."""
        self._lengths.append(len(row.ids_T))
        self._waiting.append(row)
        if len(self._waiting) == _COUNTED:
            self._join()

    def whole(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """`ids`, `kinds` and `starts` of `Rendered`."""
        self._join()
        starts = np.cumsum(np.frombuffer(self._lengths, np.int64))
        return self._ids.whole(), self._kinds.whole(), starts

    def _join(self) -> None:
        ids, kinds = zip(_NOTHING, *self._waiting, strict=True)
        self._ids.add(np.concatenate(ids))
        self._kinds.add(np.concatenate(kinds))
        self._waiting = []


def render(
    examples: Iterable[Example],
    tokenizer: PreTrainedTokenizerBase,
    *,
    limit: int | None = None,
    truncate: bool = False,
) -> Rendered:
    """Token ids and kinds of every row under the tokenizer's chat template, or a plain one.

    Learned are the answers with `train` set and the token that ends their turn. No token lies
    across the edge of a learned answer, and special tokens inside any turn's words are plain text.
    With `truncate`, rows over `limit` tokens lose the user's first tokens until they fit; rows that
    cannot be made to fit stay whole. A row that cannot be written or has nothing to learn gets no
    tokens and a reason in `errors`. Raises `RenderError` for a slow tokenizer.
    """
    if truncate and limit is None:
        raise OptionError("truncate=True needs a limit; give limit=TOKENS")
    template = Template.of(tokenizer)
    rows, errors = Rows(), dict[int, str]()
    folded, truncated = list[int](), list[int]()
    for made, was_folded in _rendered(examples, template, Speech.of(template)):
        if isinstance(made, str):
            errors[len(rows)] = made
            made = _NOTHING
        whole = made
        if truncate and limit is not None:
            made = shorten(whole, limit)
        folded += [len(rows)] * was_folded
        truncated += [len(rows)] * (made is not whole)
        rows.add(made)
    return Rendered(*rows.whole(), errors, tuple(folded), tuple(truncated))


def render_one(example: Example, tokenizer: PreTrainedTokenizerBase) -> Tokens:
    """Ids and kinds of one row; raises `RenderError` with its id where `render` would note it."""
    rendered = render([example], tokenizer)
    if rendered.errors:
        raise RenderError(f"row {example.id}: {rendered.errors[0]}")
    return rendered.row(0)


def template_fingerprint(tokenizer: PreTrainedTokenizerBase) -> str:
    """A hash of what rows are written with: the template, the special tokens and these rules."""
    special = {name: str(token) for name, token in tokenizer.special_tokens_map.items()}
    parts = [_RULES, template_text(tokenizer), special]
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _rendered(
    examples: Iterable[Example], template: Template, speech: Speech
) -> Iterator[tuple[Tokens | str, bool]]:
    """Each row, or why it has no tokens, and whether it was folded.

    While rows are tokenised, which leaves Python free, the next ones are written.
    """
    forms, pending = Forms(template), iter(examples)
    with ThreadPoolExecutor(1) as beside:
        ahead = deque[tuple[_Chunk, Future[list[Encoded | None]]]]()
        while rows := list(islice(pending, _CHUNK)):
            chunk = _chunk(rows, forms, speech)
            pieces = [piece for layout in chunk.layouts for piece in layout.pieces]
            ahead.append((chunk, beside.submit(encode, pieces, speech)))
            if len(ahead) > 1:
                yield from _finished(*ahead.popleft())
        for chunk, encoded in ahead:
            yield from _finished(chunk, encoded)


class _Chunk(NamedTuple):
    texts: list[Written | str]
    layouts: list[Layout]  # of those that are written


def _chunk(examples: Sequence[Example], forms: Forms, speech: Speech) -> _Chunk:
    texts = [_written(example, forms) for example in examples]
    layouts = [
        lay_out(text, example.turns, forms.template.lead, speech)
        for text, example in zip(texts, examples, strict=True)
        if isinstance(text, Written)
    ]
    return _Chunk(texts, layouts)


def _finished(
    chunk: _Chunk, encoded: Future[list[Encoded | None]]
) -> Iterator[tuple[Tokens | str, bool]]:
    made = iter(assemble(chunk.layouts, encoded.result()))
    for text in chunk.texts:
        yield (next(made), text.folded) if isinstance(text, Written) else (text, False)


def _written(example: Example, forms: Forms) -> Written | str:
    if not any(turn.train for turn in example.turns):
        return "no answer token"
    try:
        return forms.written(example.turns)
    except RenderError as error:
        return str(error)
