"""Filters: which rows of a pool are offered to a method at all.

A filter is called with a `Context` and returns a bool for every row of its pool: whether it stays.
What it measures stands in the context as a method's measurements do, and a row that it cannot
measure does not stay. `reason` says of the others why they are not offered.
"""

from typing import Protocol

import numpy as np

from modicum.context import Context


class Filter(Protocol):
    """The shape of a filter."""

    @property
    def name(self) -> str: ...

    @property
    def reason(self) -> str: ...

    def __call__(self, context: Context) -> np.ndarray:
        """(N,) bool: which rows of the context's pool stay."""
        ...
