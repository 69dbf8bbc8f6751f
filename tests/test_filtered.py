"""Filters in a chain before a method, and a command line as a file."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import yaml

from modicum.choose import select
from modicum.cli import app
from modicum.context import Context
from modicum.errors import AlignmentError, BudgetError, InputError, OptionError
from modicum.filters.band import Band
from modicum.filters.between import Between
from modicum.filters.duplicates import Duplicates
from modicum.lineup import filters_of
from modicum.meter import Meter
from modicum.models import Model
from modicum.pool import Pool, RawRow, Turn
from modicum.question import ask
from modicum.scores.length import Length
from modicum.scores.loss import Loss
from modicum.store import Store

Run = Callable[..., dict[str, Any]]


def pool_of(*answers: str) -> Pool:
    return Pool.build(
        RawRow(f"r{i}", "s", "Say.", said(answer), 0, i, 0, 0) for i, answer in enumerate(answers)
    )


def said(answer: str) -> tuple[Turn, ...]:
    return (Turn("user", "Say.", False), Turn("assistant", answer, True))


POOL = pool_of("one", "one two three four", "one", "one two", "one two three")


@dataclass(frozen=True)
class Wrong:
    """A filter that speaks of too few rows."""

    name: ClassVar[str] = "wrong"
    reason: ClassVar[str] = "no reason"

    def __call__(self, context: Context) -> np.ndarray:
        return np.ones(1, dtype=bool)


def test_each_filter_is_asked_of_what_is_left(tiny_model: Model, store: Store):
    filters = [Duplicates("exact"), Band(Length(), 0.5)]
    chosen = select(POOL, "random", 2, tiny_model, store=store, filters=filters)
    assert sorted(chosen.picks.tolist()) == [1, 4]  # of the four different rows the longest two
    assert chosen.left_out == {
        0: "filter band: not among the 0.5 of the rows at the top by length",
        2: "filter duplicates: reads the same as an earlier row",
        3: "filter band: not among the 0.5 of the rows at the top by length",
    }
    assert np.isnan(chosen.scores["length"]).tolist() == [False, False, True, False, False]
    other = select(POOL, "random", 2, tiny_model, store=store, filters=filters[::-1])
    assert set(other.left_out) == {0, 2, 3}
    assert other.left_out[2].startswith("filter band")


def test_what_a_method_measures_stands_beside_what_filters_measured(
    tiny_model: Model, store: Store
):
    between = Between(Length(), least=float(Length()(POOL, Meter(tiny_model, store))[3]))
    chosen = select(POOL, "longest", 2, tiny_model, store=store, filters=[between])
    everything = Length()(POOL, Meter(tiny_model, store))
    assert chosen.scores["length"].tolist() == everything.tolist()
    assert chosen.picks.tolist() == [1, 4]


def test_a_plan_counts_the_filters_as_if_all_rows_stayed(tiny_model: Model, store: Store):
    meter = Meter(tiny_model, store)
    plain = ask(POOL, "ifd", 2, meter, 0)
    sieved = ask(POOL, "ifd", 2, meter, 0, filters=[Band(Loss())])
    assert len(sieved.plan) == len(plain.plan) + 1
    assert sieved.plan[0].wants == Loss().wants
    assert sieved.context.made_from != plain.context.made_from


def test_wrong_filters_are_refused_in_one_line(tiny_model: Model, store: Store):
    with pytest.raises(AlignmentError, match="filter wrong gave an array of shape"):
        select(POOL, "random", 1, tiny_model, store=store, filters=[Wrong()])
    with pytest.raises(BudgetError, match="filter between leaves 0 of 5 rows"):
        select(POOL, "random", 1, tiny_model, store=store, filters="between(most=0)")
    with pytest.raises(OptionError, match=r"there is no filter 'duplicate' .did you mean dupl"):
        filters_of("duplicate")
    with pytest.raises(OptionError, match="--filter duplicates is given twice"):
        filters_of("duplicates,duplicates")
    with pytest.raises(OptionError, match="least=3 is above most=2"):
        filters_of("between(least=3,most=2)")
    with pytest.raises(OptionError, match="nan is no bound"):
        filters_of("between(most=nan)")
    with pytest.raises(OptionError, match="join has no name or no reason"):
        filters_of("os.path:join")
    with pytest.raises(OptionError, match="band needs score: score=VALUE, in brackets"):
        filters_of("band(share=0.5)")
    with pytest.raises(OptionError, match="give least, most or both"):
        filters_of("between")
    with pytest.raises(OptionError, match=r"similarity=0\.5 belongs to kind=near"):
        filters_of("duplicates(kind=exact,similarity=0.5)")
    with pytest.raises(OptionError, match="share=2"):
        filters_of("band(score=length,share=2)")


PLAN = {
    "filter": ["duplicates(kind=exact)", "between(score=length,most=400)"],
    "method": "kmeans",
    "budget": "25%",
    "set": {"view": "lexical", "clusters": 2},
    "seed": 3,
    "too_long": "drop",
}


@pytest.fixture
def run(tiny_file: Path, tiny_model: Model, tmp_path: Path) -> Run:
    def ran(*words: str, **plan: Any) -> dict[str, Any]:
        told = {"pool": str(tiny_file), "model": str(tiny_model.folder), **PLAN, **plan}
        file = tmp_path / "plan.yaml"
        file.write_text(
            yaml.safe_dump({k: v for k, v in told.items() if v is not None}, sort_keys=False)
        )
        line = ["select", "--plan", str(file), *words]
        folder = tmp_path / f"run-{len(list(tmp_path.glob('run-*')))}"
        app([*line, "-o", str(folder)], standalone_mode=False)
        return dict(json.loads((folder / "manifest.json").read_text()), folder=folder)

    return ran


def picked(made: dict[str, Any]) -> bytes:
    return bytes((made["folder"] / "subset.jsonl").read_bytes())


def test_a_plan_is_the_line_that_it_says(run: Run, tiny_file: Path, tmp_path: Path):
    made = run()
    line = f"select {tiny_file} --model {made['plan']['model']} -m kmeans -k 25% --seed 3"
    options = ["--set", "view=lexical", "--set", "clusters=2"]
    for each in PLAN["filter"]:
        options += ["--filter", each]
    app([*line.split(), *options, "-o", str(tmp_path / "line")], standalone_mode=False)
    assert (tmp_path / "line" / "subset.jsonl").read_bytes() == picked(made)
    # It is the same command: the finished folder is taken for its own.
    app([*line.split(), *options, "-o", str(made["folder"])], standalone_mode=False)
    assert made["plan"]["set"] == ["view=lexical", "clusters=2"]
    assert made["plan"]["too-long"] == "drop"
    assert "out" not in made["plan"]


def test_a_manifest_runs_again_as_a_plan(run: Run, tmp_path: Path):
    made = run()
    plan = ["select", "--plan", str(made["folder"] / "manifest.json")]
    app([*plan, "-o", str(tmp_path / "again")], standalone_mode=False)
    again = json.loads((tmp_path / "again" / "manifest.json").read_text())
    assert (tmp_path / "again" / "subset.jsonl").read_bytes() == picked(made)
    assert again["plan"] == made["plan"]


def test_the_line_counts_before_the_plan(run: Run):
    made = run("-k", "2", "--set", "view=lexical", skip_bad=True)
    assert made["counts"]["picked"] == 2
    assert made["plan"]["set"] == ["view=lexical"]
    assert made["plan"]["skip-bad"] is True


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        ({"bugdet": 3}, "there is no option bugdet .did you mean budget"),
        ({"plan": "other.yaml"}, "there is no option plan"),
        ({"filter": [["duplicates"]]}, "plan.yaml: filter takes one value, or a list of them, not"),
        ({"filter": {"duplicates": {"kind": "exact"}}}, "filter takes one value, or a list of"),
        ({"budget": ["5%", "10%"]}, "budget takes one value, not"),
        ({"seed": True}, "seed takes one value, not True"),
        ({"skip-bad": "maybe"}, "skip-bad takes true or false, not 'maybe'"),
        ({"set": 3}, "--set 3: write KEY=VALUE"),
        ({"filter": "nope"}, "there is no filter 'nope'"),
    ],
)
def test_a_plan_that_cannot_be_run_is_refused(run: Run, plan: dict[str, Any], said: str):
    with pytest.raises(OptionError, match=said):
        run(**plan)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- a\n", "holds no options"),
        ("a: [", "is not YAML: .* line 1, column 5"),
        ("seed: 1\nseed: 2\n", "seed is there twice"),
        ("skip-bad: true\nskip_bad: false\n", "skip-bad is there twice"),
        ('{"versions": {}, "counts": {}}', "holds no options"),
        ("!!python/object/apply:os.getcwd []", "is not YAML"),
    ],
)
def test_what_is_no_plan_is_refused(tmp_path: Path, text: str, said: str):
    (tmp_path / "plan.yaml").write_text(text)
    with pytest.raises(InputError, match=said):
        app(["select", "--plan", str(tmp_path / "plan.yaml")], standalone_mode=False)
    with pytest.raises(InputError, match="cannot be read"):
        app(["select", "--plan", str(tmp_path / "none.yaml")], standalone_mode=False)
