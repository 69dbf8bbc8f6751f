"""A row as its chat template writes it: the text, and where in it each turn's words stand.

The places are found by writing the row twice, the second time with a private-use character on
either side of every turn's words: when the two texts agree but for these marks, the marks' places
are the words' places, whatever the template does around them. Templates that look into the words
(and drop `<think>…</think>`, say) give themselves away by a difference; then the answers are found
between what is written before a turn and what is written up to its end.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from jinja2 import TemplateError

from modicum.errors import RenderError
from modicum.pool import Turn

if TYPE_CHECKING:
    from tokenizers import AddedToken
    from transformers import PreTrainedTokenizerBase

# For tokenizers without a template. The words of system and user end with a blank line, an answer
# with the end-of-text token; turns stand on lines of their own.
PLAIN = (
    "{% for message in messages %}{{ message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{{ '' if loop.last else '\\n' }}"
    "{% else %}{{ '\\n\\n' }}{% endif %}{% endfor %}"
)
# For templates that write today's date: it is always Llama's own default, or what was measured
# yesterday would differ from what is measured today.
_ONE_DAY = (
    "{% macro strftime_now(format) %}{{ format | replace('%d', '26') | replace('%m', '07')"
    " | replace('%Y', '2024') | replace('%b', 'Jul') | replace('%B', 'July')"
    " | replace('%a', 'Fri') | replace('%A', 'Friday') }}{% endmacro %}"
)
# What a template can raise on a row, from its own refusal to an endless recursion.
REFUSALS = (
    *(TemplateError, TypeError, ValueError, LookupError),
    *(AttributeError, ArithmeticError, RecursionError),
)
ROLES = ("system", "user", "assistant")
_PRIVATE = range(0xF0000, 0x110000)  # the two supplementary planes of private use

Bounds = tuple[int, int]


class Span(NamedTuple):
    """Where the words of a turn stand in the text, as the template wrote them."""

    start: int
    end: int
    turn: int


class Written(NamedTuple):
    """A row's text, the words of its turns in the order of the text, and whether it was folded."""

    text: str
    spans: tuple[Span, ...]
    folded: bool


@dataclass(frozen=True)
class Template:
    """A tokenizer with the chat template that is used for it: its own, or `PLAIN`."""

    tokenizer: PreTrainedTokenizerBase
    source: str
    fold: bool = False  # the system's words into the first user turn

    @staticmethod
    def of(tokenizer: PreTrainedTokenizerBase) -> Template:
        """The tokenizer's own template, or the plain one if it has none."""
        return Template(tokenizer, template_text(tokenizer))

    def write(self, turns: Sequence[Turn], *, prompt: bool = False) -> str:
        """The text of these turns; with `prompt`, followed by the header of an answer."""
        messages = [{"role": turn.role, "content": turn.content} for turn in turns]
        if self.fold:
            system, first, *rest = messages
            words = f"{system['content']}\n\n{first['content']}"
            messages = [{"role": "user", "content": words}, *rest]
        text: Any = self.tokenizer.apply_chat_template(
            messages,
            chat_template=self.source,
            tokenize=False,
            add_generation_prompt=prompt,
        )
        return str(text)

    @cached_property
    def added(self) -> tuple[AddedToken, ...]:
        """The tokenizer's added tokens, special or not."""
        return tuple(self.tokenizer.added_tokens_decoder.values())

    @cached_property
    def folded(self) -> Template:
        """The same template, with the system's words put before the first user's."""
        return replace(self, fold=True)

    @cached_property
    def lead(self) -> str:
        """White space that stands between the header of an answer and the answer.

        A model that is given the header has to say it, so it is learned with the answer: after
        `[/INST]`, Llama 2 goes on with the token `▁Yes` and never with `▁` and `Yes`.
        """
        turns = (Turn("user", "a", False), Turn("assistant", "b", True))
        try:
            header, text = self.write(turns[:1], prompt=True), self.write(turns)
            spans = _marked(self, turns, text, [(0, 1), (0, 1)])
        except REFUSALS:
            return ""
        answers = [span.start for span in spans or () if span.turn == 1]
        gap = text[len(header) : answers[0]] if answers and text.startswith(header) else ""
        return gap if gap.isspace() else ""


def template_text(tokenizer: PreTrainedTokenizerBase) -> str:
    """The tokenizer's own template, or `PLAIN` with the start token that it would add."""
    if tokenizer.chat_template:
        try:
            source = str(tokenizer.get_chat_template())
            return _ONE_DAY + source if "strftime_now" in source else source
        except ValueError as error:  # several named templates, and no default among them
            raise RenderError(f"the tokenizer's chat templates cannot be used: {error}") from error
    starts = tokenizer.bos_token is not None and (
        tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id]
    )
    return "{{ bos_token }}" + PLAIN if starts else PLAIN


def any_of(strings: Sequence[str]) -> str:
    """A pattern for the longest of these strings; it never matches if there are none."""
    longest_first = sorted(set(strings), key=len, reverse=True)
    return f"(?:{'|'.join(map(re.escape, longest_first)) or '(?!)'})"


def written(template: Template, turns: Sequence[Turn]) -> Written:
    """Write a row. Raises `RenderError` with the reason where that cannot be done exactly.

    A system turn that the template refuses, or leaves out, goes before the first user's words.
    """
    can_fold = [turn.role for turn in turns[:2]] == ["system", "user"]
    try:
        text, spans = _located(template, turns)
        if not can_fold or not turns[0].content.strip() or any(s.turn == 0 for s in spans):
            return Written(text, spans, False)
    except REFUSALS as error:
        if not can_fold or isinstance(error, RenderError):
            raise _reason(error) from error
    try:
        return Written(*_located(template.folded, turns), True)
    except REFUSALS as error:
        raise _reason(error) from error


def _reason(error: Exception) -> RenderError:
    if isinstance(error, RenderError):
        return error
    return RenderError(f"the chat template refuses it: {error or type(error).__name__}")


def _located(template: Template, turns: Sequence[Turn]) -> tuple[str, tuple[Span, ...]]:
    text = template.write(turns)
    spans = by_marks(template, turns, text)
    if spans is None or not each_once(spans, turns):
        spans = _by_prefixes(template, turns, text)
    for i, turn in enumerate(turns):
        if turn.role == "user" and turn.content.strip() and all(s.turn != i for s in spans):
            raise RenderError(f"the chat template leaves out turn {i + 1} (user)")
    return text, tuple(sorted(spans))


def each_once(spans: Sequence[Span], turns: Sequence[Turn]) -> bool:
    found = [span.turn for span in spans]
    return all(found.count(i) == 1 for i, turn in enumerate(turns) if turn.train)


def by_marks(
    template: Template, turns: Sequence[Turn], text: str, roles: Sequence[str] = ROLES
) -> list[Span] | None:
    """The spans by marks: around the whole content, or around what a trimming template keeps."""
    # Blank words need no mark, and marks at an end would keep white space from being trimmed.
    bare = [t.role not in roles or not (t.train or t.content.strip()) for t in turns]
    whole = [None if b else (0, len(t.content)) for t, b in zip(turns, bare, strict=True)]
    kept = [None if b else _core(t.content) for t, b in zip(turns, bare, strict=True)]
    spans = _marked(template, turns, text, whole)
    if spans is not None or whole == kept:
        return spans
    spans = _marked(template, turns, text, kept)
    if spans is None:
        return None
    for role in roles:  # trimmed on one side, or one role only?
        for side in (0, 1):
            wider = [
                ((w[0], k[1]), (k[0], w[1]))[side] if w and k and turn.role == role else k
                for turn, w, k in zip(turns, whole, kept, strict=True)
            ]
            found = None if wider == kept else _marked(template, turns, text, wider)
            if found is not None:
                spans, kept = found, wider
    return spans


def _core(content: str) -> Bounds:
    start = len(content) - len(content.lstrip())
    return start, max(start, len(content.rstrip()))


def _marked(
    template: Template, turns: Sequence[Turn], text: str, bounds: Sequence[Bounds | None]
) -> list[Span] | None:
    """Write it again with marks at these bounds; None if the text is another but for the marks."""
    first = _free_marks(text, 2 * len(turns))
    marked = [
        turn
        if at is None
        else turn._replace(
            content=f"{turn.content[: at[0]]}{chr(first + 2 * i)}{turn.content[slice(*at)]}"
            f"{chr(first + 2 * i + 1)}{turn.content[at[1] :]}"
        )
        for i, (turn, at) in enumerate(zip(turns, bounds, strict=True))
    ]
    pieces = re.split(f"([{chr(first)}-{chr(first + 2 * len(turns) - 1)}])", template.write(marked))
    if "".join(pieces[::2]) != text:
        return None
    spans, opened, at_char = [], dict[int, int](), 0
    for piece, mark in zip(pieces[::2], [*pieces[1::2], ""], strict=True):
        at_char += len(piece)
        i, closes = divmod(ord(mark) - first, 2) if mark else (-1, 0)
        if closes and i not in opened:
            return None
        if closes:
            spans.append(Span(opened.pop(i), at_char, i))
        elif mark:
            opened[i] = at_char
    return None if opened else spans


def _free_marks(text: str, count: int) -> int:
    """The first of `count` private-use characters in a row that the text does not hold."""
    for first in range(_PRIVATE.start, _PRIVATE.stop - count, count):
        if not re.search(f"[{chr(first)}-{chr(first + count - 1)}]", text):
            return first
    raise RenderError("it holds private-use characters all over; none is left to mark turns with")


def _by_prefixes(template: Template, turns: Sequence[Turn], text: str) -> list[Span]:
    """The spans where a template looks into answers: between what stands before and after them."""
    spans = by_marks(template, turns, text, ROLES[:2])
    if spans is None:
        raise RenderError("the chat template rewrites the turns; template and words cannot be told")
    for i, turn in enumerate(turns):
        if turn.train:
            spans.append(_answer_by_prefix(template, turns, text, i))
    return spans


def _answer_by_prefix(template: Template, turns: Sequence[Turn], text: str, i: int) -> Span:
    before = template.write(turns[:i], prompt=True)
    if not text.startswith(before):
        raise RenderError(f"the chat template rewrites what stands before turn {i + 1} (assistant)")
    upto = template.write(turns[: i + 1])
    special = any_of([token.content for token in template.added if token.special])
    if text.startswith(upto):
        closing = re.search(rf"\s*{special}\s*\Z", upto[len(before) :])
        end = len(before) + closing.start() if closing else len(upto)
    else:
        closing = re.compile(rf"\s*{special}").search(text, len(before))
        end = closing.start() if closing else -1
    # Where only a later turn tells how this one is written, the words themselves must agree.
    if end < len(before) or (
        not text.startswith(upto) and text[len(before) : end].strip() not in turns[i].content
    ):
        raise RenderError(f"the chat template rewrites the answer of turn {i + 1}")
    start = len(before) + len(template.lead) * text.startswith(template.lead, len(before))
    return Span(min(start, end), end, i)
