"""What selectors may take: written, found, refused beforehand, foretold, and kept to."""

from __future__ import annotations

import os
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modicum import free, question
from modicum.choose import select
from modicum.errors import OptionError
from modicum.meter import Meter
from modicum.models import Model
from modicum.pool import Pool
from modicum.question import Question, ask
from modicum.selection import apart, kmeans, near_target
from modicum.selection.clusters import needs as kmeans_needs
from modicum.selection.memory import Need, parse, shown, spare
from modicum.selection.nearest import needs as near_needs
from modicum.selection.threshold import needs as apart_needs


@pytest.mark.parametrize(
    ("written", "size"),
    [
        ("4GiB", 4 * 2**30),
        ("512MB", 512 * 10**6),
        ("2G", 2 * 2**30),
        ("1.5 kib", 1536),
        ("800", 800),
        ("800B", 800),
        (7, 7),
    ],
)
def test_sizes_are_read(written: str | int, size: int) -> None:
    assert parse(written) == size


@pytest.mark.parametrize("written", ["", "lots", "-1", "4GiBs", "0", "0.5", "50%", "1e9", True])
def test_what_is_no_size_is_refused(written: str) -> None:
    with pytest.raises(OptionError, match=r"memory .* 4GiB, 512MB, 2G"):
        parse(written)


@pytest.mark.parametrize(
    ("size", "said"), [(0, "0 B"), (640, "640 B"), (3584, "3.5 KiB"), (12 << 20, "12 MiB")]
)
def test_sizes_are_said(size: int, said: str) -> None:
    assert shown(size) == said


def test_a_refusal_names_selector_need_limit_and_way_out() -> None:
    said = "^apart needs 3 KiB beside the vectors and may take 2 KiB; give more --memory, or wait$"
    with pytest.raises(OptionError, match=said):
        spare("apart", 2048, 1024, 2048, "wait")
    assert spare("apart", 2048, 1024, 4096, "wait") == 2048
    assert spare("apart", 2048, 1024, None, "wait") == np.inf


def group(folder: Path, limit: str, used: int, cached: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 7\ninactive_file {cached}\nactive_file 9\n")


def test_what_is_free_is_no_more_than_the_machine_or_a_container_around_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert 0 < free.free_memory() <= physical
    root = tmp_path / "cgroup"
    (tmp_path / "own").write_text("0::/job/step\n")
    monkeypatch.setattr(free, "_OWN_GROUP", tmp_path / "own")
    monkeypatch.setattr(free, "_GROUPS", ((root, *free._GROUPS[0][1:]),))
    group(root / "job", "5000", used=4000, cached=2000)  # 2000 of them are given back when asked
    group(root / "job" / "step", "max", used=100, cached=0)
    assert free.free_memory() == 3000
    group(root / "job" / "step", "1000", used=100, cached=0)
    assert free.free_memory() == 900
    group(root / "job" / "step", "max", used=100, cached=0)
    group(root / "job", "max", used=4000, cached=2000)
    assert free.free_memory() > 3000


@pytest.mark.parametrize(
    ("said", "own"),
    [
        ("12:cpu,cpuacct:/a\n4:memory:/docker/x\n0::/\n", "docker/x"),
        ("3:memory,hugetlb:/y\n", "y"),
        ("0::/\n", ""),
        ("", ""),
    ],
)
def test_the_own_group_is_found(
    said: str, own: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own").write_text(said)
    monkeypatch.setattr(free, "_OWN_GROUP", tmp_path / "own")
    assert free._own_groups(tmp_path)[0] == tmp_path / own
    assert free._own_groups(tmp_path)[-1] == tmp_path


def test_half_of_the_machine_is_taken_to_be_free_where_it_does_not_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(free, "_MACHINE", tmp_path / "missing")
    monkeypatch.setattr(free, "_GROUPS", ())
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert free.free_memory() == physical // 2


# --- selectors: less memory, the same picks -------------------------------------------------------


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((3000, 24)).astype(np.float32)
    return np.concatenate([rows, rows[:500], 3 * rows[500:800]])


@pytest.mark.parametrize("memory", [None, 2 << 20, 700_000])
@pytest.mark.parametrize("limit", [0.5, 1.0])
def test_the_threshold_walk_picks_the_same_in_any_memory(
    limit: float, memory: int | None, vectors: np.ndarray
) -> None:
    values = np.arange(len(vectors)) % 97
    steps = list(apart(vectors, values, limit, start_MD=vectors[:3], memory=memory))
    assert steps == list(apart(vectors, values, limit, start_MD=vectors[:3]))
    assert (len(steps) == 3800) == (limit == 1.0)


@pytest.mark.parametrize("memory", [2 << 20, 200_000])
def test_near_target_picks_the_same_in_any_memory(memory: int, vectors: np.ndarray) -> None:
    target = vectors[100:120] + 0.01
    steps = list(near_target(vectors, target, memory=memory))
    assert len(steps) == 3800
    assert steps == list(near_target(vectors, target))


def test_selectors_are_refused_before_they_start(vectors: np.ndarray) -> None:
    with pytest.raises(OptionError, match="apart needs"):
        apart(vectors, vectors[:, 0], 0.9, memory=100_000)
    with pytest.raises(OptionError, match=r"near_target needs .* fewer target rows"):
        near_target(vectors, vectors[:500], memory=100_000)
    with pytest.raises(OptionError, match="kmeans needs"):
        kmeans(vectors, 3, 0, memory=100_000)


@pytest.mark.parametrize("memory", [1 << 20, 3 << 20, 100 << 20])
def test_what_is_said_is_within_the_memory_given(memory: int) -> None:
    assert apart_needs(8000, 32, memory=memory) <= memory
    assert near_needs(8000, 32, targets=40, memory=memory) <= memory
    assert kmeans_needs(2000, 4, clusters=3, memory=2 << 20) <= 2 << 20


# --- methods: said before anything is measured ----------------------------------------------------


@pytest.fixture
def asked(tiny_pool: Pool, tiny_model: Model) -> Any:
    def put(method: str, memory: str | None = None, **options: Any) -> Question:
        aims = tiny_pool.take([2, 3]) if method == "ltd" else None
        meter = Meter(tiny_model)
        return ask(tiny_pool, method, 3, meter, 0, target=aims, memory=memory, **options)

    return put


@pytest.mark.parametrize(
    ("method", "selectors"),
    [
        ("k-center", ["kcenter"]),
        ("kmeans", ["kmeans"]),
        ("ltd", ["kmeans", "kcenter"]),
        ("diverse-evol", ["kcenter"]),
        ("random", []),
        ("longest", []),
    ],
)
def test_a_plan_says_what_the_selectors_will_take(
    method: str, selectors: list[str], asked: Any
) -> None:
    options = {"initial": 2} if method == "diverse-evol" else {}
    found = asked(method, "1GiB", **options)
    assert [need.selector for need in found.selectors] == selectors
    for need in found.selectors:
        assert need.vectors == 4 * 12 * found.context.meter.model.text_config.hidden_size
        assert 0 < need.beside <= found.context.memory == 2**30


@pytest.mark.parametrize("method", ["k-center", "kmeans", "ltd"])
def test_too_little_memory_is_refused_before_anything_is_measured(method: str, asked: Any) -> None:
    with pytest.raises(OptionError, match="memory"):
        asked(method, "2000")
    with pytest.raises(OptionError, match="memory"):
        asked(method, "2000", view="lexical")


def test_by_default_half_of_what_is_free_may_be_taken(
    asked: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(question, "free_memory", lambda: 10**9)
    assert asked("k-center").context.memory == 5 * 10**8


def test_the_memory_given_reaches_the_selector(
    tiny_pool: Pool, tiny_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = list[Any]()

    def noted(*_: Any, memory: int | None, **__: Any) -> Any:
        seen.append(memory)
        return islice(range(12), 3)

    monkeypatch.setattr("modicum.methods.k_center.kcenter", noted)
    monkeypatch.setattr("modicum.context.Context.own_rows", lambda self, steps: steps)
    select(tiny_pool, "k-center", 3, tiny_model, memory="64MiB")
    assert seen == [64 << 20]


def test_a_need_is_written_with_what_its_vectors_take() -> None:
    assert Need("apart", 5, 7).to_json() == {"selector": "apart", "bytes": 5, "vectors_bytes": 7}
