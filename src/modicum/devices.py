"""What this machine computes with: a CUDA device or none, and which numbers it multiplies."""

from __future__ import annotations

import platform
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def has_cuda() -> bool:
    """Whether there is a GPU. Torch, a second to import, is asked only if it could say yes."""
    try:
        installed = version("torch")
    except PackageNotFoundError:
        return False
    if platform.system() == "Darwin" or installed.endswith("+cpu"):
        return False
    import torch

    return torch.cuda.is_available()


def multiplies_bfloat16(device: str) -> bool:
    """Whether it has instructions for it; oneDNN says yes where a processor converts, too."""
    if device == "cuda":
        import torch

        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    x86 = platform.machine().lower() in ("x86_64", "amd64")
    if x86 and platform.system() == "Linux":  # as torch finds it, which takes a second to import
        flags = re.search(r"(?m)^flags\s*:(.*)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
        return bool(flags and {"avx512_bf16", "amx_tile"} & set(flags[1].split()))
    import torch

    if x86:
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
