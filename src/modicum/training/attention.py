"""Attention in a pack of rows, a row at a time: a mask over the whole pack costs its square."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode


class RowByRow(TorchFunctionMode):
    """While it is entered, attention over a pack is worked out within each of its rows.

    `positions_T` are those of the pack's tokens, 0 where a row begins. Only calls whose mask says
    just that (a token sees itself and what is before it in its row) are changed: a window or
    another mask stays, and so does what has none. Up to rounding the result is the same.
    """

    def __init__(self, positions_T: torch.Tensor) -> None:
        super().__init__()
        starts = torch.nonzero(positions_T == 0)[:, 0].tolist()
        ends = [*starts[1:], len(positions_T)]
        self.lengths = [end - start for start, end in zip(starts, ends, strict=True)]
        self._row_T = torch.cumsum(positions_T == 0, 0)
        self._known: list[tuple[torch.Tensor, bool]] = []  # layers share one mask, or a few

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        given = dict(kwargs or {})
        if func is not scaled_dot_product_attention or len(args) != 3:
            return func(*args, **given)
        if not self._plain(given.get("attn_mask")):
            return func(*args, **given)
        rows = zip(*(each.split(self.lengths, dim=2) for each in args), strict=True)
        alone = {**given, "attn_mask": None, "is_causal": True}
        return torch.cat([func(*row, **alone) for row in rows], dim=2)

    def _plain(self, mask: torch.Tensor | None) -> bool:
        """Whether the mask keeps rows apart and tokens from what comes after, and no more."""
        if mask is None or len(self.lengths) == 1:
            return False
        for known, plain in self._known:
            if known is mask:
                return plain
        tokens = len(self._row_T)
        plain = tuple(mask.shape) == (1, 1, tokens, tokens)
        if plain:
            seen_TT = (self._row_T[:, None] == self._row_T).tril()
            open_TT = mask[0, 0] if mask.dtype == torch.bool else mask[0, 0] == 0
            plain = torch.equal(open_TT, seen_TT)
        self._known.append((mask, plain))
        return plain
