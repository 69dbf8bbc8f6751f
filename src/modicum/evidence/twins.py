"""Rows of a pool, or of a target, that are held out as well."""

from __future__ import annotations

from collections.abc import Sequence

from modicum.errors import InputError
from modicum.overlap import Overlap, asked, decontaminate
from modicum.pool import Example, Pool


def aimed_at(target: Pool | None, evaluation: Pool, notes: list[str]) -> Pool | None:
    """The target without rows of the exam: who aims at those is examined on what it was told."""
    if target is None:
        return None
    held_out = the_same(target, evaluation, decontaminate(target, evaluation))
    kept = [i for i in range(len(target)) if i not in held_out]
    if not kept:
        raise InputError("--target and --eval hold the same rows; aim at others than the exam's")
    if len(kept) < len(target):
        left = len(target) - len(kept)
        notes.append(f"{left:,} of {len(target):,} rows of --target are held out, and not aimed at")
    return target.take(kept)


def overlap_notes(overlaps: Sequence[Overlap], pool: Pool, evaluation: Pool) -> list[str]:
    """What the pool shares with the held-out rows, a line for each kind."""
    same, notes = the_same(pool, evaluation, overlaps), list[str]()
    kinds = {
        "ask what a held-out row asks, and are left out of the pool": [
            each for each in overlaps if each.position in same
        ],
        "share 13 words in a row with a held-out row, or its user's words, and stay, for a task's "
        "instruction may be the same in many rows": [
            each for each in overlaps if each.position not in same
        ],
    }
    for what, found in kinds.items():
        if found:
            first = found[0]
            notes.append(
                f"{len(found):,} of {len(pool):,} rows {what} (the first: "
                f"{pool.where(first.position)} and {evaluation.where(first.evaluation)})"
            )
    return notes


def the_same(pool: Pool, evaluation: Pool, overlaps: Sequence[Overlap]) -> dict[int, str]:
    """Rows that ask what a held-out row asks, under the same system turn, if there is one."""
    exact = [each.position for each in overlaps if each.kind == "exact"]
    held_out = dict[tuple[str, ...], int]()
    for i, example in enumerate(evaluation if exact else ()):
        held_out.setdefault(_task_of(example), i)
    twins = {position: held_out.get(_task_of(pool[position])) for position in exact}
    return {
        position: f"held out as well: {evaluation.where(twin)}"
        for position, twin in twins.items()
        if twin is not None
    }


def _task_of(example: Example) -> tuple[str, ...]:
    """All that a row asks: its user's words, and its system turns as they stand."""
    return asked(example), *(turn.content for turn in example.turns if turn.role == "system")
