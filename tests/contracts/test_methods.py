"""What holds for every method, present and future. A new one needs a line in NEEDS."""

from __future__ import annotations

import pkgutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import modicum.methods
from modicum.choose import Selection, select
from modicum.estimate import Rates
from modicum.meter import Meter
from modicum.models import Model
from modicum.parts import build, describe, members
from modicum.pool import Pool
from modicum.show import _flat
from modicum.store import Store

METHODS = members("modicum.methods")
# What `select` must be given besides a pool and a model; "target" stands for rows 2 to 4.
NEEDS: dict[str, tuple[str, ...]] = {
    "ask-llm": (),
    "deita": (),
    "density": (),
    "diverse-evol": (),
    "facility": (),
    "ifd": (),
    "ifd-ppl": (),
    "iter-select": (),
    "judge-gap": (),
    "k-center": (),
    "kmeans": (),
    "kpig": (),
    "lobass": (),
    "lobass-raw": (),
    "longest": (),
    "ltd": ("target",),
    "random": (),
    "rds": ("target",),
    "s2l": (),
    "selective-reflection": (),
    "semdedup": (),
    "superfilter": (),
    "wrong-answers": (),
}
# Random weights find half the rows misleading (IFD ≥ 1), and all alike; they are offered here, too.
OPTIONS: dict[str, dict[str, Any]] = {
    "deita": {"max_similarity": 1.0},
    "diverse-evol": {"initial": 2, "per_round": 5, "epochs": 1},
    "ifd": {"drop_above_one": False},
    "ifd-ppl": {"drop_above_one": False},
    "iter-select": {"initial": 4, "per_round": 2, "max_new_tokens": 4},
    "judge-gap": {"above": -10.0, "max_new_tokens": 4},
    "kmeans": {"clusters": 3},
    "lobass": {"epochs": 1},
    "lobass-raw": {"epochs": 1},
    "ltd": {"clusters": 3},
    "s2l": {"clusters": 3, "checkpoints": 2, "epochs": 1},
    "selective-reflection": {"accept": 1000.0},
    "semdedup": {"clusters": 3, "max_similarity": 1.0},
    "superfilter": {"share": 1.0, "drop_above_one": False},
}
MEASURE_NOTHING = {"random"}
ORDER = ["picked", "order", "gain", "round", "reason"]

Choose = Callable[..., Selection]
every_method = pytest.mark.parametrize("name", METHODS)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("measured"))


@pytest.fixture(autouse=True)
def known_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calibrating takes longer than the tiny model's training."""
    monkeypatch.setattr("modicum.question.calibrate", lambda *_: Rates(1e3, 0.1, 1e2, 0.1, 1))


@pytest.fixture
def choose(tiny_pool: Pool, tiny_model: Model, shared: Store) -> Choose:
    def made(name: str, k: int = 6, **more: Any) -> Selection:
        if name not in NEEDS:
            pytest.fail(f"{name} has no line in NEEDS: say there what select must be given")
        needs = {"target": tiny_pool.take([2, 3, 4])} if "target" in NEEDS[name] else {}
        given: dict[str, Any] = {"store": shared, **needs, **OPTIONS.get(name, {}), **more}
        return select(tiny_pool, name, k, tiny_model, **given)

    return made


def test_every_file_of_the_room_holds_a_method(capsys: pytest.CaptureFixture[str]):
    files = {info.name for info in pkgutil.iter_modules(modicum.methods.__path__)}
    assert {kind.__module__.rpartition(".")[2] for kind in METHODS.values()} == files
    with capsys.disabled():
        sys.stdout.write(f"\nmethods: {', '.join(METHODS)} ")


@every_method
def test_it_states_its_paper_needs_cost_and_failures(name: str):
    for said in ("paper", "needs", "cost", "fails"):
        assert len(getattr(METHODS[name], said)) > 5, said
    assert METHODS[name].__doc__


@every_method
def test_same_seed_same_picks(name: str, choose: Choose):
    first, second = choose(name, seed=3), choose(name, seed=3)
    assert first.picks.tolist() == second.picks.tolist()
    assert first.reasons == second.reasons
    assert first.gains.tolist() == pytest.approx(second.gains.tolist(), abs=0, nan_ok=True)


def test_seeds_change_what_is_drawn(choose: Choose):
    drawn = {tuple(choose("random", seed=seed).picks.tolist()) for seed in range(5)}
    assert len(drawn) == 5


@every_method
def test_picks_are_unique_positions_with_reasons(name: str, choose: Choose, tiny_pool: Pool):
    chosen = choose(name, k=len(tiny_pool))
    assert sorted(chosen.picks.tolist()) == list(range(len(tiny_pool)))
    assert len(chosen.reasons) == len(chosen.gains) == len(chosen.rounds) == len(chosen)
    assert all(reason.strip() for reason in chosen.reasons)


@every_method
def test_picks_for_three_begin_the_picks_for_six(name: str, choose: Choose):
    assert choose(name, 6).picks[:3].tolist() == choose(name, 3).picks.tolist()
    assert choose(name, 6).reasons[:3] == choose(name, 3).reasons


@every_method
def test_chosen_rows_are_not_picked_again_nor_are_their_equals(
    name: str, choose: Choose, tiny_pool: Pool
):
    before = tiny_pool.take([1, 6])  # row 4 says what row 1 says
    chosen = choose(name, 9, chosen=before)
    assert set(chosen.picks.tolist()) == set(range(12)) - {1, 4, 6}
    assert set(chosen.left_out) == {1, 4, 6}
    assert "already chosen" in chosen.left_out[4]


@every_method
def test_a_row_that_cannot_be_measured_is_never_picked_and_is_named(
    name: str, choose: Choose, tiny_pool: Pool, monkeypatch: pytest.MonkeyPatch
):
    for room in ("modicum.views", "modicum.scores"):
        for kind in members(room).values():
            monkeypatch.setattr(kind, "__call__", without_row(7, kind.__call__, tiny_pool))
    chosen = choose(name, 6)
    if name in MEASURE_NOTHING:
        assert chosen.left_out == {}
        return
    assert 7 not in chosen.picks
    assert list(chosen.left_out) == [7]


def without_row(row: int, call: Any, pool: Pool) -> Any:
    def measured(self: Any, seen: Pool, meter: Meter, **more: Any) -> np.ndarray:
        values_N = np.array(call(self, seen, meter, **more))
        values_N[[i for i, name in enumerate(seen.ids) if name == pool.ids[row]]] = np.nan
        return values_N

    return measured


@every_method
def test_picks_do_not_depend_on_the_batch_size(
    name: str, choose: Choose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    picks = []
    for tokens in (1, 100, 100_000):
        monkeypatch.setattr("modicum.measure.BATCH_TOKENS", tokens)
        chosen = choose(name, 8, store=Store(tmp_path / str(tokens)))
        picks.append(chosen.picks.tolist())
    assert picks[0] == picks[1] == picks[2]


@every_method
def test_its_description_builds_it_again(name: str):
    made = build(METHODS[name], OPTIONS.get(name, {}))
    flat = {key: str(value) for key, value in _flat(describe(made)) if key != "name"}
    assert build(METHODS[name], flat) == made
    assert repr(build(METHODS[name], flat)) == repr(made)


@every_method
def test_the_subset_is_the_inputs_lines_byte_for_byte_in_pool_order(
    name: str, choose: Choose, tiny_file: Path, tmp_path: Path
):
    chosen = choose(name, 5)
    folder = chosen.write(tmp_path / "run")
    lines = tiny_file.read_bytes().splitlines(keepends=True)
    wanted = b"".join(lines[i] for i in sorted(chosen.picks))
    assert (folder / "subset.jsonl").read_bytes() == wanted


@every_method
def test_the_table_has_a_row_for_every_example(
    name: str, choose: Choose, tiny_pool: Pool, tmp_path: Path
):
    chosen = choose(name, 5)
    rows = pq.read_table(chosen.write(tmp_path / "run") / "rows.parquet")
    assert rows.column_names == ["id", "source", "position", "tokens", *chosen.scores, *ORDER]
    assert rows["id"].to_pylist() == tiny_pool.ids
    assert rows["position"].to_pylist() == list(range(len(tiny_pool)))
    order = {pick: place for place, pick in enumerate(chosen.picks.tolist())}
    assert rows["order"].to_pylist() == [order.get(i) for i in range(len(tiny_pool))]
    assert rows["picked"].to_pylist() == [i in order for i in range(len(tiny_pool))]
    rounds = dict(zip(chosen.picks.tolist(), chosen.rounds.tolist(), strict=True))
    assert rows["round"].to_pylist() == [rounds.get(i) for i in range(len(tiny_pool))]
    told = [reason is not None for reason in rows["reason"].to_pylist()]
    assert told == [i in order for i in range(len(tiny_pool))]
