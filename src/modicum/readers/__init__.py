"""readers: files and data sets of the hub → one pool, and the chosen rows back out.

Every row of an input is either an example of the pool or in `pool.rejected` with a reason:
`SourceFile.rows` counts both. Rows keep the order of their inputs, and of the rows in them. An
input that cannot be read as a whole, has no rows, or has none with the columns of a known format
raises `InputError`; one whose rows are all bad does not. The content decides what a file is:
compression by its first bytes, JSON lines or an array by its text, the format row by row.

    sources    what was named → inputs        found      a row where it lies
    streams    bytes, compressed or not       lines, arrays, tables, columnar, hub → rows
    layout     how a text begins              formats, turns     a row → turns, or why not
    labels     a row → its task, tags, choices inputs    one input, counted
    back       positions → files like the inputs
    shape      turns → a row as another file has it
    target     the file that rows are mixed into, its Arrow schema      schema
    raw        rows as their file holds them  further    their columns beside the turns
    fit        a row written anew             incoming   rows as they are or anew
    gathered   usable rows → the table of a pool
    mix        old rows among those of a new file
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from modicum.errors import InputError, OptionError
from modicum.pool import Pool
from modicum.readers.back import write_back

__all__ = ["read", "write_back"]


def read(
    paths: Sequence[str],
    *,
    format: str | None = None,
    fields: Mapping[str, str] | None = None,
    answers: bool = True,
    unreadable: list[str] | None = None,
) -> Pool:
    """Read files, folders, globs, `name=path` and `hf://org/name[:config][@split]`.

    `format` (alpaca, sharegpt, messages, prompt-completion) overrides what the columns say;
    `fields` maps instruction, input, output, system, messages, conversations, prompt, completion,
    id, source, task, tags, choices and gold to columns. An unknown name, or a column that no row
    has, raises `OptionError`.
    With `answers=False`, for evaluation questions, rows need no answer and no order of turns.
    A file that cannot be read raises `InputError`; with `unreadable` it is told there, and the
    others are read, if there are any.
    """
    from modicum.readers.formats import columns_of
    from modicum.readers.found import some
    from modicum.readers.gathered import Gathered
    from modicum.readers.inputs import Read, read_input
    from modicum.readers.sources import find

    columns = columns_of(fields or {}, format, answers)
    found, inputs, gathered = find(paths), list[Read](), Gathered()
    for one in found:
        before = 0 if unreadable is None else gathered.mark()
        try:
            inputs.append(read_input(one, len(inputs), columns, format, gathered.add))
        except (InputError, OptionError) as error:
            if unreadable is None or len(found) == 1:
                raise
            gathered.cut(before)
            unreadable.append(str(error))
    if not inputs:
        raise InputError("; ".join(unreadable or ()))
    seen = frozenset[str]().union(*(one.columns for one in inputs))
    absent = [name for name in columns.mapped.values() if name not in seen]
    if absent and seen and not unreadable:  # else it may stand in one that is not read
        raise OptionError(
            f"no row has a column {', '.join(absent)}; columns are {some(sorted(seen))}"
        )
    table, repeated = gathered.table()
    rejected = tuple(bad for one in inputs for bad in one.rejected)
    return Pool(table, tuple(one.file for one in inputs), rejected, repeated)
