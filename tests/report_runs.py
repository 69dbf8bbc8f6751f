"""Run folders made by hand for tests of the page: of select, score, compare and stream."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

LEDGER = {
    "forward_tokens": 1234,
    "backward_tokens": 0,
    "rows_reused": 0,
    "seconds": {"measure": 1.25, "select": 0.5},
}
MODEL = {"name": "tiny", "fingerprint": "abc", "max_tokens": 512}
ATTACKS = (
    "<script>window.hurt = 1</script>",
    "</script><script>window.hurt = 2</script>",
    "<img src=x onerror='window.hurt = 3'>",
    '<a href="javascript:window.hurt = 4">here</a>',
    '" onmouseover="window.hurt = 5" x="',
    "{{ 7 * 7 }} {% raw %} ${window.hurt = 6} <!-- --!> ]]>",
    "<svg onload=window.hurt=7></svg><style>body{display:none}</style>",
    "right to left \u202eevil\u202c and \u2066isolated",
    "null \x00 bell \x07 escape \x1b[31m delete \x7f next \x85 lines \u2028 \u2029 end",
    "مرحبا <b>بالعالم</b> 世界 𝔘𝔫𝔦 🙂",
    "<iframe src='https://example.org'></iframe><link rel=stylesheet href=//example.org/x.css>",
    "<" * 1_000_000,
)


def put(folder: Path, name: str, content: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(content, ensure_ascii=True), encoding="utf-8")


def selection_run(
    folder: Path,
    rows: int = 60,
    picks: int = 12,
    *,
    texts: Sequence[str] | None = None,
    view: bool = True,
    rounds: int = 0,
    scores: Sequence[str] = ("loss",),
) -> Path:
    """A run whose picks are every few rows; `texts` also stand as ids, sources and reasons."""
    folder.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(0)
    said = [texts[i % len(texts)] if texts else f"Question {i}?" for i in range(rows)]
    at_K = (np.arange(picks) * (rows // picks))[::-1]
    picked_N, order_N = np.zeros(rows, dtype=bool), np.zeros(rows, dtype=np.int64)
    picked_N[at_K], order_N[at_K] = True, np.arange(picks)
    round_N = order_N % (rounds + 1)
    attacked = texts is not None
    reasons = [
        (said[i] if attacked else f"{order_N[i]} from row 0") if picked_N[i] else None
        for i in range(rows)
    ]
    tokens_N = draw.integers(5, 400, rows)
    columns: dict[str, Any] = {
        "id": [f"{said[i]} {i}" if attacked else f"r{i}" for i in range(rows)],
        "source": [said[i] if attacked else f"s{i % 3}" for i in range(rows)],
        "position": np.arange(rows),
        "tokens": tokens_N,
    }
    columns |= {name: draw.gamma(3.0, size=rows).astype(np.float32) for name in scores}
    columns |= {
        "picked": picked_N,
        "order": pa.array(order_N, mask=~picked_N),
        "gain": pa.array(draw.random(rows), mask=~picked_N),
        "round": pa.array(round_N, mask=~picked_N),
        "reason": pa.array(reasons, pa.string()),
    }
    pq.write_table(pa.table(columns), folder / "rows.parquet")
    answers = (
        [text[::-1][:300] for text in said] if attacked else [f"Answer {i}." for i in range(rows)]
    )
    shown = {"position": np.arange(rows), "text": [text[:300] for text in said], "answer": answers}
    pq.write_table(pa.table(shown), folder / "texts.parquet")
    if view:
        _view(folder, rows, at_K, draw)
    if rounds:
        put(folder, "rounds.json", [_round(r, picks) for r in range(rounds + 1)])
    put(folder, "manifest.json", _selection(rows, picked_N, tokens_N, texts))
    return folder


def _view(folder: Path, rows: int, at_K: np.ndarray, draw: np.random.Generator) -> None:
    xy_N2 = draw.normal(size=(rows, 2)).astype(np.float32)
    xy_N2[1] = np.nan
    near_N = at_K[np.arange(rows) % len(at_K)]
    near_N[at_K] = at_K
    distance_N = draw.random(rows)
    distance_N[at_K] = 0.0
    columns = {
        "position": np.arange(rows),
        "x": pa.array(xy_N2[:, 0], mask=np.isnan(xy_N2[:, 0])),
        "y": pa.array(xy_N2[:, 1], mask=np.isnan(xy_N2[:, 1])),
        "nearest": near_N,
        "distance": pa.array(distance_N, mask=np.isnan(xy_N2[:, 0])),
    }
    pq.write_table(pa.table(columns), folder / "map.parquet")
    sizes = [1, 2, 4, 8, len(at_K)]
    falling = [5.25, 4.125, 3.0625, 2.5, 1.75]
    chance = {
        key: [v * by for v in falling] for key, by in (("low", 1.1), ("mean", 1.2), ("high", 1.3))
    }
    spread = {"view": "hidden", "projection": "pca", "explained": [0.31, 0.17]}
    spread |= {"distance": "euclidean", "sizes": sizes, "radius": falling}
    spread |= {"diversity": [None, *falling[1:]]}
    chance_too = {key: [None, *values[1:]] for key, values in chance.items()}
    spread["random"] = {"draws": 10, "radius": chance, "diversity": chance_too}
    put(folder, "spread.json", spread)


def _round(at: int, picks: int) -> dict[str, Any]:
    diversity = {"vendi": 3.5 + at, "mean_nearest_distance": 2.25}
    loss = None if at == 0 else 2.5 - 0.125 * at
    taken = {"rows": picks * (at + 1), "tokens": 1000 * (at + 1)}
    return {"round": at, **taken, "radius": None, "diversity": diversity, "training_loss": loss}


def _selection(
    rows: int, picked_N: np.ndarray, tokens_N: np.ndarray, texts: Sequence[str] | None
) -> dict[str, Any]:
    notes = list(texts or ["fewer clusters were made than asked"])
    work = {"compute": 12.5, "seconds": 3.25}
    ratio = {"compute": 0.125, "seconds": None}
    counts = {"rows": rows, "kept": rows, "rejected": 0, "left_out": {notes[0][:500]: 2}}
    counts |= {"tokens": int(tokens_N.sum()), "picked": int(picked_N.sum())}
    counts |= {"tokens_picked": int(tokens_N[picked_N].sum())}
    cost = {"epochs": 3.0, "selection": work, "tuning_on_subset": work, "tuning_on_pool": work}
    cost |= {"selection_to_tuning": ratio, "selection_and_tuning_to_whole": ratio}
    left = [{"id": note[:500], "where": f"{note[:500]}:1", "reason": note[:500]} for note in notes]
    return {
        "method": {"name": "k-center", "view": {"name": "hidden"}},
        "budget": str(int(picked_N.sum())),
        "seed": 0,
        "counts": counts,
        "notes": notes,
        "cost": cost,
        "inputs": [{"path": "pool.jsonl", "format": "messages", "rows": rows, "blake2b": "00"}],
        "model": MODEL,
        "left_out": left,
        "ledger": LEDGER,
        "versions": {"modicum": "0.1.0"},
    }


def score_run(folder: Path) -> Path:
    """Scores of twenty rows, one of which has none."""
    folder.mkdir(parents=True, exist_ok=True)
    values_N = np.linspace(0.1, 2.0, 20)
    columns = {
        "id": [f"r{i}" for i in range(20)],
        "source": ["one"] * 20,
        "position": np.arange(20),
        "tokens": np.arange(20) + 10,
        "ifd": pa.array(values_N, mask=np.arange(20) == 3),
        "reason": pa.array([None] * 20, pa.string()),
    }
    pq.write_table(pa.table(columns), folder / "rows.parquet")
    counts = {"rows": 20, "kept": 20, "rejected": 0, "left_out": {}, "tokens": 390}
    inputs = [{"path": "pool.jsonl", "format": "messages", "rows": 20, "blake2b": "00"}]
    about = {"scores": ["ifd"], "counts": counts, "inputs": inputs, "model": MODEL}
    put(folder, "manifest.json", {**about, "left_out": [], "ledger": LEDGER, "versions": {}})
    return folder


def comparison_run(folder: Path, name: str = "k-center") -> Path:
    """Two methods and the whole pool, one budget, two seeds, one measure."""
    arms, summary = [], []
    for place, (method, budget) in enumerate([(name, "10%"), ("random", "10%"), ("full", None)]):
        losses = [2.125 + place / 8, 2.25 + place / 8]
        for seed, loss in enumerate(losses):
            arms.append(_arm(method, budget, seed, loss))
        spread = {"mean": sum(losses) / 2, "sd": 0.0625, "values": losses}
        line = {"method": method, "budget": budget, "seeds": [0, 1], "rows": 6.0, "tokens": 321.0}
        line |= {"answer_tokens": 99.0, "steps": 4.0, "seconds": 1.5, "metrics": {"loss": spread}}
        summary.append(line)
    retained = {"method": name, "budget": "10%", "measure": "loss", "share": 0.75, "low": 0.5}
    retained |= {"high": 1.125, "seeds": 2, "full_seeds": 2, "rows": 8}
    bare = {**retained, "method": "random", "share": None, "low": None, "high": None}
    record = {
        "pool": {"rows": 60, "tokens": 3055, "left_out": {"too long": 1}},
        "evaluation": {"rows": 8, "ids": [f"e{i}" for i in range(8)], "left_out": {}},
        "overlaps": [{"id": name, "evaluation": "e1", "kind": "exact", "text": name, "holders": 1}],
        "notes": [name],
        "measures": {"loss": "lower"},
        "match": "epochs",
        "steps": None,
        "untuned": {"metrics": {"loss": 3.5}, "values": {"loss": [3.5] * 8}, "missing": {}},
        "arms": arms,
        "summary": summary,
        "pairs": [_verdict(name, "random", "better"), _verdict(name, "full", "not shown")],
        "retention": [retained, bare],
        "shared_ledger": LEDGER,
    }
    put(folder, "compare.json", record)
    inputs = [{"path": "pool.jsonl", "format": "messages", "rows": 60, "blake2b": "00"}]
    counts = {"kept": 60, "rejected": 0, "left_out": {}, "arms": 6}
    about = {"counts": counts, "inputs": inputs, "left_out": [], "model": MODEL}
    put(folder, "manifest.json", {**about, "ledger": LEDGER, "versions": {}})
    return folder


def _arm(method: str, budget: str | None, seed: int, loss: float) -> dict[str, Any]:
    seconds = {"setup": 0.25, "train": 1.25, "save": 0.125}
    training = {"rows": 6, "steps": 4, "tokens_seen": 963, "seconds": seconds}
    about = {"name": f"{method}-{budget}-s{seed}", "method": method, "budget": budget, "seed": seed}
    return {
        **about,
        **{"rows": 6, "tokens": 321, "answer_tokens": 99},
        **{"training": training, "training_loss": 1.875, "metrics": {"loss": loss}},
        **{"values": {"loss": [loss] * 8}, "missing": {}, "notes": [], "ledger": LEDGER},
    }


def _verdict(one: str, other: str, verdict: str) -> dict[str, Any]:
    found = {"difference": -0.125, "low": -0.25, "high": -0.0078125, "level": 0.95, "p": 0.01}
    about = {"methods": [one, other], "budget": "10%", "measure": "loss", "better": "lower"}
    design = {"seeds": 2, "anecdote": False, "rows": 8, "could_have_seen": 0.21875}
    return {**about, **found, "p_holm": 0.02, "verdict": verdict, **design}


def stream_run(folder: Path, task: str = "sums") -> Path:
    """Three tasks, two methods, one order and seed, one measure."""
    tasks = [task, "poems", "facts"]
    arms = [_stream_arm(method, tasks, at) for at, method in enumerate(("inscl", "random"))]
    spread = {"mean": -2.5, "sd": None, "values": [-2.5]}
    summary = [
        {"method": arm["method"], "order": "given", "measure": "loss", "arms": 1}
        | {"AP": spread, "BWT": {**spread, "mean": 0.125}, "RG": None}
        for arm in arms
    ]
    pair = {"methods": ["inscl", "random"], "order": "given", "number": "AP", "measure": "loss"}
    pair |= {"difference": 0.0625, "low": -0.03125, "high": 0.15625, "level": 0.95, "seeds": 1}
    record = {
        "tasks": [{"task": name, "train": 12, "test": 8, "held_out": []} for name in tasks],
        "measures": ["loss"],
        "base": {name: {"loss": 3.75} for name in tasks},
        "experts": {name: {"loss": 2.875} for name in tasks},
        "arms": arms,
        "summary": summary,
        "pairs": [pair],
        "rehearsed": {},
        "shared_ledger": LEDGER,
    }
    put(folder, "stream.json", record)
    inputs = [{"path": "sums.jsonl", "format": "messages", "rows": 60, "blake2b": "00"}]
    about = {"counts": {"kept": 60}, "inputs": inputs, "left_out": [], "model": MODEL}
    put(folder, "manifest.json", {**about, "ledger": LEDGER, "versions": {}})
    return folder


def _stream_arm(method: str, tasks: list[str], at: int) -> dict[str, Any]:
    replayed = {"task": tasks[0], "available": 12, "weight": 0.40625, "share": 0.625}
    replayed |= {"quota": 5, "replayed": 5, "tokens": 432, "rows": []}
    distances = {"tasks": tasks[:2], "matrix": [[0.0, 0.46875], [0.46875, 0.0]], "how": "exact"}
    replay = {"rows": 5, "allowed": 5, "tasks": [replayed], "notes": []}
    if method == "inscl":
        replay["distances"] = distances
    stages = [{"round": t, "task": name, "replay": None} for t, name in enumerate(tasks)]
    stages[1]["replay"] = replay
    forgotten = {tasks[0]: 0.28125 + at, tasks[1]: -0.09375}
    matrix = [[3.125, 3.5, None], [3.25, 2.75, 3.375], [3.40625, 2.65625, 2.5]]
    about = {"name": f"{method}-given-s0", "method": method, "order": "given", "seed": 0}
    numbers = {"loss": {"AP": -2.5, "forgotten": forgotten}}
    return {
        **about,
        "tasks": tasks,
        "matrix": {"loss": matrix},
        "metrics": numbers,
        "stages": stages,
    }
