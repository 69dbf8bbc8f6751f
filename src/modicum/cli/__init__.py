"""The command line: parse, call, print."""

from __future__ import annotations

import errno
import logging
import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn, cast

import typer

from modicum.cli import evidence, looking, pools, reporting, tasks
from modicum.errors import ModicumError, OptionError
from modicum.visible import visible

# Typer comes with a click of its own, or with click, by version: this is its UsageError.
_UsageError = cast("type[typer.BadParameter]", typer.BadParameter.__mro__[1])

# What a user may think can be repeated to say more; of other options the last counts, as usual.
_ONCE = (("-m", "--method"), ("-k", "--budget"), ("--order",), ("--measure",), ("--plan",))

_ELSEWHERE = "; choose another -o, or another MODICUM_CACHE"
_WAYS_OUT = {
    errno.ENOSPC: f"{_ELSEWHERE}, or free some space, and run the same line again",
    errno.EACCES: _ELSEWHERE,
    errno.EROFS: _ELSEWHERE,
}

Version = Annotated[bool, typer.Option("--version", help="Print the version, and stop.")]

app = typer.Typer(
    name="modicum",
    help="Choose the few examples worth tuning a language model on.",
    invoke_without_command=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("select")(pools.select_command)
app.command("score")(pools.score_command)
app.command("train")(pools.train_command)
app.command("compare")(evidence.compare_command)
app.command("replay")(tasks.replay_command)
app.command("stream")(tasks.stream_command)
app.command("check")(pools.check_command)
app.command("methods")(pools.methods_command)
app.command("show")(looking.show_command)
app.command("report")(reporting.report_command)
app.command("doctor")(looking.doctor_command)


@app.callback()
def no_command(context: typer.Context, version: Version = False) -> None:
    """Without a command, show the help."""
    if version:
        from modicum import __version__

        typer.echo(f"modicum {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def several(words: list[str]) -> list[str]:
    """`replay --old A B` as `replay --old A --old B`: an option of Typer takes one value."""
    if words[:1] != ["replay"]:
        return words
    made, option = list[str](), ""
    for word in words:
        if option and made[-1] != option and not word.startswith("-"):
            made.append(option)
        elif word.startswith("-"):
            option = word if word in ("--old", "--new") else ""
        made.append(word)
    return made


def refuse_repeated(words: list[str]) -> None:
    """Refuse an option given twice that takes one value: Typer would use the last in silence."""
    for names in _ONCE:
        if sum(word in names or word.startswith(f"{names[-1]}=") for word in words) > 1:
            raise OptionError(f"{names[-1]} is given twice; give it once")


def main() -> NoReturn:
    """Run the command line: 0 done, 1 the answer is no, 2 wrong input, 130 interrupted."""
    # Before torch is imported. By default its threads spin while they wait, and where another
    # program wants a core they spin its turn away: measuring was 6 times slower beside one.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Large blocks go back to the system and come again: with pages of 2 MiB that costs a tenth.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    if not sys.stderr.isatty():  # before any library that draws bars of its own is imported
        os.environ.setdefault("TQDM_DISABLE", "1")
    _follow()
    sys.path.append(str(Path.cwd()))  # for -m module:Object; last, so that it shadows nothing
    try:
        words = several(sys.argv[1:])
        refuse_repeated(words)
        status = app(words, standalone_mode=False, prog_name="modicum")
    except ModicumError as error:
        _complain(str(error))
        status = 2
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _complain(f"{where}{error.strerror or error}{_WAYS_OUT.get(error.errno or 0, '')}")
        status = 2
    except MemoryError:
        _complain(
            "out of memory; give --memory less, shorter rows (--max-tokens), or fewer; what was "
            "finished is kept, and the same line goes on"
        )
        status = 2
    except _UsageError as error:
        if said := error.format_message():  # empty where the help was shown instead
            _complain(f"{said} (see --help)")
        status = 2
    except (KeyboardInterrupt, typer.Abort):
        status = 130
    if status == 130:  # newer versions of Typer return it, older ones raise
        _complain("interrupted; run the same line again to go on")
    sys.exit(status)


class _Follower(logging.Handler):
    """Writes what is logged of a long job to standard error, whatever that is at the time."""

    def emit(self, record: logging.LogRecord) -> None:
        typer.echo(visible(record.getMessage()), err=True)


def _follow() -> None:
    """Say which parts of a long job are done."""
    logger = logging.getLogger("modicum")
    logger.setLevel(logging.INFO)
    if not any(isinstance(each, _Follower) for each in logger.handlers):
        logger.addHandler(_Follower())


def _complain(what: str) -> None:
    typer.echo(f"modicum: {' '.join(visible(what).split())}", err=True)
