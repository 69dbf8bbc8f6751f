"""What a stream is foretold to cost, beside what it did cost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from modicum.jobs.reading import Reading
from modicum.jobs.stream import Wanted, run_stream
from modicum.models import Model
from test_stream import WANTED as GIVEN
from test_stream import Tunings, quick, run, task_files

__all__ = ["quick"]

WANTED = GIVEN | {"seeds": range(2)}


def told(paths: tuple[str, ...], model: Model, **more: Any) -> dict[str, Any]:
    found = run_stream(Reading(paths), Path("nowhere"), Wanted(**WANTED | more), model, dry=True)
    assert isinstance(found, dict) and not Path("nowhere").exists()
    return found


def test_tokens_are_foretold_and_nothing_is_written(
    quick: Tunings, tiny_model: Model, tmp_path: Path
):
    paths = task_files(tmp_path)
    found = told(paths, tiny_model)
    spent = run(paths, tmp_path / "out", tiny_model, seeds=range(2)).done.manifest["ledger"]
    # Of replayed rows the mean length is foretold; everything else is known.
    assert found["backward_tokens"] == pytest.approx(spent["backward_tokens"], rel=0.02)
    assert found["forward_tokens"] == pytest.approx(spent["forward_tokens"], rel=0.02)
    times = {each["stage"]: each["times"] for each in found["work"]}
    assert times["train"] == spent["trainings"]


def test_without_replay_the_plan_is_exact(quick: Tunings, tiny_model: Model, tmp_path: Path):
    paths, how = task_files(tmp_path), {"methods": "none", "seeds": range(1)}
    found = told(paths, tiny_model, **how)
    spent = run(paths, tmp_path / "out", tiny_model, **how).done.manifest["ledger"]
    assert found["backward_tokens"] == spent["backward_tokens"]
    assert found["forward_tokens"] == spent["forward_tokens"]


@pytest.mark.parametrize("budget", ["50%", "60tok"])
def test_shares_and_tokens_are_foretold_too(
    quick: Tunings, tiny_model: Model, tmp_path: Path, budget: str
):
    paths, how = task_files(tmp_path), {"methods": "random", "seeds": range(1), "budget": budget}
    found = told(paths, tiny_model, **how)
    spent = run(paths, tmp_path / "out", tiny_model, **how).done.manifest["ledger"]
    assert found["backward_tokens"] == pytest.approx(spent["backward_tokens"], rel=0.05)
