"""A command line as a file: every option is a key, and what the line says counts before it."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import typer

from modicum.errors import InputError, OptionError

_NO_KEYS = {"plan", "help"}
# Where it runs, where the result goes and how it is shown: not what it is.
_ASIDE = _NO_KEYS | {"out", "json", "dry-run", "ray-address"}


def read_plan(context: typer.Context, path: Path | None) -> Path | None:
    """Have what the line leaves out taken from a plan; one that cannot be read is refused."""
    if path is not None:
        known = _keys(context)
        given = {_known(key, known, path): value for key, value in _told(path).items()}
        context.default_map = {
            known[key].name: _words(key, value, known[key], path) for key, value in given.items()
        }
    return path


def resolved(context: typer.Context) -> dict[str, Any]:
    """The options of a command as a plan, also those that were not given; none that is unset."""
    found = {key: context.params.get(parameter.name) for key, parameter in _keys(context).items()}
    return {
        key: str(value) if isinstance(value, Path) else value
        for key, value in found.items()
        if key not in _ASIDE and value is not None and value != [] and value != ()
    }


def _keys(context: typer.Context) -> dict[str, Any]:
    """The parameters of a command by the keys of a plan: `too-long`, `pool`."""
    return {_key(parameter): parameter for parameter in context.command.params}


def _key(parameter: Any) -> str:
    longest = max(parameter.opts, key=len)
    return str(longest).lstrip("-").replace("_", "-")


def _told(path: Path) -> Mapping[Any, Any]:
    """What a YAML file says, or the plan in a manifest (JSON is YAML)."""
    import yaml  # type: ignore[import-untyped]

    try:
        text = path.read_text(encoding="utf-8")
        told = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--plan {path} cannot be read: {error}") from error
    except yaml.YAMLError as error:
        said = " ".join(str(error).split())  # with line and column
        raise InputError(f"--plan {path} is not YAML: {said}") from error
    if isinstance(told, dict) and "versions" in told:  # a manifest
        told = told.get("plan")
    if not isinstance(told, dict):
        raise InputError(
            f"--plan {path} holds no options: write KEY: VALUE, or give the manifest.json of a "
            "selection"
        )
    _check_keys([key.value for key, _ in yaml.compose(text, yaml.SafeLoader).value], path)
    return told


def _check_keys(keys: list[Any], path: Path) -> None:
    """YAML takes the last of two, silently."""
    names = [str(key).replace("_", "-") for key in keys]
    if twice := {name for name in names if names.count(name) > 1}:
        raise InputError(f"--plan {path}: {min(twice)} is there twice; keep one")


def _known(key: Any, names: Mapping[str, Any], path: Path) -> str:
    """The key as an option has it; `too_long` is `too-long`."""
    name = str(key).replace("_", "-")
    if name in names and name not in _NO_KEYS:
        return name
    near = get_close_matches(name, set(names) - _NO_KEYS, n=1)
    meant = f" (did you mean {near[0]}?)" if near else ""
    raise OptionError(
        f"--plan {path}: there is no option {key}{meant}; use the long names of the command line"
    )


def _words(key: str, value: Any, parameter: Any, path: Path) -> Any:
    """A value as the command line has it: KEY=VALUE words for a mapping, text for a number."""
    if value is None:
        return None
    flag = getattr(parameter, "is_flag", False)
    several = parameter.nargs == -1 or getattr(parameter, "multiple", False)
    pairs = "=" in (parameter.metavar or "")
    if isinstance(value, dict) and pairs:
        return [f"{name}={_word(each)}" for name, each in value.items()]
    if isinstance(value, list) and several and all(map(_plain, value)):
        return [_word(each) for each in value]
    if _plain(value) and isinstance(value, bool) == flag:
        return value if flag else [_word(value)] if several else _word(value)
    takes = "true or false" if flag else "one value"
    takes += ", or a list of them" if several else ""
    takes += ", or KEY: VALUE lines" if pairs else ""
    raise OptionError(f"--plan {path}: {key} takes {takes}, not {value!r}")


def _plain(value: Any) -> bool:
    return value is not None and not isinstance(value, dict | list)


def _word(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
