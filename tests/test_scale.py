"""A real Ray cluster of two workers: the same measurements and picks, and a death survived."""

from __future__ import annotations

import os
import shutil
import signal
import socket
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modicum.choose import Selection, select
from modicum.errors import ModelError, OptionError
from modicum.meter import Meter
from modicum.models import Model
from modicum.pool import Pool
from modicum.scale import engine_of
from modicum.scoring import score
from modicum.selection import kmeans, near_target
from modicum.selection.clusters import LEARNED_ROWS
from modicum.store import Store
from modicum.wants import HiddenState, Loss, Uncertainty

pytest.importorskip("ray", reason="needs Ray: pip install 'modicum[ray]'")

from modicum.scale import measuring
from modicum.scale.cluster import imported, places

WANTS = [Loss(), Uncertainty("entropy"), HiddenState(), HiddenState(layer=1)]
SMALL = 100 * 2**20  # bytes of shared memory on a machine
BATCH = 100  # tokens: seven batches

Make = Callable[..., Meter]


@pytest.fixture(scope="module")
def cluster(cache: Path) -> Iterator[str]:
    """Two machines of one processor each, as Ray sees them; their address."""
    imported()
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 1, "object_store_memory": SMALL, "include_dashboard": False}
    try:
        made = Cluster(initialize_head=True, head_node_args=head)
        made.add_node(num_cpus=1, object_store_memory=SMALL)
    except (OSError, RuntimeError, TimeoutError) as error:
        pytest.skip(f"Ray cannot be started on this machine: {error}")
    yield made.address
    made.shutdown()


@pytest.fixture(scope="module")
def joined(cluster: str) -> Iterator[None]:
    """A program that has joined the cluster already, which saves joining it in every test."""
    from modicum.scale.cluster import join

    assert join(cluster)
    yield
    imported().shutdown()


@pytest.fixture
def make(tiny_model: Model, tmp_path: Path) -> Make:
    def made(engine: str, place: str = "", **more: Any) -> Meter:
        store = Store(tmp_path / (place or engine))
        return Meter(tiny_model, store, batch_tokens=BATCH, engine=engine_of(engine), **more)

    return made


def dying(deaths: int, at: int) -> type[measuring.Worker]:
    """A worker whose first processes are killed at this batch, as if for want of memory.

    Made in here, for a class of this module would be sought in a module that workers lack.
    """

    class Dying(measuring.Worker):
        def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
            self.batches = getattr(self, "batches", 0) + 1
            marks = Path(os.environ["MODICUM_CACHE"]) / "killed"
            marks.mkdir(exist_ok=True)
            if self.batches == at and len(list(marks.iterdir())) < deaths:
                (marks / str(os.getpid())).touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return super().__call__(row)

    shutil.rmtree(Path(os.environ["MODICUM_CACHE"]) / "killed", ignore_errors=True)
    return Dying


def figures(meter: Meter) -> list[int]:
    """What a ledger counts, whoever did the work."""
    ledger = meter.ledger
    return [ledger.forward_passes, ledger.forward_tokens, ledger.padding_tokens]


def test_two_workers_measure_what_this_process_measures(
    joined: None, tiny_pool: Pool, make: Make, capfd: pytest.CaptureFixture[str]
):
    here, there = make("local"), make("ray")
    for meter in (here, there):
        meter.prepare(tiny_pool, WANTS)
    for want in WANTS:
        ours, theirs = here.measured(tiny_pool, want), there.measured(tiny_pool, want)
        np.testing.assert_allclose(theirs, ours, rtol=1e-5, atol=1e-6)
    assert figures(there) == figures(here)
    assert there.ledger.ray_tokens == there.ledger.forward_tokens
    assert (there.ledger.ray_workers, there.ledger.ray_workers_lost) == (2, 0)
    assert here.ledger.ray_tokens == here.ledger.ray_workers == 0
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize("first", ["local", "ray"])
def test_what_one_engine_began_another_goes_on_with(
    first: str, joined: None, tiny_pool: Pool, make: Make
):
    second = {"local": "ray", "ray": "local"}[first]
    begun, whole, rest = make(first, "both"), make(second, "both"), make("local", "alone")
    begun.prepare(tiny_pool.take(range(7)), [Loss(prompt=False)])
    found = whole.measured(tiny_pool, Loss(prompt=False))
    np.testing.assert_allclose(found, rest.measured(tiny_pool, Loss(prompt=False)), rtol=1e-5)
    passes = [meter.ledger.forward_passes for meter in (begun, whole, rest)]
    assert passes[0] > 0
    assert passes[0] + passes[1] == passes[2]
    assert whole.ledger.rows_reused == passes[0]


def test_a_worker_that_is_killed_is_replaced_and_counted(
    joined: None,
    tiny_pool: Pool,
    make: Make,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
):
    here, there = make("local"), make("ray")
    monkeypatch.setattr(measuring, "Worker", dying(1, at=2))
    found = there.measured(tiny_pool, Loss())
    np.testing.assert_allclose(found, here.measured(tiny_pool, Loss()), rtol=1e-5)
    assert figures(there) == figures(here)
    assert there.ledger.ray_workers_lost == 1
    (said,) = there.ledger.fallbacks
    assert said == "a worker of Ray was lost; what it had in hand is measured again"
    assert capfd.readouterr().out == ""


def test_work_that_kills_every_worker_ends_with_one_line(
    joined: None, tiny_pool: Pool, make: Make, monkeypatch: pytest.MonkeyPatch
):
    worker = dying(1, at=1)
    worker.deaths = 1  # of three it takes half a minute to die
    monkeypatch.setattr(measuring, "Worker", worker)
    with pytest.raises(ModelError, match="died 1 times, most likely for want of memory"):
        make("ray").measured(tiny_pool.take([0]), Loss())


def test_what_is_refused_in_a_worker_is_refused_here(joined: None, tiny_pool: Pool, make: Make):
    with pytest.raises(ModelError, match="layer 7 asked for, the model has 0 to 2"):
        make("ray").measured(tiny_pool.take([0]), HiddenState(layer=7))


def test_a_model_that_no_machine_has_room_for_is_refused(joined: None):
    with pytest.raises(ModelError, match=r"big needs some 1024 TiB .* none of the 2 machines"):
        places("big", 2**50)


def test_a_ray_of_its_own_is_started_and_ended_without_a_word(
    tiny_pool: Pool,
    tiny_model: Model,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
):
    ray = imported()
    ray.shutdown()
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    pool, chosen = tiny_pool, dict[str, Selection]()
    for name in ("local", "ray"):
        own = {"store": Store(tmp_path / name), "shards": 2, "engine": name}
        chosen[name] = select(pool, "k-center", 3, tiny_model, **own)
    assert chosen["ray"].picks.tolist() == chosen["local"].picks.tolist()
    assert chosen["ray"].gains.tolist() == pytest.approx(
        chosen["local"].gains.tolist(), nan_ok=True
    )
    assert chosen["ray"].meter.ledger.ray_workers > 0
    assert not ray.is_initialized()
    assert capfd.readouterr() == ("", "")


def test_an_address_where_nobody_answers_is_named(tiny_pool: Pool, tiny_model: Model, store: Store):
    imported().shutdown()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(OptionError, match=f"--ray-address {address}: no Ray to be had there"):
            score(tiny_pool, "loss", tiny_model, store=store, engine="ray", ray_address=address)


def test_clusters_and_rows_near_a_target_are_those_of_this_process(joined: None):
    drawn = np.random.default_rng(0)
    vectors_ND = drawn.normal(size=(LEARNED_ROWS + 2000, 4)).astype(np.float16)
    engine = engine_of("ray")
    here, there = (kmeans(vectors_ND, 3, 0, over=over) for over in (None, engine))
    assert np.array_equal(here.labels_N, there.labels_N)
    assert np.array_equal(here.centers_CD, there.centers_CD)
    target_MD = drawn.normal(size=(5, 4))
    near = [list(islice(near_target(vectors_ND, target_MD, over=o), 50)) for o in (None, engine)]
    assert near[0] == near[1]
