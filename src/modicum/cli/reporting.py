"""Commands about a finished run's page: report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from modicum.cli.options import Json, print_json
from modicum.visible import visible


def report_command(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="DIR", help="What select, score, compare or stream left.", show_default=False
        ),
    ],
    as_json: Json = False,
) -> None:
    """Make report.html of a run again, from the files in its folder."""
    from modicum.jobs.report import run_report

    path = run_report(folder)
    print_json({"report": str(path)}) if as_json else typer.echo(visible(str(path)))
