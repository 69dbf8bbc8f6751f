"""Commands that look at what a run left: show."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from modicum.cli.options import Json, print_json


def show_command(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a select or score.")],
    row: Annotated[
        str | None,
        typer.Argument(
            metavar="ROW",
            help="Its id, its position from 0, '#1' for the first pick, or file:row of a bad one.",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Explain one row of a run: its scores among all, whether it was picked, and why."""
    from modicum.jobs.explain import run_explain
    from modicum.show_selection import explained

    known = run_explain(run, row)
    print_json(known) if as_json else explained(known)
