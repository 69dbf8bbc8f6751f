"""Which inputs a command reads, and what is done about bad rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from modicum.errors import InputError, OptionError
from modicum.pool import Pool

_SHOWN = 3  # bad rows named in an error


@dataclass(frozen=True)
class Reading:
    """Which inputs, and how they are to be understood."""

    paths: tuple[str, ...]
    format: str | None = None
    fields: Mapping[str, str] | None = None
    skip_bad: bool = False
    answers: bool = True  # False: questions alone will do
    option: str = "--fields"  # how the user says which column holds what

    def read(self) -> Pool:
        """The pool. Bad rows are refused, or with `skip_bad` left in `Pool.rejected`."""
        from modicum.readers import read

        try:
            pool = read(self.paths, format=self.format, fields=self.fields, answers=self.answers)
        except (InputError, OptionError) as error:
            raise type(error)(str(error).replace("--fields", self.option)) from error
        bad = len(pool.rejected)
        if not len(pool):
            raise InputError(f"none of the {bad:,} rows can be used; the first: {pool.rejected[0]}")
        if bad and not self.skip_bad:
            shown = "; ".join(str(row) for row in pool.rejected[:_SHOWN])
            more = f"; and {bad - _SHOWN:,} more" if bad > _SHOWN else ""
            raise InputError(
                f"{bad:,} of {len(pool) + bad:,} rows cannot be used: {shown}{more}. "
                "`modicum check` counts them by reason; --skip-bad sets them aside"
            )
        return pool


def read_other(paths: Sequence[str], reading: Reading, answers: bool = True) -> Pool | None:
    """Rows beside the pool: read as the pool is told to be, or by their own known columns."""
    if not paths:
        return None
    own = Reading(tuple(paths), skip_bad=reading.skip_bad, answers=answers)
    if not (reading.format or reading.fields):
        return own.read()
    try:
        return replace(reading, paths=tuple(paths), answers=answers).read()
    except OptionError:  # it has no such columns
        return _by_known_columns(own)
    except InputError as error:
        try:
            return own.read()
        except InputError:
            raise error from None


def _by_known_columns(own: Reading) -> Pool:
    try:
        return own.read()
    except InputError as error:
        said, asks, _ = str(error).partition("; name yours with --fields")
        if not asks:
            raise
        # --fields names the pool's columns, and cannot name two files' differently.
        way_out = "call its columns as the pool's are called, or instruction and output"
        raise InputError(f"{said}; {way_out}") from error
