"""What methods there are, and what each says of itself."""

from __future__ import annotations

import inspect
from typing import Any

from modicum.parts import build, describe, find, members


def about(name: str | None = None) -> list[dict[str, Any]]:
    """For one method or all: name, paper, needs, cost, fails, what it does, default options."""
    kinds = members("modicum.methods") if name is None else {name: find("modicum.methods", name)}
    return [_about(name, kind) for name, kind in kinds.items()]


def _about(name: str, kind: Any) -> dict[str, Any]:
    said = {key: getattr(kind, key, "not stated") for key in ("paper", "needs", "cost", "fails")}
    options = {key: value for key, value in describe(build(kind, {})).items() if key != "name"}
    return {"name": name, **said, "does": inspect.getdoc(kind) or "", "options": options}
