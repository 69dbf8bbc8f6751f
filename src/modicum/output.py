"""What a selection leaves behind: the subset, `rows.parquet` and the manifest."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from modicum import durable
from modicum.cost import beside_actual, cost
from modicum.errors import RunError
from modicum.parts import describe
from modicum.report import add_report, spared
from modicum.runs import (
    clear_unfinished,
    inputs,
    open_run,
    versions,
    write_json,
    write_manifest,
    write_rejected,
)
from modicum.training.record import PACKAGES
from modicum.usable import kinds

if TYPE_CHECKING:
    from modicum.choose import Selection
    from modicum.meter import Meter
    from modicum.pool import Pool
    from modicum.scoring import Scored
    from modicum.training import Tuned
    from modicum.tuning import Training

_TEXT = pa.string()


def write_selection(
    selection: Selection,
    folder: Path,
    command: Mapping[str, Any] | None = None,
    plan: Mapping[str, Any] | None = None,
) -> Path:
    """Subset, `rows.parquet`, what was set aside, what a report shows, and last `manifest.json`.

    `plan` is the command line that made it, as `--plan` takes it; the manifest keeps it.
    """
    from modicum.readers.back import write_back
    from modicum.report.leaving import leave

    _begin(folder, command, "Selection.write")
    pool, troubles = selection.pool, dict[str, Any]()
    with selection.meter.ledger.time("write"):
        subset = write_back(pool, selection.picks.tolist(), folder) if pool.files else []
        _write_rows(rows_table(selection), pool, folder)
        with spared(troubles):
            leave(selection, folder)
        for name, record in selection.records.items():
            write_json(folder / name, record)
    told = manifest(selection, subset)
    told["notes"] += troubles.get("notes", [])
    if plan is not None:
        told["plan"] = dict(plan)
    add_report(folder, told)
    write_manifest(folder, told)
    for leftover in selection.leftovers:
        durable.remove(leftover)
    return folder


def write_scores(scored: Scored, folder: Path, command: Mapping[str, Any] | None = None) -> Path:
    """`rows.parquet` with the scores, what was set aside, texts, and last `manifest.json`."""
    from modicum.report.leaving import leave_texts

    _begin(folder, command, "write_scores")
    pool = scored.pool
    reasons = [scored.left_out.get(i) for i in range(len(pool))]
    columns = _measured(pool, scored.meter, scored.scores) | {"reason": pa.array(reasons, _TEXT)}
    _write_rows(pa.table(columns), pool, folder)
    leave_texts(pool, folder)
    about = {
        "counts": _counts(pool, scored.left_out, scored.meter.rendered(pool).lengths_N),
        **_made_from(pool, scored.left_out, scored.meter),
    }
    options = {part.name: describe(part) for part in scored.parts}
    told = {"scores": list(scored.scores), "options": options, **about}
    add_report(folder, told)
    write_manifest(folder, told)
    return folder


def write_training(training: Training, tuned: Tuned, folder: Path) -> Path:
    """What was set aside, and `manifest.json`, beside the model and its `training.json`."""
    pool, meter = training.pool, training.meter
    if pool.rejected:
        write_rejected(pool.rejected, folder / "rejected.jsonl")
    lengths_N = meter.rendered(pool).lengths_N
    about = {
        "counts": _counts(pool, training.left_out, lengths_N)
        | {"trained": len(training.rows), "tokens_trained": tuned.record["tokens_seen"]},
        "training": training.recipe.to_json(),
        "seed": training.seed,
        **_made_from(pool, training.left_out, meter),
    }
    write_manifest(folder, about)
    return folder


def rows_table(selection: Selection) -> pa.Table:
    """One row per pool example: what was measured, whether it was picked, when and why."""
    n = len(selection.pool)
    order_N = np.full(n, -1, dtype=np.int64)
    order_N[selection.picks] = np.arange(len(selection))
    picked_N = order_N >= 0
    gain_N = np.full(n, np.nan)
    gain_N[selection.picks] = selection.gains
    round_N = np.zeros(n, dtype=np.int64)
    round_N[selection.picks] = selection.rounds
    reasons: list[str | None] = [selection.left_out.get(i) for i in range(n)]
    for pick, reason in zip(selection.picks, selection.reasons, strict=True):
        reasons[pick] = reason
    columns = _measured(selection.pool, selection.meter, selection.scores) | {
        "picked": picked_N,
        "order": pa.array(order_N, mask=~picked_N),
        "gain": _nullable(gain_N),
        "round": pa.array(round_N, mask=~picked_N),
        "reason": pa.array(reasons, _TEXT),
    }
    return pa.table(columns)


def manifest(selection: Selection, subset: list[Path]) -> dict[str, Any]:
    """What made a selection: inputs, model, method, versions, counts, cost."""
    pool, meter = selection.pool, selection.meter
    tokens_N, predicted = selection.tokens_N, selection.predicted
    return {
        "method": selection.method,
        "budget": str(selection.budget),
        "seed": selection.seed,
        "counts": {
            **_counts(pool, selection.left_out, tokens_N),
            "picked": len(selection),
            "tokens_picked": int(tokens_N[selection.picks].sum()),
        },
        **selection.given,
        "notes": list(selection.notes),
        "subset": [path.name for path in subset],
        "training": selection.recipe.to_json(),
        "predicted": predicted and beside_actual(predicted, meter.ledger),
        "cost": cost(
            meter.ledger,
            subset_tokens_M=tokens_N[selection.picks],
            pool_tokens_N=np.delete(tokens_N, list(selection.left_out)),
            recipe=selection.recipe,
        ),
        **_made_from(pool, selection.left_out, meter),
    }


def _made_from(pool: Pool, left_out: dict[int, str], meter: Meter) -> dict[str, Any]:
    """The part of a manifest that every measured pool has."""
    rendered, model = meter.rendered(pool), meter.model
    return {
        "inputs": inputs(pool),
        "pool": pool.fingerprint,
        "model": {
            "name": model.name,
            "fingerprint": model.fingerprint,
            "precision": model.dtype_name,
            "device": model.device_name,
            "template": "the tokenizer's" if model.tokenizer.chat_template else "plain",
            "max_tokens": meter.max_tokens,
            "system_turns_folded": rendered.folded,
            "prompts_truncated": [pool.ids[i] for i in rendered.truncated],
        },
        "left_out": [
            {"id": pool.ids[i], "where": pool.where(i), "reason": reason}
            for i, reason in sorted(left_out.items())
        ],
        "ledger": meter.ledger.to_json(),
        "versions": versions(PACKAGES if meter.ledger.backward_tokens else ()),
    }


def _measured(pool: Pool, meter: Meter, scores: dict[str, np.ndarray]) -> dict[str, Any]:
    """The columns that every measured pool has."""
    columns: dict[str, Any] = {
        "id": pool.table["id"],
        "source": pool.table["source"],
        "position": np.arange(len(pool)),
        "tokens": meter.rendered(pool).lengths_N,
    }
    return columns | {name: _nullable(values_N) for name, values_N in scores.items()}


def _begin(folder: Path, command: Mapping[str, Any] | None, caller: str) -> None:
    if open_run(folder, command if command is not None else {"from": caller}):
        raise RunError(f"{folder} holds a finished run; choose another folder")
    clear_unfinished(folder)


def _write_rows(table: pa.Table, pool: Pool, folder: Path) -> None:
    durable.write(folder / "rows.parquet", lambda beside: pq.write_table(table, beside))
    if pool.rejected:
        write_rejected(pool.rejected, folder / "rejected.jsonl")


def _counts(pool: Pool, left_out: dict[int, str], tokens_N: np.ndarray) -> dict[str, Any]:
    """Rows in, kept, rejected, left out by reason, and tokens."""
    return {
        "rows": len(pool) + len(pool.rejected),
        "kept": len(pool),
        "rejected": len(pool.rejected),
        "left_out": kinds(left_out.values()),
        "tokens": int(tokens_N.sum()),
    }


def _nullable(values_N: np.ndarray) -> pa.Array:
    """Numbers, with null where there is none; `reason` says why."""
    return pa.array(values_N, mask=~np.isfinite(values_N))
