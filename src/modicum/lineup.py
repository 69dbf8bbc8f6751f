"""Methods in one line, with options of their own in brackets."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from modicum.errors import OptionError
from modicum.parts import ROOMS, build, find, members, option_names

APPLICABLE = "applicable"  # every method that the pool and the target allow
_METHOD = re.compile(r"([^(),]+)(?:\(([^()]*)\))?")


def lineup(room: str, text: str, settings: Mapping[str, str], option: str = "-m") -> dict[str, Any]:
    """`inscl,inscl(which=random),none` as members of a room by label.

    `settings` go to all that take them, and are refused if none does. Errors name the `option`.
    """
    parts: dict[str, Any] = {}
    taken: set[str] = set()
    text = _tight(text)
    _check_brackets(text, option)
    for name, inner in _METHOD.findall(text):
        kind, own = find(room, name), _options(inner)
        chosen = {**settings, **own}  # a part brings options with it
        chooses = {key: chosen[key] for key in ROOMS if key in chosen and key in _fields(kind)}
        known = option_names(build(kind, {**own, **chooses}))
        mine = {key: value for key, value in settings.items() if key in known}
        taken |= mine.keys()
        label = f"{name}({inner})" if inner else name
        if label in parts:
            raise OptionError(f"{option} {label} is given twice")
        parts[label] = build(kind, {**mine, **own})
    if left := settings.keys() - taken:
        raise OptionError(f"--set {min(left)}: none of {', '.join(parts)} has this option")
    if not parts or ",".join(parts) != text:
        raise OptionError(f"{option} {text}: write {_form(option)},…")
    return parts


def all_that_apply(text: str, aimed: bool) -> tuple[str, list[str]]:
    """A line with `applicable` written out, and the methods that stand for it.

    All of the room but those that need a target where there is none, or an option; and but those
    that the line names itself without options.
    """
    words = _tight(text).split(",")
    if APPLICABLE not in words:
        return text, []
    found = [
        name
        for name, kind in members("modicum.methods").items()
        if name not in words and (aimed or not getattr(kind, "aims", False)) and _usable(kind)
    ]
    at = words.index(APPLICABLE)
    return ",".join([*words[:at], *found, *words[at + 1 :]]), found


def _usable(kind: Any) -> bool:
    try:
        build(kind, {})
    except OptionError:
        return False
    return True


def parts_of(room: str, given: str | Sequence[Any], option: str) -> list[Any]:
    """Members of a room from one line, from several, or as they are, in order."""
    parts = list[Any]()
    for each in [given] if isinstance(given, str) else given:
        if isinstance(each, str):
            parts += lineup(room, each, {}, option).values()
        else:
            parts.append(each)
    return parts


def filters_of(given: str | Sequence[Any]) -> list[Any]:
    """`duplicates,between(most=512)`, or several such texts, or filters themselves, in order."""
    filters = parts_of("modicum.filters", given, "--filter")
    for part in filters:
        if not all(isinstance(getattr(part, word, None), str) for word in ("name", "reason")):
            raise OptionError(
                f"--filter: {getattr(part, '__name__', part)} has no name or no reason, so it is "
                "no filter; see docs/filters.md"
            )
    return filters


def named(text: str) -> tuple[str, dict[str, str]]:
    """`lobass(folds=2)` as a name and its options; what is no such thing stays a name."""
    _check_brackets(text)
    found = _METHOD.fullmatch(_tight(text))
    return (found[1], _options(found[2] or "")) if found else (text, {})


def _check_brackets(text: str, option: str = "-m") -> None:
    if text.count("(") != text.count(")"):
        raise OptionError(f"{option} {text}: a bracket is not closed; write {_form(option)}")


def _form(option: str) -> str:
    word = {"-m": "METHOD", "--with": "SCORE"}.get(option, "FILTER")
    return f"{word},{word}(option=value)"


def _tight(text: str) -> str:
    return re.sub(r"\s*([(),=])\s*", r"\1", text.strip())


def _options(inner: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for word in filter(None, inner.split(",")):
        key, _, value = word.partition("=")
        if key in options:
            raise OptionError(f"{key} is given twice in ({inner}); give it once")
        options[key] = value
    return options


def _fields(kind: Any) -> set[str]:
    return {each.name for each in fields(kind)} if is_dataclass(kind) else set()
