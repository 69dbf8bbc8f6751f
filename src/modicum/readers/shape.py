"""Turns → a row as another file has it: its format, its columns, its way to write a turn.

The same turns come back when the row is read; where that cannot be, `misfit` says why. What the
other file's first usable row looks like decides the keys of a turn, the names of the roles, and
whether turns are a list, one object or text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from modicum.pool import Example, Turn
from modicum.readers.formats import Columns, convert
from modicum.readers.found import Fault
from modicum.readers.turns import turn_of

_DIGITS = 20  # of the longest whole number in 64 bits
LISTS = ("messages", "conversations")  # columns that may hold their list as JSON in text


class Written(NamedTuple):
    """How a column holds turns, and how a turn is written there."""

    kind: str  # "text", "list" or "object"
    role: str  # the key of who speaks
    content: str
    names: Mapping[str, str]  # what each role is called
    parts: bool  # the content is a list of parts


@dataclass(frozen=True)
class Shape:
    """What a row of the other file looks like."""

    format: str
    # The format's fields, `id` and `instruction` → the column that holds each.
    columns: Mapping[str, str]
    written: Mapping[str, Written]  # of every field that holds turns
    whole_ids: bool  # ids are whole numbers


def shape_of(first: Mapping[str, Any], format: str, columns: Mapping[str, str]) -> Shape:
    """The shape of a file with these columns, whose first usable row is `first`."""
    fields = [f for f in (*LISTS, "prompt", "completion") if f in columns]
    id = first.get(columns.get("id", ""))
    whole = isinstance(id, int) and not isinstance(id, bool)
    return Shape(format, columns, {f: _written(first.get(columns[f]), f) for f in fields}, whole)


def misfit(turns: Sequence[Turn], shape: Shape) -> str:
    """Why these turns cannot be written in that shape, and what to do; empty where they can."""
    return _unlearned(turns, shape) or _no_system(turns, shape) or _too_many(turns, shape)


def row_of(example: Example, shape: Shape) -> dict[str, Any]:
    """The columns of one row. Only of turns that `misfit` finds nothing in."""
    if shape.format == "alpaca":
        made = _alpaca(example, shape)
    else:
        made = _FIELDS[shape.format](example.turns, shape) | {"instruction": example.instruction}
    if "id" in shape.columns:
        made["id"] = _whole(example.id) if shape.whole_ids else example.id
    return {column: made[f] for f, column in shape.columns.items() if f in made}


def read_back(row: Mapping[str, Any], shape: Shape) -> tuple[Turn, ...] | Fault:
    """The turns of a row of that shape."""
    return convert(row, shape.format, Columns(shape.columns))


def _unlearned(turns: Sequence[Turn], shape: Shape) -> str:
    answers = [turn.train for turn in turns if turn.role == "assistant"]
    if shape.format == "prompt-completion" and answers == sorted(answers):
        return ""  # those of the prompt are not learned
    if all(answers):
        return ""
    return (
        f"an answer is marked as not to be learned, which {shape.format} cannot say; "
        "leave this row out"
    )


def _no_system(turns: Sequence[Turn], shape: Shape) -> str:
    listed = shape.format in ("messages", "sharegpt") or (
        shape.format == "prompt-completion" and shape.written["prompt"].kind == "list"
    )
    if turns[0].role != "system" or listed or "system" in shape.columns:
        return ""
    return (
        "a system turn, and the new file has no column for one; give its rows a system column "
        "or messages, or leave this row out"
    )


def _too_many(turns: Sequence[Turn], shape: Shape) -> str:
    spoken = [turn for turn in turns if turn.role != "system"]
    if len(spoken) == 2 or shape.format in ("messages", "sharegpt"):
        return ""
    if shape.format == "alpaca":
        found = "" if "history" in shape.columns else "the new file has no history column"
    elif shape.written["prompt"].kind != "list":
        found = "the new file's prompts hold one"
    else:
        # A trainer learns the whole completion, whoever speaks in it.
        learned = sum(turn.train for turn in spoken)
        found = "" if learned == 1 else "a completion holds one answer"
    return found and f"several turns, and {found}; give the new rows messages, or leave this out"


def _alpaca(example: Example, shape: Shape) -> dict[str, Any]:
    turns = example.turns
    system = turns[0].content if turns[0].role == "system" else ""
    said = [turn.content for turn in turns if turn.role != "system"]
    earlier = [list(pair) for pair in zip(said[:-2:2], said[1:-2:2], strict=True)]
    asked, given = said[-2], ""
    # As Alpaca is read; the rows of one instruction then share it in the mixed file too.
    before, between, after = asked.partition(f"{example.instruction}\n\n")
    if "input" in shape.columns and between and not before and after.strip():
        asked, given = example.instruction, after
    return {
        "instruction": asked,
        "input": given,
        "output": said[-1],
        "system": system,
        "history": earlier,
    }


def _messages(turns: Sequence[Turn], shape: Shape) -> dict[str, Any]:
    return {"messages": _side(turns, shape.written["messages"], json_text=True)}


def _sharegpt(turns: Sequence[Turn], shape: Shape) -> dict[str, Any]:
    return {"conversations": _side(turns, shape.written["conversations"], json_text=True)}


def _prompt_completion(turns: Sequence[Turn], shape: Shape) -> dict[str, Any]:
    prompt, system = shape.written["prompt"], ""
    if prompt.kind != "list" and turns[0].role == "system":
        system, turns = turns[0].content, turns[1:]
    asked = _side(turns[:-1], prompt)
    return {
        "prompt": asked,
        "completion": _side(turns[-1:], shape.written["completion"]),
        "system": system,
    }


def _side(turns: Sequence[Turn], written: Written, json_text: bool = False) -> Any:
    if written.kind == "text" and not json_text:
        return turns[0].content
    listed = [_turn(turn, written) for turn in turns]
    if written.kind == "text":
        return json.dumps(listed, ensure_ascii=False)
    return listed[0] if written.kind == "object" else listed


def _turn(turn: Turn, written: Written) -> dict[str, Any]:
    content = [{"type": "text", "text": turn.content}] if written.parts else turn.content
    return {written.role: written.names[turn.role], written.content: content}


def _written(value: object, field: str) -> Written:
    """How the first usable row holds its turns; what it does not show is as the format has it."""
    kind = "object" if isinstance(value, dict) else "list" if isinstance(value, list) else "text"
    if isinstance(value, str) and field in LISTS:
        value = json.loads(value)
    listed = value if isinstance(value, list) else [value]
    turns = [turn for turn in listed if isinstance(turn, dict)]
    first = turns[0] if turns else {}
    shown = [key for key in ("role", "from") if first.get(key) is not None]
    role = shown[0] if shown else "from" if field == "conversations" else "role"
    shown = [key for key in ("content", "value") if first.get(key) is not None]
    content = shown[0] if shown else "value" if role == "from" else "content"
    human, gpt = ("human", "gpt") if role == "from" else ("user", "assistant")
    names = {"system": "system", "user": human, "assistant": gpt}
    names |= {turn_of(turn, field).role: str(turn[role]) for turn in turns[::-1] if turn.get(role)}
    return Written(kind, role, content, names, isinstance(first.get(content), list))


def _whole(id: str) -> int | None:
    plain = id.isascii() and id.isdigit() and len(id) <= _DIGITS
    return int(id) if plain and str(int(id)) == id else None


_FIELDS = {
    "messages": _messages,
    "sharegpt": _sharegpt,
    "prompt-completion": _prompt_completion,
}
