"""A comparison killed at any moment: the same line goes on, and ends with the same record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from modicum.models import Model
from quick_tuning import QuickTuning
from test_diverse_evol_killed import Killed, kill
from test_evidence import Ran, files, quick, run
from test_stream_killed import told

__all__ = ["quick"]

HOW: dict[str, Any] = {"methods": "k-center", "seeds": [0, 1], "full_seeds": [0], "settings": {}}
WRITE = "modicum.training.rounds.write_json"
MOMENTS = [
    (WRITE, 1, False),  # a selection
    (WRITE, 3, True),  # between selections
    (WRITE, 7, False),  # the marks of the untuned model
    ("modicum.evidence.arms.tune", 1, False),
    ("modicum.evidence.arms.tune", 2, True),  # between a tuning and its exam
    (WRITE, 8, False),  # an arm
    (WRITE, 8, True),  # between an arm and the removal of its model
    ("shutil.rmtree", 2, True),  # between arms
    ("modicum.jobs.compare.write_json", 1, False),  # compare.json
    ("modicum.jobs.compare.write_manifest", 1, False),  # the manifest
]


@pytest.fixture(scope="module")
def straight(tiny_model: Model, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """A comparison that nobody killed."""
    folder = tmp_path_factory.mktemp("straight")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("modicum.evidence.arms.tune", QuickTuning())
        patch.setenv("MODICUM_CACHE", str(folder / "cache"))
        return run(*files(folder), folder / "out", tiny_model, **HOW)


@pytest.mark.parametrize(("what", "call", "after"), MOMENTS)
def test_killed_at_any_moment_the_same_comparison_ends_the_same(
    what: str,
    call: int,
    after: bool,
    straight: Ran,
    quick: QuickTuning,
    tiny_model: Model,
    tmp_path: Path,
):
    paths = files(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        kill(patch, what, call, after)
        with pytest.raises(Killed):
            run(*paths, tmp_path / "out", tiny_model, **HOW)
    assert not (tmp_path / "out" / "manifest.json").exists()
    ran = run(*paths, tmp_path / "out", tiny_model, **HOW)
    assert told(ran.record) == told(straight.record)
    assert sorted(quick.trained) == sorted(straight.arms)  # none twice
    assert not list((tmp_path / "out" / "models").glob("*"))
    assert run(*paths, tmp_path / "out", tiny_model, **HOW).done.again
