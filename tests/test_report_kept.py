"""A page that cannot be made costs no run, and what the page says of rows that were passed over."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from modicum.choose import select
from modicum.errors import OptionError
from modicum.explain import find_row
from modicum.jobs.folders import Done
from modicum.models import Model
from modicum.pool import Pool
from modicum.report.listed import best_left, places
from modicum.show import scores
from modicum.store import Store
from report_runs import score_run


def scored(gains: list[float | None], lengths: list[float]) -> pa.Table:
    """Rows with a length; those with a gain were picked, in the order of the gains given."""
    order, taken = [], 0
    for gain in gains:
        order.append(None if gain is None else taken)
        taken += gain is not None
    picked = [gain is not None for gain in gains]
    columns = {"length": lengths, "picked": picked, "order": order, "gain": gains}
    ids = [f"r{i}" for i in range(len(gains))]
    return pa.table({"id": ids, "source": ids, "position": order, "tokens": order} | columns)


def test_rows_that_a_method_passed_over_are_not_the_best_of_those_left():
    rows = scored([None, 20.0, 18.0, None, None], [56.0, 20.0, 18.0, 9.0, 17.0])
    order = best_left(rows, None)
    assert order is not None and "1 that the method passed over" in order.said
    assert places(order, np.array([True, False, False, True, True]), 9).tolist() == [4, 3]


def test_where_the_lowest_were_taken_first_the_lowest_of_the_others_come_first():
    order = best_left(scored([1.0, 2.0, None, None], [1.0, 2.0, 9.0, 3.0]), None)
    assert order is not None and order.said.startswith("the lowest length first")
    assert places(order, np.array([False, False, True, True]), 9).tolist() == [3, 2]


@pytest.mark.parametrize("where", ["modicum.report.write_report", "modicum.report.leaving.leave"])
def test_a_run_is_kept_if_its_page_cannot_be_made(
    where: str, tiny_pool: Pool, tiny_model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def refuse(*_: object) -> None:
        raise ValueError("odd rows")

    monkeypatch.setattr(where, refuse)
    store = Store(tmp_path / "measured")
    made = select(tiny_pool, "k-center", 3, tiny_model, store=store, view="lexical")
    made.write(tmp_path / "out")
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    assert any("no page, or not all of it: ValueError: odd rows" in n for n in manifest["notes"])
    assert manifest["counts"]["picked"] == 3


def test_a_full_disk_still_stops_a_run(
    tiny_pool: Pool, tiny_model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("modicum.report.write_report", full)
    made = select(tiny_pool, "random", 3, tiny_model, store=Store(tmp_path / "measured"))
    with pytest.raises(OSError, match="No space"):
        made.write(tmp_path / "out")
    assert not (tmp_path / "out/manifest.json").exists()


@pytest.mark.parametrize("row", ["#" + 20 * "9", 5000 * "7"])
def test_a_number_that_no_row_can_have_is_refused(row: str):
    with pytest.raises(OptionError, match="digits"):
        find_row(scored([1.0, None], [1.0, 2.0]), row, "run")


def test_notes_of_a_run_are_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder = score_run(tmp_path / "run")
    manifest = json.loads((folder / "manifest.json").read_text())
    scores(Done(folder, manifest | {"notes": ["no page: [b]odd\x1b rows[/b]"]}))
    assert "note: no page: [b]odd rows[/b]" in capsys.readouterr().out
