"""What `doctor` found, for people."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from modicum.doctor import EXTRAS
from modicum.selection.memory import shown
from modicum.show import console


def doctor(found: dict[str, Any]) -> None:
    """A folder's findings, or the machine."""
    out = console()
    _folder(out, found) if "folder" in found else _machine(out, found)


def _folder(out: Console, found: dict[str, Any]) -> None:
    damaged = sum(one["damaged"] for one in found["found"])
    state = f"{damaged:,} damaged" if damaged else "no damage found"
    _line(out, found["kind"], f"{found['folder']}: {found['files']:,} files read, {state}")
    for one in found["found"]:
        _line(out, "damaged" if one["damaged"] else "note", f"{one['where']}: {one['what']}")
        _line(out, "", one["way_out"])


def _machine(out: Console, found: dict[str, Any]) -> None:
    versions = dict(found["versions"])
    memory = shown(found["free_memory_bytes"])
    _line(out, "modicum", f"{versions.pop('modicum')}, Python {versions.pop('python')}")
    _line(out, "machine", f"{found['platform']}, {found['cores']} cores, {memory} of memory free")
    extras = {name: version for name, version in found["extras"].items() if version}
    here = {**versions, **extras}.items()
    _line(out, "packages", ", ".join(f"{name} {version or 'missing'}" for name, version in here))
    missing = (EXTRAS[name] for name, version in found["extras"].items() if version is None)
    if extra := sorted(set(missing)):
        _line(out, "not here", f"pip install 'modicum[{','.join(extra)}]' brings what is not")
    for one in found["devices"]:
        how = "multiplies bfloat16" if one["bfloat16"] else "float32 only"
        _line(out, "device", ", ".join(filter(None, (one["device"], one["name"], how))))
    if found["gflops"]:
        speeds = (f"{name} {speed:,.0f} GFLOP/s" for name, speed in found["gflops"].items())
        _line(out, "products", ", ".join(speeds))
    _line(out, "compiler", found["compiler"] or "none: layers are not compiled, and run slower")
    _cache(out, found["cache"])
    model = found["model"]
    absent = f"not installed: {model['install']}, or give --model"
    _line(out, "model", model["embedded"] or absent)
    keys = (f"{name} {'set' if is_set else 'not set'}" for name, is_set in found["keys"].items())
    _line(out, "keys", ", ".join(keys))
    asked = "only for names that are not here"
    _line(out, "hub", "not asked (HF_HUB_OFFLINE)" if found["offline"] else asked)


def _cache(out: Console, cache: dict[str, Any]) -> None:
    _line(out, "cache", f"{cache['folder']}, {shown(cache['free_bytes'])} free on its disk")
    for name, part in cache["parts"].items():
        _line(out, "", f"{name}: {shown(part['bytes'])} in {part['files']:,} files")


def _line(out: Console, name: str, text: str) -> None:
    """As it is: no markup is read into a path."""
    out.print(f"{name:<10}{text}", markup=False, highlight=False, emoji=False, soft_wrap=True)
