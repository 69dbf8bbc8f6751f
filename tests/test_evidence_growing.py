"""How few rows are enough: the curve, where growing stops, and `select -k auto`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from modicum.errors import BudgetError, InputError, OptionError
from modicum.evidence import growing
from modicum.evidence.growing import grow, ladder
from modicum.evidence.plateau import Curve, fitted
from modicum.fewest import enough, note
from modicum.models import Model
from modicum.pool import Pool
from quick_tuning import QuickTuning
from test_cli import Run
from test_cli import run as line
from test_evidence import files, quick, row, write

__all__ = ["line", "quick"]


def test_a_power_law_is_found_again_from_its_points():
    rows = [16, 32, 64, 128]
    found = fitted(rows, [0.5 - 1.0 * k**-0.5 for k in rows])
    assert found == pytest.approx((0.5, 1.0, 0.5), abs=1e-6)
    assert found.at(10_000) == pytest.approx(0.49)


def test_gains_that_fall_give_a_flat_curve():
    assert fitted([16, 32, 64], [0.3, 0.2, 0.1]).at(1000) == pytest.approx(0.2)


def test_two_points_make_no_curve():
    with pytest.raises(InputError, match="at least 3"):
        fitted([16, 32], [0.1, 0.2])


@pytest.mark.parametrize(
    ("rows", "sizes"),
    [(100, [16, 32, 64, 100]), (5000, [50, 100, 200, 400, 800, 1600, 3200, 5000]), (10, [10])],
)
def test_sizes_double_up_to_the_whole_pool(rows: int, sizes: list[int]):
    assert ladder(rows) == sizes


def learning(
    monkeypatch: pytest.MonkeyPatch, gain: Callable[[int], float]
) -> Callable[[float], dict[str, Any]]:
    """Growing where so many rows bring so much, with a little noise of rows and seeds."""
    rng, exam = np.random.default_rng(0), np.full(40, 3.0)

    class Exam:
        def compared(self, marks: object) -> dict[str, str]:
            return {"loss": "lower"}

    class Rows:
        ids: ClassVar = [str(i) for i in range(1000)]

        def __len__(self) -> int:
            return 1000

    class Contest:
        pool, exam = Rows(), Exam()

        def untuned(self) -> dict[str, Any]:
            return {"metrics": {"loss": 3.0}, "values": {"loss": [3.0] * 40}}

        def shared_ledger(self) -> dict[str, Any]:
            return {}

    def arm(contest: Any, asked: Any, steps: None) -> dict[str, Any]:
        rows = int(asked.budget or 1000)
        values = exam - gain(rows) + rng.normal(0, 0.002, 40)
        return {
            "values": {"loss": values.tolist()},
            "tokens": 10 * rows,
            "budget": asked.budget,
            "selection": f"x-1000-s{asked.seed}",
            "ledger": {"trainings": 1, "requests": 5},
            "own_ledger": {"trainings": 1},
        }

    def rows_of(contest: Any, asked: Any) -> tuple[np.ndarray, dict[str, Any]]:
        return np.arange(int(asked.budget)), {"name": f"x-{asked.budget}"}

    monkeypatch.setattr(growing, "run_arm", arm)
    monkeypatch.setattr(growing, "rows_of", rows_of)
    monkeypatch.setattr(growing, "replace", lambda contest, **_: contest)
    return lambda epsilon: grow(Contest(), "x", None, [0, 1], epsilon).record  # type: ignore


def test_growing_stops_where_the_interval_reaches_the_plateau(monkeypatch: pytest.MonkeyPatch):
    record = learning(monkeypatch, lambda k: 0.5 * (1 - (k / 8) ** -1.5))(0.05)
    assert record["rows"] == 64 and record["of"] == 1000  # 16: 65 %, 32: 88 %, 64: 96 % of it
    assert [each["rows"] for each in record["sizes"]] == [16, 32, 64]
    assert record["sizes"][-1]["foretold"] == pytest.approx(0.5, abs=0.03)
    assert record["expected"]["doubled"] == pytest.approx(0.5 * (8**-1.5 - 16**-1.5), abs=0.01)


def test_of_the_sizes_that_reach_the_plateau_the_smallest_is_enough(
    monkeypatch: pytest.MonkeyPatch,
):
    record = learning(monkeypatch, lambda k: 0.5)(0.05)
    assert [each["rows"] for each in record["sizes"]] == [16, 32, 64] and record["rows"] == 16
    assert record["expected"]["doubled"] == pytest.approx(0, abs=0.01)
    assert "16 of 1,000 rows are enough: gain in loss" in note(record)


def test_sizes_that_a_method_cannot_give_are_passed_over(monkeypatch: pytest.MonkeyPatch):
    def gain(rows: int) -> float:
        if rows < 64:
            raise BudgetError("its first rows are 60")
        return 0.5

    record = learning(monkeypatch, gain)(0.05)
    assert [each["rows"] for each in record["sizes"]] == [64, 128, 256]
    assert record["passed_over"] == [16, 32] and record["rows"] == 64


def test_a_smaller_epsilon_asks_for_more_rows(monkeypatch: pytest.MonkeyPatch):
    go = learning(monkeypatch, lambda k: 0.5 * (1 - (k / 8) ** -0.7))
    assert go(0.02)["rows"] > go(0.2)["rows"]


def test_gains_that_go_on_growing_take_the_whole_pool(monkeypatch: pytest.MonkeyPatch):
    record = learning(monkeypatch, lambda k: 0.1 * np.log2(k))(0.05)
    assert record["rows"] == 1000 and "the whole pool" in note(record)


def test_without_a_gain_growing_does_not_stop_early(monkeypatch: pytest.MonkeyPatch):
    assert learning(monkeypatch, lambda k: -0.1)(0.05)["rows"] == 1000


def test_what_was_spent_counts_a_selection_that_sizes_share_once(monkeypatch: pytest.MonkeyPatch):
    record = learning(monkeypatch, lambda k: 0.5 * (1 - (k / 8) ** -1.5))(0.05)
    assert record["spent"]["trainings"] == 6 and record["spent"]["requests"] == 10


@pytest.mark.parametrize("epsilon", [0.0, 1.0, -1.0])
def test_epsilon_is_a_share(monkeypatch: pytest.MonkeyPatch, epsilon: float):
    with pytest.raises(OptionError, match="share of the gain"):
        learning(monkeypatch, lambda k: 0.5)(epsilon)


@pytest.fixture
def first_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """The smallest size is enough, whatever it brings."""
    monkeypatch.setattr(growing, "_enough", lambda told, wanted: told[0])
    monkeypatch.setattr(growing, "LEAST", 1)
    monkeypatch.setattr(growing, "fitted", lambda rows, gains: Curve(1.0, 0.0, 1.0))


@pytest.mark.usefixtures("first_size")
def test_the_rows_that_are_enough_are_the_methods_first(
    quick: QuickTuning, tiny_model: Model, tmp_path: Path
):
    pool, held_out = (Pool.read(path) for path in files(tmp_path))
    made = enough(pool, "longest", held_out, tiny_model, work=tmp_path / "work", seeds=1)
    record = made.records["auto.json"]
    assert len(made) == record["rows"] == 16 and [s["rows"] for s in record["sizes"]] == [16]
    lengths = made.scores["length"][made.picks]
    assert lengths.tolist() == sorted(lengths, reverse=True)
    assert made.notes[0] == note(record)


def test_a_method_that_offers_fewer_rows_ends_with_the_whole_pool(
    quick: QuickTuning, tiny_model: Model, tmp_path: Path
):
    pool, held_out = (Pool.read(path) for path in files(tmp_path))
    made = enough(pool, "longest", held_out, tiny_model, work=tmp_path / "work", cap=4, seeds=1)
    record = made.records["auto.json"]
    assert record["passed_over"] == [16] and len(made) == record["rows"] == len(pool)
    assert "too few sizes were tried to tell" in made.notes[0]
    assert made.method["name"] == "longest" and made.reasons[0] == "one of the whole pool"


@pytest.mark.usefixtures("first_size")
def test_what_was_tuned_to_choose_is_not_tuned_again(
    quick: QuickTuning, tiny_model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("modicum.methods.lobass.tune", quick)
    pool, held_out = (Pool.read(path) for path in files(tmp_path))
    made = enough(pool, "lobass", held_out, tiny_model, work=tmp_path / "work", seeds=1)
    assert len(made) == made.records["auto.json"]["rows"] == 16
    assert quick.trained.count("reference") == 1
    assert (tmp_path / "work/reference/training.json").exists()
    assert not list((tmp_path / "work/auto/selections").glob("*/work"))
    assert not any("chosen anew" in each for each in made.notes)


def test_what_the_pool_shares_with_held_out_rows_is_said_before_and_after(
    quick: QuickTuning, tiny_model: Model, tmp_path: Path
):
    pool, _ = (Pool.read(path) for path in files(tmp_path))
    with pytest.warns(UserWarning, match="1 of 20 rows ask what a held-out row asks"):
        held_out = Pool.read(write(tmp_path / "same.jsonl", [row(3, "e"), row(101, "e")]))
        made = enough(pool, "random", held_out, tiny_model, work=tmp_path / "work", seeds=1)
    assert any("ask what a held-out row asks" in each for each in made.notes)
    assert 3 not in made.picks.tolist()


def test_select_auto_leaves_a_subset_and_what_led_there(
    line: Run, tiny_model: Model, tmp_path: Path
):
    pool, held_out = files(tmp_path)
    words = ["select", pool, "-m", "longest", "-k", "auto", "--eval", held_out, "--seeds", "1"]
    model = ["--model", str(tiny_model.folder), "--precision", "float32"]
    out = tmp_path / "out"
    ended = line(*words, *model, "--train", "num_train_epochs=1", "-o", str(out))
    assert ended.status == 0, ended.err
    record = json.loads((out / "auto.json").read_text())
    ledger = json.loads((out / "manifest.json").read_text())["ledger"]
    assert ledger["backward_tokens"] == record["spent"]["backward_tokens"] > 0
    assert len((out / "subset.jsonl").read_text().splitlines()) == record["rows"]
    assert "gain in loss" in ended.out
    assert "1 of at most 2 sizes: 16 rows, gain in loss " in ended.err
    again = line(*words, *model, "--train", "num_train_epochs=1", "-o", str(out))
    assert again.status == 0 and "finished before" in again.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-k", "auto"], "give held-out rows, --eval FILE"),
        (["-k", "5%", "--eval", "held.jsonl"], "--eval belongs to -k auto"),
        (["-k", "5%", "--epsilon", "0.1"], "--epsilon belongs to -k auto"),
        (["-k", "auto", "--eval", "held.jsonl", "--measure", "judge"], "takes one of loss"),
        (["-k", "auto", "--eval", "held.jsonl", "--dry-run"], "finds out as it goes"),
        (["-k", "auto", "--eval", "held.jsonl", "--chosen", "x.jsonl"], "no --chosen"),
    ],
)
def test_what_does_not_go_with_auto_is_refused(
    line: Run, tmp_path: Path, words: list[str], said: str
):
    pool, _ = files(tmp_path)
    ended = line("select", pool, "-m", "longest", *words)
    assert ended.status == 2 and said in ended.err
