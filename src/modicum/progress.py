"""How far a job is: bars with rate and time left on a terminal, and a log of finished parts."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from modicum.visible import visible

_PATIENCE = 1.0  # seconds of work before a bar appears
_LOG = logging.getLogger("modicum")


@contextmanager
def progress(what: str, total: int, unit: str = "rows") -> Iterator[Callable[[int], None]]:
    """Give a function that counts finished work; it draws if standard error is a terminal."""
    if not sys.stderr.isatty():
        yield lambda done: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    rate = TextColumn("{task.fields[rate]}")
    bar = Progress(
        TextColumn("{task.description}", markup=False),  # it may name a task of the user's
        BarColumn(),
        TextColumn(f"{{task.completed:,.0f}}/{{task.total:,.0f}} {unit}"),
        rate,
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    task = bar.add_task(" ".join(visible(what).split()), total=total, rate="")
    began, done, drawn = time.monotonic(), 0, False

    def advance(more: int) -> None:
        nonlocal done, drawn
        done += more
        taken = time.monotonic() - began
        if not drawn and taken > _PATIENCE and done < total:
            bar.start()
            drawn = True
        bar.update(task, completed=done, rate=f"{done / max(taken, 1e-9):,.1f}/s")

    try:
        yield advance
    finally:
        if drawn:
            bar.stop()


def reached(part: str, name: str, found: Mapping[str, float]) -> None:
    """Log that a part of a long job is done ("3 of 14 arms"), and the first figure it found.

    The logger is `modicum`, the level INFO: a program sees it if it asks to, and the command line
    writes it to standard error.
    """
    figure = "".join(f", {key} {value:.4f}" for key, value in list(found.items())[:1])
    _LOG.info("%s: %s%s", part, name, figure)
