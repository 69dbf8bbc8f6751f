"""What this machine has for Modicum: versions, devices, speed, caches, the default model."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from modicum import models
from modicum.cache import cache_folder
from modicum.devices import has_cuda, multiplies_bfloat16
from modicum.free import free_memory
from modicum.runs import PACKAGES

EXTRAS = {
    "trl": "train",
    "peft": "train",
    "sentence-transformers": "encoder",
    "openai": "replay",
    "POT": "replay",
    "rouge-score": "replay",
    "simplemma": "replay",
    "yake": "replay",
    "ray": "ray",
}
T = TypeVar("T")
KEYS = ("HF_TOKEN", "OPENAI_API_KEY")
_SIZE = 2048  # of the square matrices that are multiplied
_SECONDS = 0.5  # of products for each kind of number


def machine(fast: bool = False) -> dict[str, Any]:
    """What is here, in types that `json.dumps` takes; `fast` leaves the timing out.

    Of keys only whether they are set is told. Nothing is written and nothing fetched.
    """
    return {
        "versions": {"python": platform.python_version()}
        | {name: _version(name) for name in PACKAGES},
        "extras": {name: _version(name) for name in EXTRAS},
        "platform": f"{platform.system()} {platform.machine()}",
        "cores": _cores(),
        "free_memory_bytes": free_memory(),
        "devices": list(_devices()),
        "gflops": None if fast else _unless(_products, RuntimeError, ImportError),
        "compiler": next(filter(None, map(shutil.which, ("c++", "g++", "clang++"))), None),
        "cache": _cache(),
        "model": _model(),
        "keys": {name: bool(os.environ.get(name)) for name in KEYS},
        "offline": _offline(),
    }


def _unless(tell: Callable[[], T], *wrong: type[Exception]) -> T | None:
    """What is told, or None where a broken installation cannot tell it."""
    try:
        return tell()
    except wrong:
        return None


def _offline() -> bool:
    """Whether the hub's library was told not to ask it."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _devices() -> Iterator[dict[str, Any]]:
    yield {"device": "cpu", "name": platform.processor(), "bfloat16": multiplies_bfloat16("cpu")}
    if not has_cuda():
        return
    import torch

    for number in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(number)
        yield {
            "device": f"cuda:{number}",
            "name": about.name,
            "bfloat16": multiplies_bfloat16("cuda"),
            "memory_bytes": about.total_memory,
        }


def _products() -> dict[str, float]:
    """Billions of operations a second in matrix products: float32, and bfloat16 where it is had."""
    import torch

    device = "cuda" if has_cuda() else "cpu"
    speeds = {}
    for name in ("float32", *(["bfloat16"] if multiplies_bfloat16(device) else [])):
        a = torch.ones((_SIZE, _SIZE), dtype=getattr(torch, name), device=device)
        (a @ a).sum().item()  # the first call sets up
        begun, times = time.perf_counter(), 0
        while (taken := time.perf_counter() - begun) < _SECONDS:
            (a @ a)[0, 0].item()  # waits until it is done
            times += 1
        speeds[name] = round(2 * _SIZE**3 * times / taken / 1e9, 1)
    return speeds


def _cache() -> dict[str, Any]:
    folder = cache_folder()
    parts = sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    return {
        "folder": str(folder),
        "free_bytes": shutil.disk_usage(there).free,
        "parts": {path.name: _size(path) for path in parts},
    }


def _size(folder: Path) -> dict[str, int]:
    sizes = []
    with suppress(OSError):  # a command may be at work there
        for path in folder.rglob("*"):
            with suppress(OSError):
                sizes += [path.stat().st_size] if path.is_file() else []
    return {"files": len(sizes), "bytes": sum(sizes)}


def _model() -> dict[str, Any]:
    """The default model, if its package is installed; the hub is not asked."""
    gguf = models.embedded()
    return {"embedded": str(gguf) if gguf else None, "install": models.DEFAULT_INSTALL}
