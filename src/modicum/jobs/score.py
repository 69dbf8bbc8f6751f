"""`modicum score`: from files to a folder with a number for every row."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modicum.jobs.folders import Done, once, shared, stem
from modicum.jobs.reading import Reading

if TYPE_CHECKING:
    from modicum.models import Model
    from modicum.scale import Engine


def run_score(
    reading: Reading,
    out: Path | None,
    *,
    scores: Sequence[str],
    model: Model,
    too_long: Any,
    max_tokens: int | None,
    engine: str | Engine = "local",
) -> Done:
    """`modicum score`."""
    from modicum.output import write_scores
    from modicum.question import decided_by
    from modicum.scoring import score, scorers

    parts = scorers(scores)
    pool = reading.read()
    command = {
        "command": "score",
        "scores": [part.name for part in parts],
        "parts": [decided_by(part, model) for part in parts],
        **shared(reading, pool, model, too_long, max_tokens),
    }

    def work(folder: Path) -> None:
        limits: dict[str, Any] = {"too_long": too_long, "max_tokens": max_tokens}
        scored = score(pool, parts, model, **limits, engine=engine)
        write_scores(scored, folder, command)

    return once(out, command, f"{stem(pool)}-scores", work)
