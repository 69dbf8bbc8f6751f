"""With the embedded model: how far rounding moves a loss when its batch and its place change."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from modicum.meter import Meter
from modicum.models import find_model
from modicum.pool import Pool, RawRow, Turn
from modicum.store import Store
from modicum.wants import Loss

GIVEN = Loss()


def wordy_pool(count: int, sentences: int) -> Pool:
    """Rows of about 9 answer tokens a sentence, each row with words of its own."""
    words = ["rain", "a stone", "the number seven", "green", "my neighbour's dog", "salt", "home"]

    def said(i: int) -> str:
        return f"I think of {words[i % 7]} when I see {words[(i * 3 + 1) % 7]}."

    turns = [
        (
            Turn("user", f"Say {i} words about {words[i % 7]}.", False),
            Turn("assistant", " ".join(said(i + s) for s in range(1 + i % sentences)), True),
        )
        for i in range(count)
    ]
    return Pool.build(RawRow(None, "test", "", t, 0, i, 0, 0) for i, t in enumerate(turns))


def gaps(precision: str, sentences: int, tmp_path) -> np.ndarray:
    """How much each loss moves from a batch of its own to one of 16, in a pool turned around."""
    torch.set_num_threads(1)  # more wait for each other for minutes on a machine that is shared
    model, pool = find_model(None, precision=precision), wordy_pool(24, sentences)
    backwards = Pool(pool.table.take(np.arange(24)[::-1]), pool.files)
    longest = int(Meter(model).rendered(pool).lengths_N.max())
    alone = Meter(model, Store(tmp_path / "1"), batch_tokens=1)
    together = Meter(model, Store(tmp_path / "16"), batch_tokens=16 * longest)
    return np.abs(together.measured(backwards, GIVEN)[::-1] - alone.measured(pool, GIVEN))


@pytest.mark.real
def test_batches_and_order_do_not_move_losses_in_float32(tmp_path):
    assert gaps("float32", 2, tmp_path).max() < 1e-4


@pytest.mark.real
def test_batches_and_order_hardly_move_losses_in_bfloat16(tmp_path):
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        pytest.skip("this processor has no bfloat16")
    found = gaps("bfloat16", 12, tmp_path)  # 0.05 a token, less in the mean of an ordinary answer
    assert found.max() < 0.05
    assert found.mean() < 0.01
