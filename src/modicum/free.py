"""How much memory this process could still take: of the machine, and of its container."""

from __future__ import annotations

import os
import re
from pathlib import Path

_MACHINE = Path("/proc/meminfo")
_OWN_GROUP = Path("/proc/self/cgroup")
# Where control groups lie, and a group's files: its limit, what is in use, and a name in
# `memory.stat` of what of that is given back when asked for. Versions 2 and 1.
_GROUPS = (
    (Path("/sys/fs/cgroup"), "memory.max", "memory.current", "inactive_file"),
    (
        Path("/sys/fs/cgroup/memory"),
        "memory.limit_in_bytes",
        "memory.usage_in_bytes",
        "total_inactive_file",
    ),
)


def free_memory() -> int:
    """Bytes that this process could still take: of the machine, and of its container."""
    left = [_machine()]
    for root, limit, used, cached in _GROUPS:
        for group in _own_groups(root):
            if (most := _read(group / limit).strip()).isdigit():
                free = re.search(
                    rf"^{cached} ([0-9]+)$", _read(group / "memory.stat"), re.MULTILINE
                )
                taken = int(_read(group / used) or 0) - (int(free[1]) if free else 0)
                left.append(int(most) - max(0, taken))
    return max(2, min(left))


def _own_groups(root: Path) -> list[Path]:
    """The control group of this process under this root, and those that it is part of."""
    found = re.search(
        r"^(?:0:|[0-9]+:[^:\n]*\bmemory\b[^:\n]*):/?(.*)$", _read(_OWN_GROUP), re.MULTILINE
    )
    own = root / (found[1] if found else "")
    return [each for each in (own, *own.parents) if each.is_relative_to(root)]


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:  # not there, or not ours to see
        return ""


def _machine() -> int:
    if _MACHINE.exists():
        found = re.search(r"^MemAvailable: +([0-9]+) kB", _MACHINE.read_text(), re.MULTILINE)
        if found:
            return 1024 * int(found[1])
    # Elsewhere what is free is not asked for so easily: take it that half of the machine is.
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
