"""Rounds as durable steps: what is finished is read again, never done again."""

from __future__ import annotations

import copy
import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modicum.errors import RunError
from modicum.ledger import Ledger
from modicum.runs import whole_object, write_json
from modicum.selection.budget import Step


@dataclass(frozen=True)
class Rounds:
    """A folder with one JSON file for every finished round, by number or name: `0.json`, …"""

    folder: Path
    made_from: str  # whatever decides the result; another's rounds are refused
    ledger: Ledger

    def once(self, number: int | str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The facts of a round: those on disk, or else made now and written durably.

        The ledger is charged either way for what was measured and trained in a round, by whatever
        process; the seconds of selecting itself stay with the process that spent them.
        """
        path = self._file(number)
        if record := self._read(path):
            if record.pop("made_from") != self.made_from:
                raise RunError(f"{path} belongs to another command; choose another folder")
            self.ledger.add(record["ledger"])
            return record
        before = copy.deepcopy(self.ledger)
        record = {"round": number, **make(), "ledger": self.ledger.since(before)}
        told = {"made_from": self.made_from, **record}
        write_json(path, {"checksum": _checksum(told), **told})
        return record

    def __contains__(self, number: int | str) -> bool:
        return self._file(number).exists()

    def _file(self, number: int | str) -> Path:
        return self.folder / f"{number}.json"

    def _read(self, path: Path) -> dict[str, Any] | None:
        """A finished round; None if there is none."""
        if not path.exists():
            return None
        record = whole_object(path) or {}
        if record.pop("checksum", None) == _checksum(record):
            return record
        raise RunError(
            f"{path} is not as it was written; remove {self.folder} and run the same line again: "
            "what it holds is done anew"
        )


def _checksum(record: Mapping[str, Any]) -> str:
    as_read = json.loads(json.dumps(record))
    text = json.dumps(as_read, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def to_json(steps: Sequence[Step]) -> list[dict[str, Any]]:
    """Picks as a round's file has them; a gain that is no number is null."""
    return [
        {
            "position": step.pick,
            "gain": step.gain if math.isfinite(step.gain) else None,
            "reason": step.reason,
        }
        for step in steps
    ]


def from_json(record: dict[str, Any]) -> list[Step]:
    """The picks of a round's facts, as they were made."""
    return [
        Step(
            pick["position"],
            pick["reason"],
            math.nan if pick["gain"] is None else pick["gain"],
            record["round"],
        )
        for pick in record["picks"]
    ]
