"""`compare -m applicable --budget-seconds`: what can choose here, and fits into the time."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest

from modicum.cli import main
from modicum.estimate import Rates
from modicum.lineup import all_that_apply
from modicum.models import Model
from modicum.parts import members
from test_cli import Ran, Run
from test_evidence import files

# A token a second, whatever is done with it: costs can be worked out by hand.
RATES = Rates(1.0, 0.0, 1.0, 0.0, 1)
AIMING = ["ltd", "rds"]


@pytest.fixture(autouse=True)
def known_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modicum.evidence.affordable.calibrate", lambda *_: RATES)
    monkeypatch.setattr("modicum.evidence.foretold.calibrate", lambda *_: RATES)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """A line and what came of it, which may say on the way what is not compared."""

    def ran(*words: object) -> Ran:
        monkeypatch.setattr(sys, "argv", ["modicum", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main()
        return Ran(int(stopped.value.code or 0), *capsys.readouterr())

    return ran


@pytest.fixture
def words(tiny_model: Model, tmp_path: Path) -> list[str]:
    pool, held_out = files(tmp_path)
    model = ["--model", str(tiny_model.folder), "--precision", "float32", "--no-full"]
    train = ["--train", "num_train_epochs=1", "--seeds", "1", "-k", "20%"]
    return ["compare", pool, "--eval", held_out, *model, *train]


def seconds_of(run: Run, words: list[str], methods: str) -> float:
    """What the dry run of these methods foretells."""
    ended = run(*words, "-m", methods, "--dry-run", "--json")
    assert ended.status == 0, ended.err
    return float(json.loads(ended.out)["seconds"]["total"])


def test_applicable_is_every_method_but_those_that_lack_a_target():
    everything = set(members("modicum.methods"))
    line, found = all_that_apply("applicable", aimed=False)
    assert set(line.split(",")) == set(found) == everything - set(AIMING)
    line, found = all_that_apply("applicable, k-center(view=lexical) ,ifd", aimed=True)
    assert set(found) == everything - {"ifd"}
    assert line.endswith("k-center(view=lexical),ifd")
    assert all_that_apply("ifd,random", aimed=False) == ("ifd,random", [])


def test_what_fits_is_compared_the_cheapest_first(run: Run, words: list[str], tmp_path: Path):
    methods = "ifd,k-center(view=lexical),random,longest"
    base = seconds_of(run, words, "random,longest")
    lexical = seconds_of(run, words, "k-center(view=lexical),random,longest")
    everything = seconds_of(run, words, methods)
    assert base < lexical < everything
    out = ["-o", str(tmp_path / "out")]
    given = [*words, "-m", methods, "--budget-seconds", str(lexical + 1)]
    ended = run(*given, *out)
    assert ended.status == 0, ended.err
    record = json.loads((tmp_path / "out/compare.json").read_text())
    assert [arm["method"] for arm in record["arms"]] == [
        *("random", "longest"),
        "k-center(view=lexical)",
    ]
    (note,) = [each for each in record["notes"] if "is not compared" in each]
    more = everything - lexical
    assert note == (
        f"ifd is not compared: it would take about {more:,.0f} s more than the {lexical:,.0f} s so "
        "far"
    )
    assert "note: ifd is not compared" in ended.err
    again = run(*given, *out, "--json")
    assert json.loads(again.out)["again"]
    other = run(*words, "-m", methods, "--budget-seconds", str(everything + 1), *out)
    assert other.status == 2 and "another command" in other.err


def test_what_was_found_to_fit_is_kept(
    run: Run, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    lexical = seconds_of(run, words, "k-center(view=lexical),random,longest")
    line = [*words, "-m", "ifd,k-center(view=lexical)", "--budget-seconds", str(lexical + 1)]
    with monkeypatch.context() as broken, pytest.raises(ZeroDivisionError):
        broken.setattr("modicum.comparing.run", lambda *_: 1 / 0)
        run(*line, "-o", str(tmp_path / "out"))
    # A machine that is slower now does not change what is compared.
    monkeypatch.setattr("modicum.evidence.affordable.calibrate", lambda *_: 1 / 0)
    assert run(*line, "-o", str(tmp_path / "out")).status == 0
    record = json.loads((tmp_path / "out/compare.json").read_text())
    assert {arm["method"] for arm in record["arms"]} == {
        *("random", "longest"),
        "k-center(view=lexical)",
    }


def test_less_than_chance_alone_takes_is_refused(run: Run, words: list[str]):
    base = seconds_of(run, words, "random,longest")
    ended = run(*words, "-m", "ifd", "--budget-seconds", "5", "--dry-run")
    assert ended.status == 2
    assert (
        f"--budget-seconds 5: chance, length and the model as it is take about {base:,.0f} s"
        in (ended.err)
    )


@dataclass(frozen=True)
class Few:
    """It never offers a row."""

    name: ClassVar[str] = "few"
    nested: ClassVar[bool] = True

    def __call__(self, context: Any) -> Any:
        return iter(())


def test_what_cannot_choose_here_is_left_out_of_applicable(
    run: Run, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    some = {k: members("modicum.methods")[k] for k in ("random", "longest", "diverse-evol")}
    few: dict[str, Any] = {**some, "few": Few}
    monkeypatch.setattr("modicum.lineup.members", lambda room: few)
    monkeypatch.setattr("modicum.parts.members", lambda room: few)
    ended = run(*words, "-m", "applicable", "-o", str(tmp_path / "out"))
    assert ended.status == 0, ended.err
    record = json.loads((tmp_path / "out/compare.json").read_text())
    assert {arm["method"] for arm in record["arms"]} == {"random", "longest"}
    assert [note.partition(":")[0] for note in record["notes"] if "compared" in note] == [
        "diverse-evol is not compared",
        "few is not compared",
    ]
    named = run(*words, "-m", "few", "-o", str(tmp_path / "named"))
    assert named.status == 2 and "the method offers 0 rows" in named.err
