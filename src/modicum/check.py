"""What is in a pool: what `modicum check` prints, for people and for machines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from modicum.errors import AlignmentError
from modicum.overlap import exact_duplicates, near_duplicates
from modicum.pool import Pool, Rejected

if TYPE_CHECKING:
    from rich.console import Console

PERCENTILES = (5, 50, 90, 99)
_SHOWN = 5
_NO_ANSWER = "no answer token"


class Lengths(NamedTuple):
    """Tokens of each row under a model's template, as `modicum.render` counts them."""

    tokens_N: np.ndarray
    answer_N: np.ndarray
    limit: int | None = None  # tokens that a row may have
    errors: Mapping[int, str] = {}  # rows that could not be rendered, and why


class FileReport(NamedTuple):
    """One input: `rows` is `good` plus `bad`."""

    path: str
    format: str
    rows: int
    good: int
    bad: int
    reasons: dict[str, int]
    notes: tuple[str, ...]


class Spread(NamedTuple):
    """Percentiles that are values of real rows, and the total. No rows: percentiles are None."""

    p5: int | None
    p50: int | None
    p90: int | None
    p99: int | None
    max: int | None
    total: int


class Tokens(NamedTuple):
    """How long the rows are; rows without an answer token are in `unusable` and not counted."""

    all: Spread
    answers: Spread
    limit: int | None
    too_long: tuple[str, ...]  # ids
    unusable: dict[str, str]  # id: reason


class Duplicates(NamedTuple):
    """Groups of rows that say the same; `rows` counts every member."""

    groups: int
    rows: int
    first: tuple[tuple[str, ...], ...]  # the first few groups, each row as `file:row`


@dataclass(frozen=True)
class Report:
    """What is in a pool. `ok` is False if any row is bad or cannot be rendered."""

    files: tuple[FileReport, ...]
    sources: dict[str, int]
    exact: Duplicates
    near: Duplicates  # the exact ones included
    repeated_ids: tuple[str, ...]
    rejected: tuple[Rejected, ...] = field(repr=False)
    tokens: Tokens | None = None
    unreadable: tuple[str, ...] = ()  # why, of each file that is not in the report

    @property
    def ok(self) -> bool:
        """No bad row or file, and no row that the model's template leaves without an answer."""
        unusable = self.tokens and self.tokens.unusable
        return not (self.rejected or self.unreadable or unusable)

    def to_json(self) -> dict[str, object]:
        """The whole report in types that `json.dumps` takes."""
        keys = FileReport._fields[:-1]
        return {
            "ok": self.ok,
            "files": [{key: getattr(file, key) for key in keys} for file in self.files],
            "notes": {file.path: list(file.notes) for file in self.files if file.notes},
            "sources": self.sources,
            "tokens": _tokens_json(self.tokens) if self.tokens else None,
            "exact_duplicates": _duplicates_json(self.exact),
            "near_duplicates": _duplicates_json(self.near),
            "repeated_ids": list(self.repeated_ids),
            "bad_rows": [row._asdict() for row in self.rejected],
            "unreadable_files": list(self.unreadable),
        }

    def lines(self) -> list[str]:
        """The report for people, a line at a time, without colour or markup."""
        made = [*_file_lines(self.files), *_source_lines(self.sources)]
        if self.tokens:
            made += _token_lines(self.tokens)
        made += _duplicate_lines("exact duplicates", self.exact)
        made += _duplicate_lines("near duplicates", self.near, self.exact.groups)
        if self.repeated_ids:
            count = f"{len(self.repeated_ids):,} (their rows are named by content)"
            made += [f"repeated ids      {count}", *_first(self.repeated_ids)]
        made += [f"bad rows          {len(self.rejected):,}"]
        made += _first([str(row) for row in self.rejected])
        if self.unreadable:
            made += [f"unreadable files  {len(self.unreadable):,}", *_first(self.unreadable)]
        return made


def check(pool: Pool, lengths: Lengths | None = None, unreadable: Sequence[str] = ()) -> Report:
    """Count what a pool holds and what is wrong with it; nothing is changed.

    `lengths` adds token counts, rows above the limit and rows without an answer token. Lengths of
    another number of rows raise `AlignmentError`. `unreadable` is why files are not in the pool.
    """
    return Report(
        files=_files(pool),
        sources=dict(Counter(pool.sources)),
        exact=_duplicates(pool, exact_duplicates(pool)),
        near=_duplicates(pool, near_duplicates(pool)),
        repeated_ids=pool.repeated_ids,
        rejected=pool.rejected,
        tokens=_tokens(pool, lengths) if lengths else None,
        unreadable=tuple(unreadable),
    )


def print_report(report: Report, console: Console) -> None:
    """Print the report's lines as they are: no wrapping, and no markup read into file names."""
    for line in report.lines():
        console.print(line, markup=False, highlight=False, emoji=False, soft_wrap=True)


def spread(counts_M: np.ndarray) -> Spread:
    """Percentiles by the nearest rank (the value of a real row), the largest and the sum."""
    if not len(counts_M):
        return Spread(None, None, None, None, None, 0)
    ranks = np.percentile(counts_M, PERCENTILES, method="inverted_cdf")
    p5, p50, p90, p99 = (int(value) for value in ranks)
    return Spread(p5, p50, p90, p99, int(counts_M.max()), int(counts_M.sum(dtype=np.int64)))


def _files(pool: Pool) -> tuple[FileReport, ...]:
    good = Counter(pool.table["file"].to_pylist())
    reasons: dict[str, Counter[str]] = {file.path: Counter() for file in pool.files}
    for row in pool.rejected:
        reasons.setdefault(row.path, Counter())[row.reason] += 1
    return tuple(
        FileReport(
            file.path,
            file.format,
            file.rows,
            good[number],
            reasons[file.path].total(),
            dict(reasons[file.path].most_common()),
            file.notes,
        )
        for number, file in enumerate(pool.files)
    )


def _tokens(pool: Pool, lengths: Lengths) -> Tokens:
    for name, counts_N in (("tokens_N", lengths.tokens_N), ("answer_N", lengths.answer_N)):
        if counts_N.shape != (len(pool),):
            raise AlignmentError(
                f"{name} has shape {counts_N.shape} but the pool has {len(pool)} rows; "
                "render this pool again"
            )
    empty = {int(position): _NO_ANSWER for position in np.flatnonzero(lengths.answer_N == 0)}
    unusable = dict(sorted((empty | dict(lengths.errors)).items()))
    usable_N = np.ones(len(pool), dtype=bool)
    usable_N[list(unusable)] = False
    above_N = usable_N & (lengths.tokens_N > (lengths.limit or np.inf))
    return Tokens(
        all=spread(lengths.tokens_N[usable_N]),
        answers=spread(lengths.answer_N[usable_N]),
        limit=lengths.limit,
        too_long=tuple(pool.ids[position] for position in np.flatnonzero(above_N)),
        unusable={pool.ids[position]: reason for position, reason in unusable.items()},
    )


def _duplicates(pool: Pool, groups: list[list[int]]) -> Duplicates:
    first = tuple(tuple(pool.where(row) for row in group) for group in groups[:_SHOWN])
    return Duplicates(len(groups), sum(len(group) for group in groups), first)


def _tokens_json(tokens: Tokens) -> dict[str, object]:
    return {
        **tokens.all._asdict(),
        "answers": tokens.answers._asdict(),
        "limit": tokens.limit,
        "too_long": list(tokens.too_long),
        "unusable": tokens.unusable,
    }


def _duplicates_json(found: Duplicates) -> dict[str, object]:
    first = [list(group) for group in found.first]
    return {"groups": found.groups, "rows": found.rows, "first": first}


def _file_lines(files: Sequence[FileReport]) -> Iterator[str]:
    paths = max((len(file.path) for file in files), default=0)
    formats = max((len(file.format) for file in files), default=0)
    for file in files:
        yield (
            f"{file.path:<{paths}}  {file.format:<{formats}}  {file.rows:>9,} rows"
            f"  {file.good:>9,} good  {file.bad:>9,} bad"
        )
        yield from (f"  {count:>9,}  {reason}" for reason, count in file.reasons.items())
        yield from (f"  note: {note}" for note in file.notes)


def _source_lines(sources: dict[str, int]) -> Iterator[str]:
    if len(sources) > 1:
        yield f"sources           {len(sources):,}"
        largest = sorted(sources.items(), key=lambda each: (-each[1], each[0]))
        yield from _first([f"{count:>9,}  {name}" for name, count in largest])


def _token_lines(tokens: Tokens) -> Iterator[str]:
    yield " " * 10 + "".join(f"{name:>12}" for name in Spread._fields)
    for name, counts in (("tokens", tokens.all), ("of answers", tokens.answers)):
        cells = ("–" if value is None else f"{value:,}" for value in counts)
        yield f"{name:<10}" + "".join(f"{cell:>12}" for cell in cells)
    if tokens.limit is not None:
        yield f"too long          {len(tokens.too_long):,} (above {tokens.limit:,} tokens)"
        yield from _first(tokens.too_long)
    if tokens.unusable:
        yield f"not renderable    {len(tokens.unusable):,}"
        yield from _first([f"{id}: {reason}" for id, reason in tokens.unusable.items()])


def _duplicate_lines(name: str, found: Duplicates, exact: int = 0) -> Iterator[str]:
    among = ", the exact ones among them" if exact else ""
    groups = f"{found.groups:,} group{'s' * (found.groups != 1)}"
    yield f"{name:<18}{groups}, {found.rows:,} rows{among}"
    shown = [", ".join(_first(group, indent="")) for group in found.first]
    yield from _first(shown, found.groups)


def _first(items: Sequence[str], total: int | None = None, indent: str = "  ") -> Iterator[str]:
    yield from (f"{indent}{item}" for item in items[:_SHOWN])
    left = (len(items) if total is None else total) - min(len(items), _SHOWN)
    if left > 0:
        yield f"{indent}… and {left:,} more"
