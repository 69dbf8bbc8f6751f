"""What is larger than memory is the same on disk as in memory, and leaves nothing behind."""

from __future__ import annotations

import errno
import mmap
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from modicum import pool as pools
from modicum import spool as module
from modicum.geometry import finished
from modicum.pool import Pool
from modicum.render import render
from modicum.spool import BatchSpool, Spool

SCHEMA = pa.schema([("id", pa.large_string()), ("row", pa.int64())])


@pytest.fixture(params=[0, 1 << 26], ids=["on disk", "in memory"])
def limit(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[int]:
    monkeypatch.setenv("MODICUM_CACHE", str(tmp_path))
    monkeypatch.setattr(module, "IN_MEMORY", request.param)
    monkeypatch.setattr(pools, "IN_MEMORY", request.param)
    yield request.param
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not left


def batch(*rows: int) -> pa.RecordBatch:
    return pa.record_batch([[f"r{row}" for row in rows], rows], schema=SCHEMA)


def test_rows_come_back_in_order(limit: int) -> None:
    spool = Spool(np.float16, 3)
    for start in (0, 6, 6):
        spool.add(np.arange(start, start + 6).reshape(2, 3))
    held = spool.whole()
    assert held.tolist() == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11], [6, 7, 8], [9, 10, 11]]
    assert held.dtype == np.float16
    assert spool.on_disk == (not limit) == (not held.flags.writeable)


def test_nothing_added_is_no_rows() -> None:
    assert Spool(np.int32).whole().shape == (0,) and Spool("f4", 5).whole().shape == (0, 5)
    assert BatchSpool(SCHEMA).table().num_rows == 0


def test_batches_come_back_in_order_without_those_taken_back(limit: int) -> None:
    spool = BatchSpool(SCHEMA)
    for row in range(4):
        spool.add(batch(row, row + 10))
    assert len(spool) == 4
    spool.cut(2)
    spool.add(batch(7))
    assert spool.table().to_pydict() == {
        "id": ["r0", "r10", "r1", "r11", "r7"],
        "row": [0, 10, 1, 11, 7],
    }
    spool.cut(0)
    assert spool.table().num_rows == 0


def test_a_pool_and_its_tokens_are_the_same(limit: int, tiny_pool: Pool, tiny_model) -> None:
    file = tiny_pool.files[0].path
    again = Pool.read(file)
    assert again.fingerprint == tiny_pool.fingerprint
    assert [*again] == [*tiny_pool] and again.ids == tiny_pool.ids
    some = again.take([1, 5, 6])
    assert some.ids == [tiny_pool.ids[i] for i in (1, 5, 6)]
    assert [*some] == [tiny_pool[i] for i in (1, 5, 6)]
    made = render(again, tiny_model.tokenizer)
    assert made.ids.flags.writeable == bool(limit)
    assert made.row(3).ids_T.tolist() == render([tiny_pool[3]], tiny_model.tokenizer).ids.tolist()
    assert made.take([4, 2]).ids.tolist() == [*made.row(4).ids_T, *made.row(2).ids_T]


def test_unit_rows_are_the_same_numbers_in_half_the_room_on_disk(limit: int) -> None:
    rows_ND = np.random.default_rng(0).normal(size=(50, 7)).astype(np.float32)
    made_ND = finished([rows_ND[:30], rows_ND[30:]], normalise=True)
    assert made_ND.dtype == (np.float32 if limit else np.float16)
    unit_ND = rows_ND / np.linalg.norm(rows_ND, axis=1, keepdims=True)
    assert np.array_equal(made_ND.astype("f4"), unit_ND.astype("f2").astype("f4"))
    assert np.array_equal(finished([rows_ND], normalise=False), rows_ND)


def test_a_full_disk_is_said_with_the_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MODICUM_CACHE", str(tmp_path))
    monkeypatch.setattr(module, "IN_MEMORY", 0)
    spool = Spool(np.int32)
    spool.add(np.arange(4))
    full = OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(spool._file, "flush", lambda: (_ for _ in ()).throw(full), raising=False)
    with pytest.raises(OSError, match="No space left") as raised:
        spool.add(np.arange(4))
    assert raised.value.filename == str(tmp_path)


def test_what_is_given_back_is_read_again_from_the_disk(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MODICUM_CACHE", str(tmp_path))
    monkeypatch.setattr(module, "IN_MEMORY", 0)
    spool = Spool(np.int64)
    spool.add(np.arange(4_000_000))
    held = spool.whole()
    assert held.sum() == 3_999_999 * 2_000_000
    before = resident()
    module.give_back()
    assert resident() < before - 30_000_000 or before == 0
    assert held[-1] == 3_999_999 and held.sum() == 3_999_999 * 2_000_000


def resident() -> int:
    """Bytes of this process that are in memory; 0 where the system does not say."""
    status = Path("/proc/self/statm")
    return int(status.read_text().split()[1]) * mmap.PAGESIZE if status.exists() else 0
