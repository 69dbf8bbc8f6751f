"""`modicum doctor`: this machine, or what is wrong with a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def run_doctor(folder: Path | None, fast: bool) -> dict[str, Any]:
    """`modicum doctor`; `ok` is False if a folder is damaged."""
    if folder is None:
        from modicum.doctor import machine

        return {"ok": True, **machine(fast)}
    from modicum.damage import look

    looked = look(folder)
    return {
        "ok": looked.ok,
        "folder": str(folder),
        "kind": looked.kind,
        "files": looked.files,
        "found": [one._asdict() for one in looked.found],
    }
