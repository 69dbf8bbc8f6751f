"""One input → its usable rows, one by one, and what is known of it when all were read."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from modicum.errors import InputError, OptionError
from modicum.pool import RawRow, Rejected, SourceFile, Turn
from modicum.readers.arrays import array_rows
from modicum.readers.columnar import columnar_rows, open_columnar
from modicum.readers.formats import ACCEPTED, FORMATS, Columns, Reading, read_row
from modicum.readers.found import Fault, Found, some
from modicum.readers.hub import open_hub
from modicum.readers.labels import choices_of, gold_of, source_of, tags_of, task_of
from modicum.readers.layout import layout, text_start
from modicum.readers.lines import json_lines
from modicum.readers.sources import HUB, Input
from modicum.readers.streams import DAMAGED, compression, file_hash, open_bytes
from modicum.readers.tables import csv_header, csv_rows
from modicum.readers.turns import BadRow, as_text
from modicum.runs import whole_object

_SURROGATE = re.compile("[\ud800-\udfff]")
_COLUMNS = 10_000  # that are remembered of an input
_NO_COLUMN = {
    "messages": "no messages",
    "sharegpt": "no conversations",
    "alpaca": "no instruction",
    "prompt-completion": "no prompt",
}


class Read(NamedTuple):
    """What one input gave beside its usable rows; rejected rows are the others."""

    rejected: list[Rejected]
    file: SourceFile
    columns: frozenset[str]


class _Open(NamedTuple):
    columns: list[str]  # of a table; the rows of JSON say their own
    rows: Iterator[Found]
    ending: str
    hash: str


def read_input(
    one: Input, number: int, columns: Columns, format: str | None, take: Callable[[RawRow], None]
) -> Read:
    """Read one input as file `number` of a pool, and let `take` have its usable rows in order.

    One that is not readable raises `InputError`, some of its rows taken.
    """
    tally = _Tally(one, number, columns, format, take)
    try:
        with _open(one, columns) as opened:
            tally.see(opened.columns)
            for found in opened.rows:
                tally.add(found)
    except DAMAGED as error:
        raise InputError(f"{one.path} cannot be read to its end: {error}") from error
    return tally.read(opened.ending, opened.hash)


@contextmanager
def _open(one: Input, columns: Columns) -> Iterator[_Open]:
    wanted = columns.read()
    if one.path.startswith(HUB):
        split, made = open_hub(one.path)
        yield _Open(split.schema.names, columnar_rows(split, wanted), one.ending, made)
        return
    ending, made = one.ending + compression(one.path), file_hash(one.path)
    if one.ending in (".parquet", ".arrow"):
        with open_columnar(one.path, one.ending, wanted) as table:
            yield _Open(table.schema.names, columnar_rows(table, wanted), ending, made)
        return
    names, rows = _text_rows(one)
    with open_bytes(one.path) as stream:
        yield _Open(names, rows(stream), ending, made)


def _text_rows(one: Input) -> tuple[list[str], Any]:
    if one.ending == ".csv":
        start = text_start(one.path)
        with open_bytes(one.path) as stream:
            header = csv_header(stream, one.path, start)
        return header.columns, lambda stream: csv_rows(stream, one.path, start)
    start, array = layout(one.path)
    if array:
        return [], lambda stream: array_rows(stream, one.path, start)
    return [], lambda stream: json_lines(stream, start)


@dataclass
class _Tally:
    """What the rows of one input have given so far."""

    one: Input
    number: int
    columns: Columns
    format: str | None
    take: Callable[[RawRow], None]
    count: int = 0
    rejected: list[Rejected] = field(default_factory=list)
    formats: set[str] = field(default_factory=set)
    seen: dict[str, None] = field(default_factory=dict)  # columns, in the order met
    same: dict[str, None] = field(default_factory=dict)  # columns that repeat another format's
    strange: list[int] = field(default_factory=list)  # rejected rows whose columns fit no format
    replaced: int = 0
    labelled: bool = False

    def see(self, names: Iterable[str]) -> None:
        """Remember the names of columns; of a row with a million, as many as are of use."""
        for name in names:
            new = name not in self.seen
            if new and (len(self.seen) < _COLUMNS or name in self.columns.read()):
                self.seen[valid(str(name))] = None

    def add(self, found: Found) -> None:
        """Take one more row of the input in."""
        self.count += 1
        if isinstance(found.value, Fault):
            self._reject(found, found.value)
        elif isinstance(found.value, dict):
            self._add_object(found, found.value)
        else:
            self._reject(found, _not_an_object(found.value))

    def read(self, ending: str, hash: str) -> Read:
        """Close the books, or refuse an input of which no row fits any format."""
        if not self.count:
            raise InputError(f"{self.one.path} has no rows; leave it out, or put rows in")
        if self.strange and not self.formats:
            raise self._no_format()
        for place in self.strange:
            reason = _NO_COLUMN[min(self.formats)] if len(self.formats) == 1 else "no known columns"
            self.rejected[place] = self.rejected[place]._replace(reason=reason)
        named = "+".join(name for name in FORMATS if name in self.formats) or "unknown"
        file = SourceFile(
            self.one.path,
            named,
            ending,
            self.count,
            hash,
            self._notes(),
            self.columns.found(self.seen, named),
        )
        return Read(self.rejected, file, frozenset(self.seen))

    def _add_object(self, found: Found, row: dict[str, Any]) -> None:
        self.see(row)
        if self.format is None:
            self._refuse_preferences(row)
        reading = read_row(row, self.columns, self.format)
        if reading.differs:
            raise self._two_readings(found, reading)
        if not reading.format:
            self.strange.append(len(self.rejected))
        else:
            self.formats.add(reading.format)
            self.same.update(dict.fromkeys(reading.same))
            self.labelled = self.labelled or isinstance(row.get("label"), bool)
        if isinstance(reading.turns, Fault):
            self._reject(found, reading.turns)
            return
        try:
            self._keep(found, row, reading.turns)
        except BadRow as bad:
            self._reject(found, bad.fault)

    def _keep(self, found: Found, row: Mapping[str, Any], turns: tuple[Turn, ...]) -> None:
        choices = choices_of(row, self.columns) or ()
        texts = (
            _own_id(row, self.columns),
            self._source(row),
            self._instruction(row, turns),
            task_of(row, self.columns),
            gold_of(row, self.columns, bool(choices)),
            *(tags := tags_of(row, self.columns) or ()),
            *choices,
        )
        valid_texts = tuple(text and valid(text) for text in texts)
        id, source, instruction, task, gold, *_ = valid_texts
        clean = turns
        if not all(turn.content.isascii() for turn in turns):
            clean = tuple(turn._replace(content=valid(turn.content)) for turn in turns)
        self.replaced += clean != turns or valid_texts != texts
        place = (self.number, found.row, found.start, found.end)
        told, possible = (tuple(map(valid, each)) or None for each in (tags, choices))
        labels = (task, told, possible, gold)
        self.take(RawRow(id, source or "", instruction or "", clean, *place, *labels))

    def _source(self, row: Mapping[str, Any]) -> str:
        own = None if self.one.named else source_of(row, self.columns)
        return own or self.one.source

    def _instruction(self, row: Mapping[str, Any], turns: tuple[Turn, ...]) -> str:
        own = self.columns.get(row, "instruction")
        if "instruction" in self.columns.mapped:
            own = as_text(own, self.columns.mapped["instruction"])
        if isinstance(own, str) and own.strip():
            return own
        return next(turn.content for turn in turns if turn.role == "user")

    def _reject(self, found: Found, fault: Fault) -> None:
        self.rejected.append(Rejected(self.one.path, found.row, fault.reason, valid(fault.detail)))

    def _notes(self) -> tuple[str, ...]:
        kept = next(name for name in (*FORMATS, "") if name in self.formats or not name)
        replaced = self.replaced
        notes = {
            f"columns {', '.join(self.same)} say the same as {kept}": self.same,
            f"rows with a lone surrogate (in the pool U+FFFD, in a subset unchanged): {replaced}": (
                replaced
            ),
            "column label is true or false: rows marked false are kept": self.labelled,
        }
        return tuple(note for note, holds in notes.items() if holds)

    def _refuse_preferences(self, row: Mapping[str, Any]) -> None:
        chosen, mapped = row.get("chosen"), self.columns.mapped.values()
        if chosen is None or row.get("rejected") is None or {"chosen", "rejected"} & set(mapped):
            return
        asked = [n for n in ("prompt", "conversations", "messages", "instruction") if n in row]
        side = f"--format prompt-completion --fields prompt={(asked or ['COLUMN'])[0]},completion="
        if isinstance(chosen, list) and len(chosen) > 1:
            side = "--format messages --fields messages="
        raise InputError(
            f"{self.one.path} holds preferences (columns chosen and rejected), not one answer a "
            f"row; choose a side: {side}chosen"
        )

    def _two_readings(self, found: Found, reading: Reading) -> InputError:
        return InputError(
            f"{self.one.path}:{found.row}: its {reading.format} and {reading.differs} columns give "
            f"different turns; pass --format {reading.format} or --format {reading.differs}"
        )

    def _no_format(self) -> InputError | OptionError:
        path, found = self.one.path, some(self.seen)
        if absent := [name for name in self.columns.mapped.values() if name not in self.seen]:
            return OptionError(f"{path} has no column {', '.join(absent)}; it has {found}")
        if self.count == 1 and self.one.ending.startswith(".json"):
            return InputError(
                f"{path} is one object with the keys {found}; rows are read from a top-level "
                f"array or one object a line, with {ACCEPTED}"
            )
        wanted = f"what --format {self.format} needs" if self.format else f"any of: {ACCEPTED}"
        return InputError(
            f"{path} has the columns {found}, and no row has {wanted}; "
            f"name yours with --fields, as in {_example(Path(path))}"
        )


def _example(path: Path) -> str:
    """How columns are named; for a file of a run folder as its own line named them."""
    fields = (whole_object(path.parent / "command.json") or {}).get("fields")
    if not (isinstance(fields, dict) and fields):
        return "--fields instruction=COLUMN,output=COLUMN"
    named = ",".join(f"{role}={column}" for role, column in fields.items())
    return f"the line that wrote it: --fields {shlex.quote(named)}"


def valid(text: str) -> str:
    """Text that UTF-8 can hold: half a surrogate pair becomes U+FFFD."""
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


def _own_id(row: Mapping[str, Any], columns: Columns) -> str | None:
    own = columns.get(row, "id")
    return None if isinstance(own, list | dict) else as_text(own, "id") or None


def _not_an_object(value: object) -> Fault:
    if isinstance(value, str):
        try:
            inner = json.loads(value)
        except (ValueError, RecursionError):
            inner = None
        if isinstance(inner, dict | list):
            return Fault("encoded twice", "a string that holds JSON")
    return Fault("not an object", repr(value)[:60])
