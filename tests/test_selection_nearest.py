from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

import numpy as np
import pytest

from modicum.errors import AlignmentError, InputError
from modicum.selection import near_target, nearest

POINTS = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.1], [0.1, 1.0], [-1.0, 0.0], [0.0, 0.0]])


def plain(points: np.ndarray, target: np.ndarray) -> list[int]:
    unit = points / np.linalg.norm(points, axis=1, keepdims=True)
    alike = unit @ (target / np.linalg.norm(target, axis=1, keepdims=True)).T
    taken: list[int] = []
    while len(taken) < len(points):
        order = np.argsort(-alike[:, len(taken) % len(target)], kind="stable")
        taken.append(next(int(row) for row in order if row not in taken))
    return taken


def test_target_rows_take_turns() -> None:
    steps = list(near_target(POINTS, np.array([[0.0, 5.0], [5.0, 0.0]])))
    assert [step.pick for step in steps] == [1, 0, 3, 2, 4, 5]
    assert steps[0].reason == "1 to target row 0"
    assert steps[3].reason == "0.995 to target row 1"
    assert steps[3].gain == pytest.approx(1 / np.sqrt(1.01), abs=2e-8)


def test_every_target_row_is_served_equally_often() -> None:
    target = np.array([[1.0, 0.0], [1.0, 0.01], [1.0, 0.02], [0.0, 1.0]])
    points = np.random.default_rng(0).standard_normal((200, 2))
    served = Counter(step.reason[-1] for step in islice(near_target(points, target), 100))
    assert served == {"0": 25, "1": 25, "2": 25, "3": 25}


@pytest.mark.parametrize(("shortest", "block"), [(1, 1), (3, 50), (256, 1 << 22)])
def test_equals_the_plain_rule_for_any_length_of_list_and_block(
    monkeypatch: pytest.MonkeyPatch, shortest: int, block: int
) -> None:
    rng = np.random.default_rng(3)
    points, target = rng.standard_normal((120, 5)), rng.standard_normal((7, 5)) + 1
    monkeypatch.setattr(nearest, "_SHORTEST", shortest)
    monkeypatch.setattr(nearest, "_ROWS", max(1, block))
    assert [step.pick for step in near_target(points, target)] == plain(points, target)


def test_equal_rows_tie_wherever_they_stand() -> None:
    row = np.random.default_rng(0).standard_normal((1, 385)).astype(np.float32)
    points = np.repeat(row, 1500, axis=0)
    target = np.random.default_rng(1).standard_normal((3, 385))
    assert [step.pick for step in near_target(points, target)] == list(range(1500))


def test_a_target_that_cannot_be_met_is_refused() -> None:
    with pytest.raises(InputError, match="no rows"):
        near_target(POINTS, np.ones((0, 2)))
    with pytest.raises(AlignmentError, match=r"\(1, 3\)"):
        near_target(POINTS, np.ones((1, 3)))
    with pytest.raises(InputError, match="row 0 of target_MD"):
        near_target(POINTS, np.array([[np.nan, 1.0]]))


@pytest.mark.parametrize("block", [3, 100, 2048])
def test_lists_are_right_whatever_the_order_in_which_a_partition_leaves_rows(block) -> None:
    # numpy's own code on an AVX processor happens to gather what was never filled in.
    code = f"""
import numpy as np
from modicum.selection.nearest import _best
rng = np.random.default_rng(0)
points = rng.normal(size=(2500, 8))
target = np.floor(rng.normal(size=(3, 8)) * 2**20) / 2**20 * 2**26
whole = _best(points, np.ones(2500, bool), target, 2500, 2500)
parts = _best(points, np.ones(2500, bool), target, 2500, {block})
print(np.array_equal(whole, parts), (parts >= 0).all())
"""
    off = {"NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX512_ICL AVX512_SPR"}
    made = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env={**os.environ, **off},
        capture_output=True,
        text=True,
        check=True,
    )
    assert made.stdout.split() == ["True", "True"]


class InParts:
    """Others that hold the parts, each under a number."""

    def __init__(self) -> None:
        self.blocks: dict[str, np.ndarray] = {}
        self.calls = 0

    def kept(self, blocks: Iterable[np.ndarray]) -> list[str]:
        self.blocks |= {f"part {n}": block for n, block in enumerate(blocks)}
        return list(self.blocks)

    def mapped(self, function: Callable[..., Any], *items: Iterable[Any]) -> Iterator[Any]:
        for held, *rest in zip(*items, strict=True):
            self.calls += 1
            yield function(self.blocks[held], *rest)


def test_rows_in_parts_with_others_are_picked_as_if_they_were_here(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(nearest, "_PART", 90)
    drawn = np.random.default_rng(3)
    vectors_ND = drawn.integers(-3, 4, size=(400, 5)).astype("f4")  # many ties
    vectors_ND[[7, 200]] = np.nan
    target_MD = drawn.normal(size=(6, 5)).astype("f4")
    others = InParts()
    steps = list(near_target(vectors_ND, target_MD, over=others))
    assert len(steps) == 398 and len(others.blocks) == 5 and others.calls >= 5
    assert steps == list(near_target(vectors_ND, target_MD))
