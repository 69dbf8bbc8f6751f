"""Attention a row at a time: the same as with a mask over the pack, and only where that mask is."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from modicum.training import Recipe
from modicum.training import trainer as training
from modicum.training.attention import RowByRow
from modicum.training.tune import start

LENGTHS = [5, 1, 9, 3]
POSITIONS_T = torch.cat([torch.arange(length) for length in LENGTHS])
ROWS_T = torch.repeat_interleave(torch.arange(len(LENGTHS)), torch.tensor(LENGTHS))
APART_TT = (ROWS_T[:, None] == ROWS_T).tril()  # what a token of a pack may see
TOKENS = len(ROWS_T)


def asked(heads: int = 2) -> list[torch.Tensor]:
    """Queries, keys and values of a pack, (1, H, T, 4)."""
    drawn = torch.Generator().manual_seed(0)
    shapes = [(1, 2, TOKENS, 4), (1, heads, TOKENS, 4), (1, heads, TOKENS, 4)]
    return [torch.randn(shape, generator=drawn, requires_grad=True) for shape in shapes]


def both_ways(mask: torch.Tensor | None, heads: int = 2, **given: Any) -> tuple[Any, Any]:
    """Result and gradients, as torch does it and row by row."""
    found = []
    for way in (None, RowByRow(POSITIONS_T)):
        qkv = asked(heads)
        if way is None:
            out = scaled_dot_product_attention(*qkv, attn_mask=mask, **given)
        else:
            with way:
                out = scaled_dot_product_attention(*qkv, attn_mask=mask, **given)
        (out * torch.linspace(0, 1, out.numel()).reshape(out.shape)).sum().backward()
        found.append([out.detach(), *(each.grad for each in qkv)])
    return found[0], found[1]


def additive(seen_TT: torch.Tensor) -> torch.Tensor:
    return torch.zeros(seen_TT.shape).masked_fill(~seen_TT, float("-inf"))


@pytest.mark.parametrize("mask", [APART_TT, additive(APART_TT)], ids=["yes and no", "added"])
@pytest.mark.parametrize("given", [{}, {"scale": 0.3}, {"enable_gqa": True, "heads": 1}])
def test_it_is_what_the_mask_over_the_pack_gives(mask, given) -> None:
    masked, by_row = both_ways(mask[None, None], **given)
    for one, other in zip(masked, by_row, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-5, atol=1e-6)
    assert not all(torch.equal(one, other) for one, other in zip(masked, by_row, strict=True))


WINDOW_TT = APART_TT & ~APART_TT.tril(-3)
TOGETHER_TT = torch.ones(TOKENS, TOKENS, dtype=torch.bool).tril()
BIASED_TT = additive(APART_TT) - 0.1 * torch.arange(TOKENS)


@pytest.mark.parametrize(
    "mask",
    [WINDOW_TT, TOGETHER_TT, BIASED_TT, APART_TT.T | APART_TT, APART_TT[:, :1].expand(-1, TOKENS)],
    ids=["a window", "rows together", "a bias", "what comes after", "the first token"],
)
def test_another_mask_is_left_alone(mask) -> None:
    """To the last bit: the very call that was asked for."""
    theirs, ours = both_ways(mask[None, None])
    for one, other in zip(theirs, ours, strict=True):
        assert torch.equal(one, other)


def test_without_a_mask_or_with_one_row_nothing_is_changed() -> None:
    theirs, ours = both_ways(None, is_causal=True)
    assert all(torch.equal(one, other) for one, other in zip(theirs, ours, strict=True))
    whole = RowByRow(torch.arange(TOKENS))
    assert not whole._plain(TOGETHER_TT[None, None])


def test_a_mask_is_looked_at_once_and_another_one_anew() -> None:
    way = RowByRow(POSITIONS_T)
    mask, window = APART_TT[None, None], WINDOW_TT[None, None]
    assert [way._plain(each) for each in (mask, window, mask, window)] == [True, False, True, False]
    assert len(way._known) == 2


@pytest.mark.parametrize(
    ("given", "by_row"),
    [({}, True), ({"gradient_checkpointing": True}, False), ({"use_peft": True}, True)],
)
def test_packs_are_trained_on_row_by_row(
    given, by_row, meter, tiny_pool, tiny_model, tmp_path, monkeypatch
) -> None:
    """And where layers run again in the backward pass, out of its sight, with the mask."""
    found = []

    class Watched(RowByRow):
        def _plain(self, mask: Any) -> bool:
            found.append(super()._plain(mask))
            return found[-1]

    monkeypatch.setattr(training, "RowByRow", Watched)
    recipe = Recipe({"max_length": 1024, **given})
    watch = training.Watch(lambda done: None)
    ready = start(meter.rendered(tiny_pool), tiny_model, tmp_path, recipe, 0, watch)
    (batch,) = ready.get_train_dataloader()
    ready.compute_loss(ready.model, batch).backward()
    assert bool(found) == by_row and all(found)
