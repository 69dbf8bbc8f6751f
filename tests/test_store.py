"""What is measured is found again, and what is half written never is."""

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest

from modicum.cache import cache_folder, file_hash
from modicum.store import Block, Store


def key(letter):
    return letter.encode() * 16


A, B, C, D = map(key, "abcd")


@pytest.fixture
def block(store):
    return store.block("model", "loss")


def test_values_come_back_for_the_keys_asked_in_the_order_asked(block):
    block.add([A, B, C], np.array([1.0, 2.0, 3.0]))
    found = block.load([C, A, C])
    assert found.values_N.tolist() == [3.0, 1.0, 3.0]
    assert found.values_N.dtype == np.float32
    assert found.known_N.all()


def test_vectors_come_back_as_they_were(block):
    block.add([A, B], np.array([[1, 2, 3], [4, 5, 6]], np.float32))
    assert block.width == 3
    assert block.load([B, A], width=3).values_N.tolist() == [[4, 5, 6], [1, 2, 3]]


def test_a_block_of_vectors_tells_what_it_knows_without_its_width(block):
    block.add([A], np.ones((1, 3), np.float32))
    assert block.find([A, B]).known_N.tolist() == [True, False]


def test_unknown_keys_are_nan_and_not_known(block):
    block.add([A], np.array([1.0]))
    found = block.load([B, A, D])
    assert found.known_N.tolist() == [False, True, False]
    assert np.isnan(found.values_N).tolist() == [True, False, True]


def test_an_empty_block_knows_nothing(block):
    found = block.load([A, B], width=2)
    assert not found.known_N.any()
    assert found.values_N.shape == (2, 2)
    assert block.width is None
    assert block.load([]).values_N.shape == (0,)


def test_a_value_that_could_not_be_measured_is_known_to_be_nan(block):
    block.add([A], np.array([np.nan]))
    found = block.load([A])
    assert found.known_N.all()
    assert np.isnan(found.values_N).all()


def test_adding_nothing_writes_nothing(block):
    block.add([], np.zeros(0))
    assert not block.folder.exists()


def test_two_stores_on_one_folder_add_without_loss(store):
    other = Store(store.folder)
    for n, (one, letter) in enumerate(zip([store, other] * 2, [A, B, C, D], strict=True)):
        one.block("model", "loss").add([letter], np.array([float(n)]))
    assert store.block("model", "loss").load([A, B, C, D]).values_N.tolist() == [0, 1, 2, 3]


def test_the_first_value_of_a_key_stays(block):
    block.add([A], np.array([1.0]))
    block.add([A, B], np.array([7.0, 2.0]))
    assert block.load([A, B]).values_N.tolist() == [1.0, 2.0]


@pytest.mark.parametrize("kept", [0, 7, 60, -1])
def test_a_truncated_shard_is_reported_and_its_rows_are_unknown(block, kept):
    block.add([A], np.array([1.0]))
    block.add([B, C], np.array([2.0, 3.0]))
    broken = sorted(block.folder.iterdir())[1]
    broken.write_bytes(broken.read_bytes()[:kept])
    found = block.load([A, B, C])
    assert found.damaged == (str(broken),)
    assert found.known_N.tolist() == [True, False, False]
    assert found.values_N[0] == 1.0


@pytest.mark.parametrize("at", [0, 9, 100, -60, -1])
def test_a_shard_with_a_flipped_bit_is_reported_and_its_rows_are_unknown(block, at):
    block.add([A], np.array([1.0]))
    block.add([B, C], np.array([2.0, 3.0]))
    broken = sorted(block.folder.iterdir())[1]
    flipped = bytearray(broken.read_bytes())
    flipped[at] ^= 1
    broken.write_bytes(flipped)
    found = block.load([A, B, C])
    assert found.damaged == (str(broken),)
    assert found.known_N.tolist() == [True, False, False]


def test_what_another_block_or_another_program_wrote_is_not_believed(block, store):
    other = store.block("another", "loss")
    other.add([A], np.array([7.0]))
    (shard,) = other.folder.iterdir()
    block.add([B], np.array([2.0]))
    shutil.copy(shard, block.folder)
    shutil.copy(shard, block.folder / "model.safetensors")
    (block.folder / "folder.safetensors").mkdir()
    found = block.load([A, B])
    assert [Path(path).name for path in found.damaged] == sorted(
        [shard.name, "model.safetensors", "folder.safetensors"]
    )
    assert found.known_N.tolist() == [False, True]
    assert other.load([A]).values_N.tolist() == [7.0]


def test_a_store_that_was_moved_is_believed(store, tmp_path):
    store.block("model", "loss").add([A], np.array([1.0]))
    store.folder.rename(tmp_path / "elsewhere")
    found = Store(tmp_path / "elsewhere").block("model", "loss").load([A])
    assert (found.values_N.tolist(), found.damaged) == ([1.0], ())


def test_a_file_that_is_being_written_is_not_read(block):
    block.add([A], np.array([1.0]))
    whole = next(block.folder.iterdir())
    (block.folder / f".{whole.name}.1234.part").write_bytes(whole.read_bytes()[:-3])
    assert block.load([A]).damaged == ()


def test_blocks_of_other_models_and_measurements_are_apart(store):
    store.block("model", "loss").add([A], np.array([1.0]))
    assert not store.block("model", "loss-alone").load([A]).known_N.any()
    assert not store.block("other", "loss").load([A]).known_N.any()


def test_fifty_thousand_keys_are_found_in_a_moment(block):
    keys = [i.to_bytes(16, "little") for i in range(52_000)]
    for part in range(0, 52_000, 1_000):
        block.add(keys[part : part + 1_000], np.arange(part, part + 1_000, dtype=np.float32))
    found = Block(block.folder).load(keys[::-1])
    assert found.values_N.tolist() == list(range(52_000))[::-1]


def test_a_file_hash_follows_the_bytes(tmp_path):
    path = tmp_path / "weights"
    path.write_bytes(b"one")
    first = file_hash(path)
    assert file_hash(path) == first
    path.write_bytes(b"three")
    assert file_hash(path) != first


def test_the_cache_is_where_the_environment_says(monkeypatch, tmp_path):
    monkeypatch.setenv("MODICUM_CACHE", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"
    monkeypatch.delenv("MODICUM_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "modicum"


def test_vectors_of_any_size_are_kept_to_one_part_in_two_thousand(tmp_path):
    drawn = np.random.default_rng(0)
    rows_ND = (drawn.normal(size=(6, 40)) * 10.0 ** np.arange(-12, 12, 4)[:, None]).astype("f4")
    rows_ND = np.vstack([rows_ND, np.zeros(40), np.full(40, np.nan)]).astype("f4")
    rows_ND[5, 5] = np.nan
    block, keys = Store(tmp_path).block("model", "hidden"), [bytes([i]) * 16 for i in range(8)]
    block.add(keys, rows_ND)
    found_ND = block.load(keys[::-1], 40).values_N[::-1]
    assert np.array_equal(np.isnan(found_ND), np.isnan(rows_ND))
    largest_N1 = np.nanmax(np.abs(np.where(np.isnan(rows_ND), 0, rows_ND)), axis=1, keepdims=True)
    assert (np.nan_to_num(np.abs(found_ND - rows_ND)) <= largest_N1 * 2**-11).all()
    again = Store(tmp_path / "again").block("model", "hidden")
    again.add(keys, found_ND)
    assert again.load(keys, 40).values_N.tobytes() == found_ND.tobytes()


def test_vectors_that_were_kept_as_float32_are_still_read(tmp_path):
    from safetensors.numpy import save

    values_ND = np.random.default_rng(0).normal(size=(2, 3)).astype("f4")
    keys = [b"a" * 16, b"b" * 16]
    held = {"keys": np.frombuffer(b"".join(keys), np.uint8).reshape(2, 16), "values": values_ND}
    data = save(held, {"block": "model/hidden"})
    made = hashlib.blake2b(data, digest_size=16).hexdigest()
    block = Store(tmp_path).block("model", "hidden")
    block.folder.mkdir(parents=True)
    (block.folder / f"1-{made}.safetensors").write_bytes(data)
    assert np.array_equal(block.load(keys, 3).values_N, values_ND)
