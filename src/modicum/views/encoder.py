"""A sentence encoder's vectors."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from modicum.cache import file_hash
from modicum.errors import ModelError, OptionError
from modicum.geometry import blocks_of, finished, whitener
from modicum.measure import FLUSH_SECONDS
from modicum.meter import Meter
from modicum.models import first_line, from_hub, quiet, weights
from modicum.pool import Pool, texts
from modicum.progress import progress
from modicum.store import Block
from modicum.wants import Want

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

_BATCH = 32


@dataclass(frozen=True)
class Encoder:
    """A sentence-transformers model given by folder or hub id (`--set encoder=`).

    It reads as much of a text as its own limit allows (256 word pieces for all-MiniLM-L6-v2);
    how many rows were cut is counted in the ledger. A row without text is NaN.
    """

    encoder: str = ""
    over: Literal["row", "answer", "instruction"] = "row"
    normalise: bool = True
    whiten: bool = False

    name: ClassVar[str] = "encoder"
    wants: ClassVar[tuple[Want, ...]] = ()

    @property
    def fitted(self) -> bool:
        return self.whiten

    def __call__(self, pool: Pool, meter: Meter, *, fitted_on: Pool | None = None) -> np.ndarray:
        vectors_ND, whiten = self._encode(pool, meter), None
        if self.whiten:
            learned = vectors_ND if fitted_on is None else self._encode(fitted_on, meter)
            whiten = whitener(learned)
        return finished(blocks_of(vectors_ND), whiten=whiten, normalise=self.normalise)

    def other_model(self, trust_remote_code: bool) -> str:
        """A hash of the encoder as it lies there now. Its own code is never run."""
        return _fingerprint(self._folder())

    def _encode(self, pool: Pool, meter: Meter) -> np.ndarray:
        """Vectors as the encoder gives them, from the store where it has them."""
        folder = self._folder()
        dtype = str(meter.model.dtype).removeprefix("torch.")
        block = meter.store.block(f"{_fingerprint(folder)}-{dtype}", "encoding")
        found_texts = list(texts(pool, self.over))
        keys = [hashlib.blake2b(t.encode(), digest_size=16).digest() for t in found_texts]
        wordless_N = np.array([not t.strip() for t in found_texts], dtype=bool)
        found = block.find(keys)
        meter.ledger.damaged_shards.extend(found.damaged)
        meter.ledger.rows_reused += int((found.known_N & ~wordless_N).sum())
        rows_M = np.flatnonzero(~found.known_N & ~wordless_N)
        first = {keys[i]: int(i) for i in reversed(rows_M)}
        missing = sorted(first.values(), key=lambda i: (-len(found_texts[i]), i))
        if missing:
            self._fill(block, [(keys[i], found_texts[i]) for i in missing], folder, meter)
        if block.width is None:
            raise ModelError(f"encoder {self.encoder}: the pool has no text to encode")
        return block.load(keys, block.width).values_N

    def _fill(
        self, block: Block, missing: list[tuple[bytes, str]], folder: Path, meter: Meter
    ) -> None:
        with meter.ledger.time("load encoder"):
            network = self._load(folder, meter)
        flushed, keys, pending = time.monotonic(), list[bytes](), list[np.ndarray]()
        with meter.ledger.time("encode"), progress("encoding", len(missing)) as advance:
            for start in range(0, len(missing), _BATCH):
                rows = [text for _, text in missing[start : start + _BATCH]]
                self._count_cut(network, rows, meter)
                vectors = network.encode(rows, batch_size=_BATCH, show_progress_bar=False)
                keys += [key for key, _ in missing[start : start + _BATCH]]
                pending.append(np.asarray(vectors, dtype=np.float32))
                meter.ledger.encoder_rows += len(rows)
                advance(len(rows))
                last = start + _BATCH >= len(missing)
                if last or time.monotonic() - flushed > FLUSH_SECONDS:
                    block.add(keys, np.concatenate(pending))
                    flushed, keys, pending = time.monotonic(), [], []

    def _folder(self) -> Path:
        if not self.encoder:
            raise OptionError(
                "view=encoder needs --set encoder=FOLDER or a hub id, "
                "for instance sentence-transformers/all-MiniLM-L6-v2"
            )
        folder = Path(self.encoder)
        folder = folder if folder.is_dir() else from_hub(self.encoder)
        weights(folder, self.encoder)
        listed = folder / "modules.json"
        modules = json.loads(listed.read_text(encoding="utf-8")) if listed.is_file() else []
        foreign = [m["type"] for m in modules if not m["type"].startswith("sentence_transformers.")]
        if foreign:  # old versions of sentence-transformers run the code of any local folder
            raise ModelError(
                f"encoder {self.encoder} brings its own code ({', '.join(foreign)}), "
                "which Modicum does not run; use another encoder"
            )
        return folder

    def _load(self, folder: Path, meter: Meter) -> SentenceTransformer:
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError as error:
            raise OptionError(
                "view=encoder needs one more package: pip install 'modicum[encoder]'"
            ) from error
        try:
            with quiet():
                return SentenceTransformer(
                    str(folder),
                    device=str(meter.model.device),
                    model_kwargs={"dtype": meter.model.dtype, "use_safetensors": True},
                    local_files_only=True,
                )
        except (OSError, ValueError) as error:
            raise ModelError(
                f"encoder {self.encoder} cannot be loaded: {first_line(error)}"
            ) from error

    def _count_cut(self, network: SentenceTransformer, rows: list[str], meter: Meter) -> None:
        limit = network.max_seq_length
        if limit is None:
            return
        pieces = network.tokenizer(rows, truncation=False, verbose=False)["input_ids"]
        meter.ledger.encoder_rows_cut += sum(len(ids) > limit for ids in pieces)


def _fingerprint(folder: Path) -> str:
    """A hash of the encoder's weights, tokenizer and settings."""
    made = hashlib.blake2b(digest_size=16)
    for path in sorted(folder.rglob("*")):
        if path.suffix in {".safetensors", ".json", ".txt", ".model"}:
            made.update(f"{path.relative_to(folder)}={file_hash(path)};".encode())
    return made.hexdigest()
