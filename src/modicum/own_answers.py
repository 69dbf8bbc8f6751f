"""What a model answers to each row's prompt itself: written once, and kept."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

import numpy as np

from modicum.cache import cache_folder
from modicum.chat.replies import Replies, Reply
from modicum.derived import derived
from modicum.errors import InputError, OptionError
from modicum.generation import generate, prompt_of
from modicum.meter import Meter
from modicum.pool import Example, Pool, Turn
from modicum.render import Rendered

_AT_ONCE = 128  # rows between two writes: what a kill may cost
_CUT = "cut"  # said of an answer that was still going on


class Own(NamedTuple):
    """What a model wrote in place of each row's last learned answer."""

    answers: list[str | None]  # (N,); None where it cannot be asked
    cut_N: np.ndarray  # bool: it was still going on when its tokens were used up


def own_answers(pool: Pool, meter: Meter, max_new_tokens: int) -> Own:
    """What the meter's model answers to each row, greedily, in at most so many tokens.

    None of a row that has no answer to learn or nothing before it, or that the window does not
    hold. Answers lie in the cache folder, by model, precision, length and prompt: none is written
    twice, and what was killed goes on. Raises `OptionError` for less than one token.
    """
    if max_new_tokens < 1:
        raise OptionError(f"max_new_tokens={max_new_tokens}: give at least 1")
    rendered = meter.rendered(pool)
    keys = _keys(rendered, meter.max_tokens)
    made_by = f"{meter.model.fingerprint}-{meter.model.dtype_name}-{max_new_tokens}"
    kept = Replies(cache_folder() / "answers" / f"{made_by}.jsonl")
    known = kept.read()
    new = {key: i for i, key in keys.items() if key not in known}  # one of rows that ask the same
    meter.ledger.rows_reused += len(keys) - len(new)
    rows_M = np.array(sorted(new.values()), dtype=np.int64)
    for begin in range(0, len(rows_M), _AT_ONCE):
        rows_B = rows_M[begin : begin + _AT_ONCE]
        made = generate(
            rendered.take(rows_B), meter.model, meter.ledger, max_new_tokens=max_new_tokens
        )
        for i, said, cut in zip(rows_B, made.answers, made.cut_N, strict=True):
            known[keys[i]] = Reply(keys[i], said, 0, _CUT if cut else "")
            kept.keep(known[keys[i]])
    return _in_order(len(pool), keys, known)


def with_answers(pool: Pool, answers: Sequence[str | None]) -> Pool:
    """The rows with these in place of their last learned answers; as they are for None."""
    both = zip(pool, answers, strict=True)
    return derived(pool, (_answered(row, answer) for row, answer in both))


def cut_notes(score: object, pool: Pool, meter: Meter) -> list[str]:
    """What a reader should know of the answers that a score had a model write: how many were cut.

    Nothing where none was, or the score (one without `max_new_tokens`) had none written.
    """
    longest: int | None = getattr(score, "max_new_tokens", None)
    cut = 0 if longest is None else int(own_answers(pool, meter, longest).cut_N.sum())
    said = f"{cut:,} of {len(pool):,} answers that the model wrote were cut at {longest} tokens"
    return [f"{said} (max_new_tokens)"] if cut else []


def last_answer(row: Example) -> str:
    """What a row's last learned turn says; "" if it has none."""
    return next((turn.content for turn in reversed(row.turns) if turn.train), "")


def _answered(row: Example, answer: str | None) -> tuple[Turn, ...]:
    learned = [t for t, turn in enumerate(row.turns) if turn.train]
    if answer is None or not learned:
        return row.turns
    last = learned[-1]
    return (*row.turns[:last], row.turns[last]._replace(content=answer))


def _keys(rendered: Rendered, longest: int) -> dict[int, str]:
    """A hash of the prompt of each row that can be asked."""
    fits_M = np.flatnonzero((rendered.lengths_N > 0) & (rendered.lengths_N <= longest))
    keys = {}
    for i in fits_M.tolist():
        with suppress(InputError):  # no answer, or nothing before it
            prompt_T = np.ascontiguousarray(prompt_of(rendered, i))
            keys[i] = hashlib.blake2b(prompt_T.tobytes(), digest_size=16).hexdigest()
    return keys


def _in_order(rows: int, keys: Mapping[int, str], known: Mapping[str, Reply]) -> Own:
    answers: list[str | None] = [None] * rows
    cut_N = np.zeros(rows, dtype=bool)
    for i, key in keys.items():
        answers[i], cut_N[i] = known[key].text, known[key].fault == _CUT
    return Own(answers, cut_N)
