"""Ray as an engine: batches and parts of selections go to the workers of a cluster."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar

from modicum.ledger import Ledger
from modicum.measure import Passed, Run, Work
from modicum.scale.cluster import imported, join
from modicum.scale.measuring import passes


@dataclass
class OnRay:
    """The cluster at an address; joined, or started, when there is something to do."""

    address: str | None = None
    here: ClassVar[bool] = False
    _to_leave: bool = False

    def passes(self, work: Work, run: Run) -> Iterator[Passed]:
        """Every batch sent forward by some worker that holds the model."""
        self._join(run.ledger)
        return passes(work, run)

    def kept(self, blocks: Iterable[Any]) -> list[Any]:
        """Each block in the memory that the machines share, to be mapped over again and again."""
        self._join()
        return [imported().put(block) for block in blocks]

    def mapped(self, function: Callable[..., Any], *items: Iterable[Any]) -> Iterator[Any]:
        """As the builtin `map`: as many at once as the cluster has processors, in their order.

        A worker that is lost costs no more than its item, which another begins anew.
        """
        self._join()
        ray = imported()
        task, made = ray.remote(_called), ray.put(function)
        waiting: deque[Any] = deque()
        for each in zip(*items, strict=True):
            if len(waiting) >= max(1, int(ray.cluster_resources().get("CPU", 1))):
                yield ray.get(waiting.popleft())
            waiting.append(task.remote(made, *each))
        while waiting:
            yield ray.get(waiting.popleft())

    def close(self) -> None:
        """End the Ray that was started here, or leave the cluster that was joined."""
        if self._to_leave:
            imported().shutdown()
            self._to_leave = False

    def _join(self, ledger: Ledger | None = None) -> None:
        with ledger.time("start ray") if ledger else nullcontext():
            self._to_leave |= join(self.address)


def _called(function: Callable[..., Any], *items: Any) -> Any:
    return function(*items)
