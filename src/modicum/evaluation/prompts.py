"""Prompts that a model has read once: tokens go on behind them without reading them again."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from modicum.batches import padded
from modicum.head import in_bfloat16

if TYPE_CHECKING:
    import torch


class Prompts(NamedTuple):
    """B prompts that a model has read, padded on the left: all end at the same place."""

    network: Any
    cache: Any
    last_BD: torch.Tensor  # hidden states of their last tokens
    lengths_B: torch.Tensor
    width: int

    @property
    def bytes_a_row(self) -> int:
        """Of a prompt's keys and values in the layer that holds most of them."""
        return max(int(x.keys[0].nbytes + x.values[0].nbytes) for x in self.cache.layers)

    def behind(self, rows_P: torch.Tensor, ids_PT: torch.Tensor) -> torch.Tensor:
        """Hidden states (P, T, D) of tokens behind the prompts of these rows, any number a prompt.

        The prompts stay as they are: what was read last is kept no longer.
        """
        cache = copy.copy(self.cache)
        cache.repeats = rows_P
        return _onward(self.network, ids_PT, cache, self.lengths_B[rows_P], self.width)


def read(network: Any, prompts: Sequence[np.ndarray]) -> Prompts:
    """One pass over all of them. The model must be one that `keeps` says yes of."""
    ids_BT, mask_BT = padded(prompts, network.device)
    cache, lengths_B, width = _cache(network), mask_BT.sum(1), ids_BT.shape[1]
    hidden_BTD = _onward(network, ids_BT, cache, lengths_B, width)
    return Prompts(network, cache, hidden_BTD[:, -1], lengths_B, width)


def _onward(
    network: Any, ids_BT: torch.Tensor, cache: Any, lengths_B: torch.Tensor, width: int
) -> torch.Tensor:
    """Hidden states (B, T, D) of tokens that follow what the cache holds.

    `lengths_B`: of the prompts, which end at `width`. What stands before them is padding.
    """
    import torch

    seen, length, places = int(cache.get_seq_length()), ids_BT.shape[1], {}
    if int(lengths_B.min()) < width:
        place_BT = torch.arange(seen + length, device=ids_BT.device) - (width - lengths_B)[:, None]
        places = {"attention_mask": (place_BT >= 0).long()}
        if "position_ids" in _takes(network):
            places["position_ids"] = place_BT[:, seen:].clamp_min(0)
    with torch.inference_mode():
        embedded_BTD = network.get_input_embeddings()(ids_BT).float()  # as forward_hidden does
        with torch.autocast(network.device.type, torch.bfloat16, enabled=in_bfloat16(network)):
            out = network.base_model(
                inputs_embeds=embedded_BTD, past_key_values=cache, use_cache=True, **places
            )
    return out.last_hidden_state  # type: ignore[no-any-return]


def _cache(network: Any) -> Any:
    """An empty cache of one precision: rotary embeddings leave keys in float32 beside bfloat16."""
    import torch
    from transformers import DynamicCache

    dtype = torch.bfloat16 if in_bfloat16(network) else torch.float32

    class Kept(DynamicCache):
        repeats: torch.Tensor | None = None  # rows that what follows goes on from, kept no longer

        def update(
            self,
            key_states: torch.Tensor,
            value_states: torch.Tensor,
            layer_idx: int,
            *args: Any,
            **kwargs: Any,
        ) -> tuple[torch.Tensor, torch.Tensor]:
            layer: Any = self.layers[layer_idx]
            if self.repeats is not None:  # of one layer at a time: all would not fit
                layer = copy.copy(layer)
                layer.batch_select_indices(self.repeats)
            return layer.update(  # type: ignore[no-any-return]
                key_states.to(dtype), value_states.to(dtype), *args, **kwargs
            )

    return Kept(config=network.config)


def keeps(network: Any) -> bool:
    """Whether what a model keeps of a prompt is keys and values of attention, and nothing else."""
    from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

    kinds = {type(layer) for layer in _cache(network).layers}
    plain = bool(kinds) and kinds <= {DynamicLayer, DynamicSlidingWindowLayer}
    return plain and "past_key_values" in _takes(network)


def _takes(network: Any) -> set[str]:
    return set(inspect.signature(network.base_model.forward).parameters)
