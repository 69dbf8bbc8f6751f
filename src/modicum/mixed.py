"""What `replay` leaves behind: the mixed file, and beside it `<file>.manifest.json`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from modicum import durable
from modicum.cache import file_hash
from modicum.errors import ModicumError, RunError
from modicum.readers.mix import write_mix
from modicum.readers.sources import MANIFEST
from modicum.replay.deciding import shortfall, told
from modicum.runs import (
    difference,
    inputs,
    read_object,
    versions,
    whole_object,
    write_json,
    write_rejected,
)
from modicum.usable import kinds

if TYPE_CHECKING:
    from modicum.mixing import Mix
    from modicum.pool import Pool


def manifest_of(path: Path) -> Path:
    """Where the manifest of a mixed file lies."""
    return path.with_name(f"{path.name}{MANIFEST}")


def open_mix(path: Path, command: Mapping[str, Any]) -> bool:
    """Make a file this command's own. True if the command has already written it.

    The claim lies beside the file and is removed when all is done: a file of anybody else's, or
    of another command, is never overwritten.
    """
    claim, told = _claim(path), json.loads(json.dumps(command))
    if manifest_of(path).exists():
        before = read_object(manifest_of(path))
        if said := difference(before.get("command") or {}, told):
            raise RunError(f"{path} was written by another command: {said}; choose another -o")
        if not path.exists() or file_hash(path) != before.get("blake2b"):
            raise RunError(
                f"{path} is not as it was written; remove it and its manifest, and run it again"
            )
        return True
    ours = whole_object(claim) == told
    if path.exists() and not ours:
        raise RunError(f"{path} exists, and this command did not write it; choose another -o")
    if ours:
        for half in path.parent.glob(f".{escape(path.name)}.*.part"):
            durable.remove(half)
        durable.remove(path)  # whole or not, its manifest is missing
    write_json(claim, told)
    return False


def give_up_mix(path: Path) -> None:
    """Take back `open_mix` for a command that was refused."""
    durable.remove(_claim(path))


def write_mixed(mix: Mix, path: Path, command: Mapping[str, Any] | None = None) -> Path:
    """The mixed file in the new file's format, rows set aside, and the manifest last."""
    command = {"from": "Mix.write", "made_from": _made_from(mix)} if command is None else command
    if open_mix(path, command):
        return path
    with mix.stage.meter.ledger.time("write"):
        new = mix.new.take(mix.new_places)
        try:
            dropped = write_mix(new, mix.old, mix.picks, path, mix.order)
        except ModicumError:
            give_up_mix(path)
            raise
        rejected = (*mix.new.rejected, *mix.old.rejected)
        if rejected:
            write_rejected(rejected, path.with_name(f"{path.name}.rejected.jsonl"))
    made = manifest(mix)
    made["notes"] += dropped
    about = {"command": dict(command), "blake2b": file_hash(path)}
    # What a method measured goes by names of its own: ours come after it.
    write_json(manifest_of(path), {**mix.stage.facts, **about, **made})
    give_up_mix(path)
    return path


def manifest(mix: Mix) -> dict[str, Any]:
    """The quota of each old task and why, every replayed row and why, inputs, model, cost."""
    stage, model = mix.stage, mix.stage.meter.model
    return {
        "method": mix.method,
        "budget": str(mix.budget),
        "per_task": mix.per_task,
        "seed": stage.seed,
        "counts": _counts(mix),
        "tasks": told(stage, mix.plan),
        "replayed": _replayed(mix),
        "notes": [*stage.notes, *shortfall(stage, mix.plan, mix.method["name"])],
        "left_out": _left_out(mix),
        "inputs": {"new": inputs(mix.new), "old": inputs(mix.old)},
        "model": {
            "name": model.name,
            "fingerprint": model.fingerprint,
            "max_tokens": stage.meter.max_tokens,
        },
        "ledger": stage.meter.ledger.to_json(),
        "versions": versions(("POT",) if "distances" in stage.facts else ()),
    }


def _counts(mix: Mix) -> dict[str, Any]:
    new, old = mix.new, mix.old
    meter = mix.stage.meter
    lengths_N, old_N = meter.rendered(new).lengths_N, meter.rendered(old).lengths_N
    return {
        "new": len(mix.new_places),
        "replayed": len(mix.picks),
        "rows": len(mix.order),
        "tokens_new": int(lengths_N[mix.new_places].sum()),
        "tokens_replayed": int(old_N[mix.picks].sum()),
        "allowed": mix.stage.rows if mix.stage.tokens is None else None,
        "kept": len(new) + len(old),
        "rejected": len(new.rejected) + len(old.rejected),
        "left_out": kinds([*mix.left_out_new.values(), *mix.left_out_old.values()]),
    }


def _replayed(mix: Mix) -> list[dict[str, Any]]:
    """Every replayed row: its row in the mixed file (from 1), what it is, and why it was taken."""
    place_of = np.argsort(mix.order)[len(mix.new_places) :]
    return [
        {
            "row": int(place) + 1,
            "id": mix.old.ids[position],
            "where": mix.old.where(int(position)),
            "task": mix.stage.old[j].name,
            "gain": step.gain if np.isfinite(step.gain) else None,
            "reason": step.reason,
        }
        for place, position, (j, step) in zip(place_of, mix.picks, mix.steps, strict=True)
    ]


def _left_out(mix: Mix) -> list[dict[str, Any]]:
    both = ((mix.new, mix.left_out_new), (mix.old, mix.left_out_old))
    return [_told(pool, i, why) for pool, found in both for i, why in sorted(found.items())]


def _told(pool: Pool, position: int, reason: str) -> dict[str, Any]:
    return {"id": pool.ids[position], "where": pool.where(position), "reason": reason}


def _claim(path: Path) -> Path:
    return path.with_name(f".{path.name}.command.json")


def _made_from(mix: Mix) -> str:
    """A hash of what decides the file and the manifest."""
    told = [
        mix.old.fingerprint,
        mix.new.fingerprint,
        mix.method,
        str(mix.budget),
        mix.per_task,
        mix.stage.seed,
        mix.stage.meter.model.fingerprint,
        [(mix.stage.old[j].name, step) for j, step in mix.steps],
        mix.picks.tolist(),
        mix.order.tolist(),
    ]
    return hashlib.blake2b(json.dumps(told, default=str).encode(), digest_size=16).hexdigest()
