"""Data sets of the hub, read as columnar inputs. Their code is never run."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from modicum.errors import InputError
from modicum.readers.columnar import Columnar
from modicum.readers.sources import HUB

if TYPE_CHECKING:
    import datasets

_ADDRESS = re.compile(HUB + r"([^:@]+)(?::([^@]+))?(?:@(.+))?")
_NAME = re.compile(r"[A-Za-z0-9_-][\w.-]*/[A-Za-z0-9_-][\w.-]*", re.ASCII)
_BATCH = 1024  # rows


class Address(NamedTuple):
    """`hf://org/name[:config][@split]`, taken apart."""

    name: str
    config: str | None
    split: str


def address(path: str) -> Address:
    """Take an address of the hub apart; the split is `train` where none is given."""
    # A bare word is a reader of `datasets`, and a path with dots a folder: neither is of the hub.
    if not (match := _ADDRESS.fullmatch(path)) or not _NAME.fullmatch(match[1]):
        raise InputError(f"{path} is not an address; write hf://org/name[:config][@split]")
    return Address(match[1], match[2], match[3] or "train")


def open_hub(path: str) -> tuple[Columnar, str]:
    """One split as a columnar input, written back as Parquet, and its fingerprint."""
    dataset = _load(path)
    return _columnar(dataset), str(dataset._fingerprint)


def _columnar(dataset: datasets.Dataset) -> Columnar:
    # In Arrow's own format nothing is decoded: images and sound stay as they are.
    tables = dataset.with_format("arrow").iter(batch_size=_BATCH)
    batches = (batch for table in tables for batch in table.to_batches())
    return Columnar(dataset.features.arrow_schema, batches, "parquet", "snappy")


def _load(path: str) -> datasets.Dataset:
    import datasets
    from datasets.exceptions import DatasetsError

    name, config, split = address(path)
    try:
        loaded = datasets.load_dataset(name, config, split=split)
    except (DatasetsError, OSError, ValueError) as error:
        first = str(error).strip().partition("\n")[0]
        raise InputError(f"{path} cannot be loaded: {first}") from error
    return loaded
