"""Turns of a conversation: who may speak, when, and what a model is to learn."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from modicum.pool import Turn
from modicum.readers.found import Fault

_ROLES = {
    **dict.fromkeys(("user", "human"), "user"),
    **dict.fromkeys(("assistant", "gpt", "bot", "model", "chatgpt", "bing", "bard"), "assistant"),
    "system": "system",
}
_TOOLS = {"tool", "tools", "function", "function_call", "function_response", "observation"}
_FLAGS = dict.fromkeys(("train", "weight", "loss_weight", "loss"))


class BadRow(Exception):
    """Leaves the conversion of a row that cannot be used, with its fault."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.fault = Fault(reason, detail)


def as_text(value: object, what: str) -> str | None:
    """Text as it is; numbers and booleans as JSON writes them; None for null and NaN.

    Anything else is not text: lists and objects are never written out.
    """
    if value is None or value != value:
        return None
    if isinstance(value, str):
        return value
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    raise BadRow("not text", f"{what} is {_kind(value)}")


def turns_of(value: object, what: str) -> list[Turn]:
    """The turns in a list of {role, content} or {from, value}, or in a string that holds one."""
    if isinstance(value, str):
        value = _decoded(value, what)
    if not isinstance(value, list):
        raise BadRow("not a list of turns", f"{what} is {_kind(value)}")
    return [turn_of(turn, f"{what}[{place}]") for place, turn in enumerate(value)]


def turn_of(value: object, what: str) -> Turn:
    """One turn; an answer is learned unless a flag of its own says 0 or false."""
    if not isinstance(value, dict):
        raise BadRow("not a list of turns", f"{what} is {_kind(value)}")
    role = _role(_first(value, "role", "from"))
    if role == "assistant" and _first(value, "tool_calls", "function_call"):
        raise BadRow("tool turns are not supported", f"{what} calls a tool")
    content = _content(_first(value, "content", "value"), what)
    return Turn(role, content, role == "assistant" and _learned(value, what))


def check(turns: Sequence[Turn]) -> None:
    """Raise `BadRow` unless: an optional system turn, then user and assistant in turn,
    the assistant last, no prompt blank, no learned answer blank, and something to learn.
    """
    if not turns:
        raise BadRow("no turns")
    roles = [turn.role for turn in turns]
    if "system" in roles[1:]:
        raise BadRow("system turn not first", f"turn {roles.index('system', 1) + 1}")
    _check_order(roles[1:] if roles[0] == "system" else roles)
    if any(turn.role == "user" and not turn.content.strip() for turn in turns):
        raise BadRow("empty prompt")
    learned = [turn for turn in turns if turn.train]
    if not learned:
        raise BadRow("no answer to learn")
    if not all(turn.content.strip() for turn in learned):
        raise BadRow("empty answer")


def check_prompt(turns: Sequence[Turn]) -> None:
    """Raise `BadRow` unless a user says something; answers and order are left open."""
    if not any(turn.role == "user" and turn.content.strip() for turn in turns):
        raise BadRow("empty prompt" if turns else "no turns")


def _check_order(roles: Sequence[str]) -> None:
    if "user" not in roles:
        raise BadRow("no user turn")
    if "assistant" not in roles:
        raise BadRow("no answer")
    if roles[0] == "assistant":
        raise BadRow("starts with the assistant")
    for place in range(1, len(roles)):
        if roles[place] == roles[place - 1]:
            raise BadRow(f"two {roles[place]} turns in a row")
    if roles[-1] == "user":
        raise BadRow("ends with the user")


def _role(name: object) -> str:
    folded = name.strip().lower() if isinstance(name, str) else ""
    if folded in _TOOLS:
        raise BadRow("tool turns are not supported", f"role {name!r}")
    return _ROLES.get(folded) or _unknown(name)


def _unknown(name: object) -> NoReturn:
    raise BadRow("unknown role", json.dumps(name, default=str)[:60])


def _learned(turn: Mapping[str, Any], what: str) -> bool:
    if _FLAGS.keys().isdisjoint(turn):
        return True
    flags = [(name, turn[name]) for name in _FLAGS if turn.get(name) is not None]
    for name, flag in flags:
        if not isinstance(flag, bool | int | float) or flag not in (0, 1):
            raise BadRow("weight is neither 0 nor 1", f"{name} of {what} is {flag!r}"[:80])
    return all(flag for _, flag in flags)


def _content(value: object, what: str) -> str:
    if not isinstance(value, list):
        return as_text(value, what) or ""
    return "".join(_part(part, what) for part in value)


def _part(part: object, what: str) -> str:
    if isinstance(part, str):
        return part
    kind = part.get("type") if isinstance(part, dict) else _kind(part)
    if isinstance(part, dict) and kind in ("text", None):
        text = as_text(_first(part, "text", "value"), what)
        if text is not None:
            return text
    raise BadRow("content that is not text", f"{what} holds a part of type {kind}")


def _decoded(text: str, what: str) -> object:
    try:
        value: object = json.loads(text)
    except (ValueError, RecursionError):
        raise BadRow("not a list of turns", f"{what} is text that holds no JSON list") from None
    return value


def _first(turn: Mapping[str, Any], *names: str) -> Any:
    for name in names:
        if (value := turn.get(name)) is not None:
            return value
    return None


def _kind(value: object) -> str:
    kinds = {dict: "an object", list: "a list", str: "text", type(None): "null", bool: "a boolean"}
    return kinds.get(type(value), f"a {type(value).__name__}")
