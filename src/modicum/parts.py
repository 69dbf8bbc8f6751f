"""Views, scores and methods by name, and their options from `--set key=value`.

There is no registry: the members of a room are the classes with a `name` that its modules define,
and `package.module:Object` names one of the user's own.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import sys
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields, is_dataclass, replace
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from modicum.cache import file_hash
from modicum.errors import OptionError

ROOMS = {"view": "modicum.views", "score": "modicum.scores"}  # options that choose a part
_COMMANDS = {"modicum.methods": "modicum select", "modicum.replay": "modicum replay and stream"}


@cache
def members(room: str) -> dict[str, type]:
    """The classes of a room (`modicum.methods`, …) by name, found in its modules."""
    found: dict[str, type] = {}
    package = importlib.import_module(room)
    for info in pkgutil.iter_modules(package.__path__):
        module = importlib.import_module(f"{room}.{info.name}")
        for _, kind in inspect.getmembers(module, inspect.isclass):
            if kind.__module__ == module.__name__ and isinstance(vars(kind).get("name"), str):
                found[vars(kind)["name"]] = kind
    return dict(sorted(found.items()))


def find(room: str, name: str) -> Any:
    """The member of this name, or whatever `package.module:Object` names."""
    if ":" in name:
        module, _, attribute = name.partition(":")
        if not all(word.isidentifier() for word in [*module.split("."), attribute]):
            raise OptionError(f"{name} names no object: write package.module:Object")
        try:
            found = getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError, SyntaxError) as error:
            raise OptionError(f"{name} cannot be imported: {error}") from error
        if not callable(found):
            raise OptionError(f"{name} is {type(found).__name__}, which cannot be called")
        return found
    if name not in (known := members(room)):
        what = {"modicum.replay": "replay method"}.get(room, room.rpartition(".")[2].rstrip("s"))
        raise OptionError(
            f"{_elsewhere(room, name)}there is no {what} {name!r}{meant(name, known)}: choose "
            f"{', '.join(known)}, or package.module:Object"
        )
    return known[name]


def meant(name: str, known: Iterable[str]) -> str:
    """The name that this one is nearly: kcenter, k_center and K-center are k-center."""
    near = get_close_matches(name.lower().replace("_", "-"), known, n=1, cutoff=0.8)
    return f" (did you mean {near[0]}?)" if near else ""


def _elsewhere(room: str, name: str) -> str:
    """Which command takes a method of this name, if another does."""
    for other, command in _COMMANDS.items():
        if room in _COMMANDS and other != room and name in members(other):
            return f"{name} is for {command}; "
    return ""


def code_of(name: str) -> str | None:
    """A hash of the file that `package.module:Object` stands in; None for our own members.

    A changed file makes another command, so that an old result is not taken for its.
    """
    if ":" not in name:
        return None
    file = getattr(sys.modules[name.partition(":")[0]], "__file__", None)
    return file_hash(Path(file)) if file else None


def build(kind: Any, settings: Mapping[str, Any]) -> Any:
    """An instance of a member with these options, or the callable itself if it takes none.

    An option that chooses a part (`view`, `score`) takes a name; the options that the part has
    are then understood as well. Unknown options are refused.
    """
    left = dict(settings)
    made = _build(kind, None, left) if is_dataclass(kind) and isinstance(kind, type) else kind
    if left:
        raise OptionError(
            f"{_label(kind)} has no option {', '.join(sorted(left))}; "
            f"it has {', '.join(option_names(made)) or 'none'}"
        )
    return made() if inspect.isclass(made) else made


def option_names(part: Any) -> list[str]:
    """The options that an instance understands, those of its own parts included."""
    if not is_dataclass(part):
        return []
    names: list[str] = []
    for field in fields(part):
        names.append(field.name)
        if field.name in ROOMS:
            names += option_names(getattr(part, field.name, None))
    return names


def describe(part: Any) -> dict[str, Any]:
    """Every resolved option of an instance, for the manifest."""
    if not is_dataclass(part):
        return {"name": _label(part)}
    options: dict[str, Any] = {"name": _label(part)}
    for field in fields(part):
        value = getattr(part, field.name)
        plain = value is None or isinstance(value, str | bool | int | float)
        options[field.name] = value if plain else describe(value)
    return options


def _build(kind: type, default: Any, left: dict[str, Any]) -> Any:
    hints = get_type_hints(kind)
    values: dict[str, Any] = {}
    for field in fields(kind):
        if field.name in ROOMS:
            usual = _default(field) if default is None else getattr(default, field.name)
            if field.name in left or (usual is not None and usual is not MISSING):
                values[field.name] = _part(field.name, usual, left)
        elif field.name in left:
            values[field.name] = _parse(left.pop(field.name), hints[field.name], field.name)
    if default is not None:
        return replace(default, **values)
    needed = [f.name for f in fields(kind) if f.name not in values and _default(f) is MISSING]
    if needed:
        said = f"{needed[0]}=VALUE, in brackets behind its name or by --set"
        raise OptionError(f"{_label(kind)} needs {', '.join(needed)}: {said}")
    return kind(**values)


def _part(option: str, default: Any, left: dict[str, Any]) -> Any:
    chosen = left.pop(option, None)
    if default is None and str(chosen).lower() == "none":
        return None
    if chosen is not None and not isinstance(chosen, str):
        return chosen  # an instance, from Python
    kind = type(default) if chosen is None else find(ROOMS[option], chosen)
    if not is_dataclass(kind):  # of the user's own, without options
        return default if chosen is None else build(kind, {})
    return _build(kind, default if type(default) is kind else None, left)


def _default(field: Any) -> Any:
    if field.default is not MISSING:
        return field.default
    return MISSING if field.default_factory is MISSING else field.default_factory()


def _parse(value: Any, hint: Any, option: str) -> Any:
    """A value of the field's type; text is read as the type says, nothing else is converted."""
    kinds = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    for kind in sorted(kinds, key=lambda kind: kind is not NoneType):  # text would take "none"
        read = _read_text(value, kind) if isinstance(value, str) else _as_it_is(value, kind)
        if read is not MISSING:
            return read
    raise OptionError(f"{option}={value}: give {_wanted(kinds)}")


def _read_text(text: str, kind: Any) -> Any:
    if kind is NoneType:
        return None if text.lower() == "none" else MISSING
    if get_origin(kind) is Literal:
        return next((choice for choice in get_args(kind) if str(choice) == text), MISSING)
    if kind is bool:
        return {"true": True, "false": False}.get(text.lower(), MISSING)
    if kind in (int, float, str):
        try:
            return kind(text)
        except ValueError:
            return MISSING
    return MISSING


def _as_it_is(value: Any, kind: Any) -> Any:
    if get_origin(kind) is Literal:
        return value if value in get_args(kind) else MISSING
    if not isinstance(kind, type):
        return value  # more than a value can be checked against
    if isinstance(value, bool) and kind is not bool:
        return MISSING
    if kind is float and isinstance(value, int):
        return float(value)  # as if it had been text: one value has one description
    return value if isinstance(value, kind) else MISSING


def _wanted(kinds: tuple[Any, ...]) -> str:
    words: list[str] = []
    for kind in kinds:
        if get_origin(kind) is Literal:
            words += [str(choice) for choice in get_args(kind)]
        else:
            words.append(
                {int: "a whole number", float: "a number", bool: "true or false"}.get(
                    kind, "none" if kind is NoneType else "text"
                )
            )
    return " or ".join(words)


def _label(part: Any) -> str:
    named = getattr(part, "name", None)
    if isinstance(named, str):
        return named
    kind = part if inspect.isclass(part) or inspect.isfunction(part) else type(part)
    return f"{kind.__module__}:{kind.__qualname__}"
