"""What methods there are, and what each says of itself."""

from __future__ import annotations

import inspect
import json
from functools import cache
from importlib import resources
from typing import Any

from modicum.errors import OptionError
from modicum.parts import build, describe, find, meant, members

ROOMS = {"select": "modicum.methods", "replay": "modicum.replay"}  # command: its methods


def about(name: str | None = None) -> list[dict[str, Any]]:
    """For one method or all: name, paper, needs, cost, fails, what it does, default options.

    `evidence` is what our own comparisons on real rows showed of it, `for` which commands take it;
    of one of the user's own that is not known. What select and
    replay both have is told as select has it, with the options of the other as `replay_options`.
    """
    if name is not None and ":" in name:
        return [{**told(name, find(ROOMS["select"], name)), "for": []}]
    found: dict[str, dict[str, Any]] = {}
    for command, room in ROOMS.items():
        for each, kind in members(room).items():
            if name not in (None, each):
                continue
            said = told(each, kind)
            if each in found:
                found[each]["replay_options"] = said["options"]
            found.setdefault(each, {**said, "for": []})["for"].append(command)
    if not found:
        known = sorted({each for room in ROOMS.values() for each in members(room)})
        raise OptionError(
            f"there is no method {name!r}{meant(str(name), known)}: choose {', '.join(known)}, or "
            "package.module:Object"
        )
    return [found[each] for each in sorted(found)]


def besides() -> dict[str, list[str]]:
    """The names of the parts that methods are joined with, by what takes them on the line."""
    rooms = {"--set score=": "scores", "--set view=": "views", "--filter ": "filters"}
    return {option: list(members(f"modicum.{room}")) for option, room in rooms.items()}


def told(name: str, kind: Any) -> dict[str, Any]:
    """What a method says of itself, and its options as they are when none is set."""
    said = {key: getattr(kind, key, "not stated") for key in ("paper", "needs", "cost", "fails")}
    options = {key: value for key, value in describe(build(kind, {})).items() if key != "name"}
    evidence = _shown().get(name, [])
    about = {"does": inspect.getdoc(kind) or "", "evidence": evidence, "options": options}
    return {"name": name, **said, **about}


def in_words(evidence: list[dict[str, Any]]) -> str:
    """What was shown of a method, in one line."""
    lines = [
        f"beside {each['against']}: better {each['better']}, worse {each['worse']}, not shown "
        f"{each['not shown']} ({', '.join(each['where'])})"
        for each in evidence
    ]
    return "; ".join(lines) or "not measured yet"


@cache
def _shown() -> dict[str, list[dict[str, Any]]]:
    """What `reproductions/shown.py` counted."""
    file = resources.files("modicum.evidence").joinpath("shown.json")
    found: dict[str, list[dict[str, Any]]] = json.loads(file.read_text("utf-8"))
    return found
