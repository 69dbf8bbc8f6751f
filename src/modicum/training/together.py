"""Several processes that train together, as `accelerate launch` starts them."""

from __future__ import annotations

import os
from typing import Any


def launched() -> bool:
    """Whether this process is one of several; said without meeting the others."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


class Processes:
    """All processes of a launch, this one among them. One alone needs no library for it."""

    def __init__(self) -> None:
        self._state: Any = None
        if launched():
            import torch
            from accelerate import PartialState

            # Not told that there is no GPU, accelerate makes each process one alone.
            self._state = PartialState(cpu=not torch.cuda.is_available())

    @property
    def first(self) -> bool:
        """Whether this is the one that reads and writes for all."""
        return self._state is None or bool(self._state.is_main_process)

    def told(self, decision: bool) -> bool:
        """What the first process decided."""
        if self._state is None:
            return decision
        from accelerate.utils import broadcast_object_list

        said = [decision]
        broadcast_object_list(said)
        return bool(said[0])

    def wait(self) -> None:
        """Until all are here."""
        if self._state is not None:
            self._state.wait_for_everyone()
