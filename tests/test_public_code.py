"""The same picks as public code makes of 200 rows; where ours differ on purpose, how."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, ClassVar

import numpy as np
import pytest

from modicum.choose import select
from modicum.meter import Meter
from modicum.methods.deita import Deita
from modicum.methods.semdedup import SemDedup
from modicum.models import Model
from modicum.pool import Pool, RawRow, Turn
from modicum.selection import Clusters, Step, facility, near_groups, near_target
from modicum.store import Store
from public_picks import ALIKE, CROWDED, PICKS, ROWS, TASKS, Drawn, drawn, stored, unit

NO_TIES = 38  # picks; then rows are left in twos that add the same, and either may come first


@pytest.fixture(scope="module")
def rows() -> Drawn:
    return drawn()


@pytest.fixture(scope="module")
def public() -> dict[str, Any]:
    return stored()


@dataclass(frozen=True)
class Given:
    """The drawn rows as a view."""

    name: ClassVar[str] = "given"
    wants: ClassVar[tuple[()]] = ()
    fitted: ClassVar[bool] = False

    def __call__(self, pool: Pool, meter: Meter, *, fitted_on: Pool | None = None) -> np.ndarray:
        return drawn().vectors_ND


@dataclass(frozen=True)
class Valued:
    """What they are worth as a score."""

    name: ClassVar[str] = "valued"
    wants: ClassVar[tuple[()]] = ()

    def __call__(self, pool: Pool, meter: Meter) -> np.ndarray:
        return drawn().values_N


@pytest.fixture
def pool() -> Pool:
    turns = (Turn("user", "Add.", False), Turn("assistant", "7", True))
    return Pool.build(RawRow(f"r{i}", "s", "Add.", turns, 0, i, 0, 0) for i in range(ROWS))


def first(steps: Iterable[Step], k: int = PICKS) -> list[int]:
    return [step.pick for step in islice(steps, k)]


def values(like_NN: np.ndarray, picks: list[int]) -> np.ndarray:
    """(K,) how well all rows are served by the first pick, the first two, and so on."""
    return np.asarray(np.maximum.accumulate(like_NN[picks], axis=0).sum(axis=1))


def greedy(like_NN: np.ndarray, k: int) -> list[int]:
    """Every candidate looked at for every pick."""
    served_N, picks = np.zeros(len(like_NN)), list[int]()
    for _ in range(k):
        picks.append(int(np.maximum(like_NN - served_N, 0).sum(axis=1).argmax()))
        served_N = np.maximum(served_N, like_NN[picks[-1]])
    return picks


@pytest.mark.parametrize("package", ["apricot", "submodlib"])
def test_facility_picks_what_the_packages_pick(package: str, rows: Drawn, public: dict[str, Any]):
    picks, like_NN = public[package], np.maximum(cosines(rows), 0)
    ours = first(facility(rows.vectors_ND))
    assert ours[:NO_TIES] == picks[:NO_TIES]
    np.testing.assert_allclose(values(like_NN, ours), values(like_NN, picks), rtol=1e-6)


def test_superfiltering_spreads_by_distance_and_ours_by_cosine(rows: Drawn, public: dict[str, Any]):
    """Its likeness is exp(−distance ÷ width), which is never far from the same for all rows."""
    like_NN = cosines(rows)
    distance_NN = np.sqrt(np.maximum(2 - 2 * like_NN, 0))
    near_NN = np.exp(-distance_NN / rows.vectors_ND.shape[1])
    theirs, ours = public["superfiltering"], first(facility(rows.vectors_ND))
    assert greedy(near_NN, PICKS)[:30] == theirs[:30]
    assert greedy(np.maximum(like_NN, 0), NO_TIES) == ours[:NO_TIES]
    assert len(set(ours) & set(theirs)) == 36
    served = [values(np.maximum(like_NN, 0), picks)[-1] for picks in (ours, theirs)]
    assert served[0] == pytest.approx(served[1], rel=1e-3)


def test_deita_keeps_what_the_public_filter_keeps_row_by_row(
    pool: Pool, rows: Drawn, public: dict[str, Any], tiny_model: Model, store: Store
):
    theirs = public["deita"]["1"]
    method = Deita(view=Given(), score=Valued(), max_similarity=ALIKE)
    chosen = select(pool, method, len(theirs), tiny_model, store=store)
    assert chosen.picks.tolist() == theirs
    values_N = rows.values_N
    left_out = [row for row in range(ROWS) if row not in theirs]
    for row in left_out:  # each for a better one that is kept
        better = [kept for kept in theirs if values_N[kept] > values_N[row]]
        assert cosines(rows)[row, better].max() > ALIKE


def test_deita_in_batches_leaves_out_rows_that_are_like_none_it_kept(
    rows: Drawn, public: dict[str, Any]
):
    """That is why ours has no batches: a row is lost for its likeness to one that is lost."""
    single, batched = (set(public["deita"][batch]) for batch in ("1", "50"))
    like_NN, values_N = cosines(rows), rows.values_N
    lost = [row for row in single - batched if not (like_NN[row, sorted(batched)] > ALIKE).any()]
    assert lost and len(batched) < len(single)
    for row in lost:
        better = set(np.flatnonzero((like_NN[row] > ALIKE) & (values_N > values_N[row])).tolist())
        assert better and not better & batched


def test_semdedup_keeps_all_that_public_code_keeps_and_what_it_drops_for_a_dropped_row(
    pool: Pool,
    rows: Drawn,
    public: dict[str, Any],
    tiny_model: Model,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
):
    grouped = Clusters(rows.groups_N, np.zeros((rows.groups_N.max() + 1, 1)))
    monkeypatch.setattr("modicum.filters.semdedup.kmeans", lambda *_, **__: grouped)
    method = SemDedup(view=Given(), score=Valued(), max_similarity=ALIKE, keep="hardest")
    chosen = select(pool, method, 84, tiny_model, store=store)
    assert "116 of 200 rows" in chosen.notes[0]
    ours, theirs = set(chosen.picks.tolist()), set(public["semdedup"])
    assert theirs < ours
    for row in ours - theirs:
        alike_N = (cosines(rows)[row] > ALIKE) & (rows.groups_N == rows.groups_N[row])
        better = set(np.flatnonzero(alike_N & (rows.values_N > rows.values_N[row])).tolist())
        assert better and not better & ours


@pytest.mark.parametrize(("name", "some"), [("rds", range(5)), ("rds crowded", CROWDED)])
def test_rds_differs_only_in_that_no_target_row_loses_its_turn(
    name: str, some: Iterable[int], rows: Drawn, public: dict[str, Any]
):
    target_MD = rows.target_MD[list(some)]
    alone = [near_target(rows.vectors_ND, target_D[None]) for target_D in target_MD]
    assert losing_turns(alone) == public[name]
    ours = list(islice(near_target(rows.vectors_ND, target_MD), PICKS))
    same = first(ours)[:2] == public[name][:2]
    assert same and first(ours) != public[name]
    shares = [sum(f"row {m}" in step.reason for step in ours) for m in range(len(target_MD))]
    assert max(shares) - min(shares) <= 1


def test_rds_of_tasks_differs_only_in_that_no_task_loses_its_turn(
    rows: Drawn, public: dict[str, Any]
):
    target_MD, theirs = rows.target_MD[: len(TASKS)], public["rds tasks"]
    ours = list(islice(near_groups(rows.vectors_ND, target_MD, TASKS), PICKS))
    alone = []
    for task in sorted(set(TASKS)):
        of_task = target_MD[[name == task for name in TASKS]]
        alone.append(near_groups(rows.vectors_ND, of_task, [task] * len(of_task)))
    assert losing_turns(alone) == theirs
    assert first(ours)[:47] == theirs[:47] and first(ours) != theirs
    assert all(
        f"rows of {sorted(set(TASKS))[i % 3]}," in step.reason for i, step in enumerate(ours)
    )


def losing_turns(alone: list[Iterator[Step]]) -> list[int]:
    """In turn, each the next of all rows; one that is taken already is a turn lost."""
    turns = zip(*([step.pick for step in steps] for steps in alone), strict=True)
    return list(dict.fromkeys(chain.from_iterable(turns)))[:PICKS]


def cosines(rows: Drawn) -> np.ndarray:
    unit_ND = unit(rows.vectors_ND)
    return np.asarray(unit_ND @ unit_ND.T)
