"""Who maps a function over blocks of rows: threads of this process, or whoever is given instead."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from modicum.selection.distances import blas_alone, threads


class Over(Protocol):
    """Blocks are handed over once, and functions are mapped over them again and again."""

    def kept(self, blocks: Iterable[Any]) -> list[Any]:
        """Each block, or what stands for it where it is held."""
        ...

    def mapped(self, function: Callable[..., Any], *items: Iterable[Any]) -> Iterable[Any]:
        """As the builtin `map`, results in order; what `kept` gave stands for its block."""
        ...


class Threads:
    """Each item in one thread, some at once."""

    def kept(self, blocks: Iterable[Any]) -> list[Any]:
        return list(blocks)

    def mapped(self, function: Callable[..., Any], *items: Iterable[Any]) -> Iterator[Any]:
        at_once, waiting = threads(), deque[Any]()
        with blas_alone(), ThreadPoolExecutor(at_once) as pool:
            for each in zip(*items, strict=True):
                if len(waiting) == at_once:  # no more results wait than that
                    yield waiting.popleft().result()
                waiting.append(pool.submit(function, *each))
            while waiting:
                yield waiting.popleft().result()
