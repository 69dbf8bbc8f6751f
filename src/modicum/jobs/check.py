"""`modicum check`: from files to a report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modicum.jobs.reading import Reading

if TYPE_CHECKING:
    from modicum.check import Report
    from modicum.models import Model


def run_check(reading: Reading, model: Model, max_tokens: int | None) -> Report:
    """`modicum check`."""
    from modicum.check import Lengths
    from modicum.check import check as check_pool
    from modicum.meter import Meter
    from modicum.readers import read

    unreadable = list[str]()
    pool = read(reading.paths, format=reading.format, fields=reading.fields, unreadable=unreadable)
    meter = Meter(model, limit=max_tokens)
    rendered = meter.rendered(pool)
    lengths = Lengths(
        rendered.lengths_N, rendered.answer_lengths_N, meter.max_tokens, rendered.errors
    )
    return check_pool(pool, lengths, unreadable)
