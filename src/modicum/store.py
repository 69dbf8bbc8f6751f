"""What was measured, on disk, keyed by content, so that nothing is measured twice.

A block holds one kind of measurement by one model: a folder of shards, each a safetensors file
with `keys` (n, 16) and `values`, float32 (n,) or float16 (n, D). Vectors have `exponents` (n,)
beside them: a row is its values times two to that, so that none is too large for float16. Shards
are only ever added, under names of their own, so several processes may fill one block. A shard is
named by the hash of its bytes and says which block it was written for: one that was cut, changed or
put there by hand is not believed.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from modicum import durable
from modicum.cache import cache_folder
from modicum.spool import Spool, give_back

KEY_BYTES = 16
_HASH_BYTES = 16
_KEY = pa.binary(KEY_BYTES)
_SHARD = re.compile(r"[0-9]{20}-[0-9a-f]{32}")
_AT_ONCE = 4096  # rows


class Found(NamedTuple):
    """What a block holds for some keys: which it knows, and the values (NaN where it does not)."""

    known_N: np.ndarray
    values_N: np.ndarray  # (N,) or (N, D) float32, mapped from a file where they are many
    damaged: tuple[str, ...]  # shards that are not as written; their rows count as unknown


class Places(NamedTuple):
    """Where a block holds the values of some keys."""

    shards: list[Path]
    shard_N: np.ndarray  # index into `shards`, -1 for an unknown key
    row_N: np.ndarray  # within its shard
    damaged: tuple[str, ...]

    @property
    def known_N(self) -> np.ndarray:
        return self.shard_N >= 0


@dataclass(frozen=True)
class Block:
    """One kind of measurement by one model."""

    folder: Path

    @property
    def width(self) -> int | None:
        """D of the vectors that are held; None if there are none yet, or numbers."""
        from safetensors import safe_open

        for path in self._shards():
            if self._believed(path):
                with safe_open(path, framework="numpy") as shard:
                    shape = shard.get_slice("values").get_shape()
                return int(shape[1]) if len(shape) == 2 else None
        return None

    def find(self, keys: Sequence[bytes]) -> Places:
        """Where each key's value stands: all shards' keys are searched at once, oldest first."""
        from safetensors import safe_open

        shards: list[Path] = []
        held: list[np.ndarray] = []
        damaged: list[str] = []
        for path in self._shards():
            if not self._believed(path):
                damaged.append(str(path))
                continue
            shards.append(path)
            with safe_open(path, framework="numpy") as shard:
                held.append(shard.get_tensor("keys"))
        starts = np.cumsum([0, *(len(keys_M16) for keys_M16 in held)])
        at_N = _places(np.concatenate([np.zeros((0, KEY_BYTES), np.uint8), *held]), keys)
        shard_N = np.searchsorted(starts, at_N, side="right") - 1
        return Places(shards, shard_N, at_N - starts[shard_N], tuple(damaged))

    def load(self, keys: Sequence[bytes], width: int | None = None) -> Found:
        """Values for these keys. `width` is D for vectors, None for numbers."""
        places = self.find(keys)
        shape = () if width is None else (width,)
        # Shard after shard, so that one is open at a time, and then in the order asked for.
        order_N = np.argsort(places.shard_N, kind="stable")
        edges = np.searchsorted(places.shard_N[order_N], np.arange(len(places.shards) + 1))
        held = Spool(np.float32, *shape)
        for path, start, end in zip(places.shards, edges, edges[1:], strict=False):
            if start < end:
                held.add(_read(path, places.row_N[order_N[start:end]]))
        held_M, at_N = held.whole(), np.full(len(keys), -1, dtype=np.int64)
        at_N[order_N[edges[0] :]] = np.arange(len(held_M))
        made = Spool(np.float32, *shape)
        for begin in range(0, len(keys), _AT_ONCE):
            at_B = at_N[begin : begin + _AT_ONCE]
            values_B = np.full((len(at_B), *shape), np.nan, dtype=np.float32)
            values_B[at_B >= 0] = held_M[at_B[at_B >= 0]]
            made.add(values_B)
            give_back()
        return Found(places.known_N, made.whole(), places.damaged)

    def add(self, keys: Sequence[bytes], values_N: np.ndarray) -> None:
        """Append measured values, durably."""
        from safetensors.numpy import save

        if not keys:
            return
        tensors: dict[str, np.ndarray] = {
            "keys": np.frombuffer(b"".join(keys), dtype=np.uint8).reshape(-1, KEY_BYTES),
            **_written(np.ascontiguousarray(values_N, dtype=np.float32)),
        }
        data = save(tensors, {"block": self._name})
        made = hashlib.blake2b(data, digest_size=_HASH_BYTES).hexdigest()
        durable.write_bytes(self.folder / f"{time.time_ns():020d}-{made}.safetensors", data)

    @property
    def _name(self) -> str:
        return f"{self.folder.parent.name}/{self.folder.name}"

    def _believed(self, path: Path) -> bool:
        """Whether a shard is as it was written, and written for this block."""
        try:
            seen = path.stat()
        except OSError:
            return False
        return _whole(path, seen.st_size, seen.st_mtime_ns) == self._name

    def _shards(self) -> list[Path]:
        return sorted(self.folder.glob("*.safetensors"))


def _written(values_N: np.ndarray) -> dict[str, np.ndarray]:
    """Numbers as they are; vectors in float16, each row scaled so that its largest is below 1."""
    if values_N.ndim == 1:
        return {"values": values_N}
    largest_N = np.abs(values_N).max(axis=1, initial=0, where=np.isfinite(values_N))
    exponent_N = np.frexp(largest_N)[1].astype(np.int16)
    scaled_ND = np.ldexp(values_N, -exponent_N[:, None].astype(np.int32))
    return {"values": scaled_ND.astype(np.float16), "exponents": exponent_N}


def _read(path: Path, rows_M: np.ndarray) -> np.ndarray:
    """These rows of a shard, float32."""
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as shard:
        values_M = np.asarray(shard.get_tensor("values")[rows_M], dtype=np.float32)
        if values_M.ndim == 1 or "exponents" not in shard.keys():  # noqa: SIM118
            return values_M
        exponent_M1 = shard.get_tensor("exponents")[rows_M][:, None].astype(np.int32)
    return np.asarray(np.ldexp(values_M, exponent_M1))


@dataclass(frozen=True)
class Store:
    """All blocks below one folder: by default `measured` in the cache folder."""

    folder: Path

    @staticmethod
    def default() -> Store:
        """The store that every run shares."""
        return Store(cache_folder() / "measured")

    def block(self, made_by: str, what: str) -> Block:
        """The block of one measurement (`what`) by one model and precision (`made_by`)."""
        return Block(self.folder / made_by / what)

    def checked(self) -> tuple[int, list[str]]:
        """How many shards are as they were written, and the paths of those that are not."""
        shards = sorted(self.shards())
        damaged = [str(path) for path in shards if not Block(path.parent)._believed(path)]
        return len(shards) - len(damaged), damaged

    def shards(self) -> Iterator[Path]:
        """Every file that is named as a shard is, and not, say, a model's weights."""
        found = self.folder.glob("*/*/*.safetensors")
        return (path for path in found if _SHARD.fullmatch(path.stem))


@lru_cache(maxsize=1 << 14)
def _whole(path: Path, size: int, changed: int) -> str | None:
    """The block that a shard was written for; None if its bytes are not those it is named by.

    A file is hashed once while its size and time stay as they are.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with path.open("rb") as file:
            made = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=_HASH_BYTES))
        if path.stem.rpartition("-")[2] != made.hexdigest():
            return None
        with safe_open(path, framework="numpy") as shard:
            return (shard.metadata() or {}).get("block")
    except (OSError, SafetensorError):
        return None


def _places(keys_M16: np.ndarray, wanted: Sequence[bytes]) -> np.ndarray:
    """For each wanted key its first row among `keys_M16`, or -1."""
    held = pa.FixedSizeBinaryArray.from_buffers(
        _KEY, len(keys_M16), [None, pa.py_buffer(np.ascontiguousarray(keys_M16))]
    )
    found = pc.index_in(pa.array(wanted, _KEY), value_set=held)
    return np.asarray(pc.fill_null(found, -1).to_numpy(zero_copy_only=False), dtype=np.int64)
