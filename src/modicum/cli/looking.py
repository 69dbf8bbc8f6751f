"""Commands that look at what a run left, or at the machine: show, doctor."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from modicum.cli.options import Json, print_json
from modicum.errors import OptionError


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


def doctor_command(
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="[DIR]",
            help="A run, a tuned model, a store or a cache, to be looked at for damage.",
            show_default=False,
        ),
    ] = None,
    fast: Annotated[bool, typer.Option("--fast", help="Do not time matrix products.")] = False,
    as_json: Json = False,
) -> None:
    """Say what is here (versions, devices, caches), or whether a folder is damaged."""
    from modicum.jobs.doctor import run_doctor
    from modicum.show_doctor import doctor

    if fast and folder is not None:
        raise OptionError(f"--fast is for the machine: leave it out, or {folder}")
    found = run_doctor(folder, fast)
    print_json(found) if as_json else doctor(found)
    raise typer.Exit(0 if found["ok"] else 1)
