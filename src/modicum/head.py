"""What a model's head makes of hidden states: logits, and numbers of the tokens they predict.

The vocabulary projection runs only where an answer token is predicted, and piece by piece, so
batch × tokens × vocabulary never exists.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from modicum.render import ANSWER

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from modicum.forward import Batch

CHUNK = 128  # answer positions whose logits exist at once
# Logits that exist at once where whole distributions are not needed: they should stay in a
# processor's cache, and on a GPU be enough work for a launch.
_TILE = {"cpu": 1 << 22, "cuda": 1 << 26}
_NARROWEST = 256  # columns of a tile: below, the products of small matrices take over

Unsure = Literal["least-confidence", "margin", "entropy"]
OfToken = Literal["loss"] | Unsure


def in_bfloat16(network: PreTrainedModel) -> bool:
    """Whether the weights are bfloat16; the head, and an embedding tied to it, never are."""
    import torch

    return any(weight.dtype == torch.bfloat16 for weight in network.parameters())


def answer_means(
    network: PreTrainedModel, hidden_BTD: torch.Tensor, batch: Batch, kinds: Sequence[OfToken]
) -> dict[OfToken, np.ndarray]:
    """(B,) float32 of each kind: a row's mean over its answer tokens. NaN if it has none.

    The first token of a sequence is predicted by nothing and does not count.
    """
    import torch

    device = hidden_BTD.device
    answer_BT = (batch.kinds_BT == ANSWER).to(device)
    at_M2 = torch.nonzero(answer_BT[:, 1:])  # the position before each predicted token
    target_M = batch.ids_BT.to(device)[:, 1:][answer_BT[:, 1:]]
    counts_B = torch.zeros(len(batch.ids_BT), dtype=torch.float64, device=device)
    row_M = at_M2[:, 0]
    counts_B.index_add_(0, row_M, torch.ones_like(row_M, dtype=torch.float64))
    with torch.inference_mode():
        hidden_MD = hidden_BTD[row_M, at_M2[:, 1]]
        values = token_values(network, hidden_MD, target_M, kinds)
    means: dict[OfToken, np.ndarray] = {}
    for kind, value_M in values.items():
        sums_B = torch.zeros_like(counts_B).index_add_(0, row_M, value_M.double())
        means[kind] = (sums_B / counts_B).float().cpu().numpy()
    return means


def openings(
    network: PreTrainedModel, hidden_BTD: torch.Tensor, batch: Batch, tokens: Sequence[int]
) -> dict[int, np.ndarray]:
    """(B,) float32 of each token: ln p of it where a row's first answer begins.

    NaN where there is no answer, or nothing before it.
    """
    import torch

    answer_BT = batch.kinds_BT.to(hidden_BTD.device) == ANSWER
    first_B = answer_BT.int().argmax(1)  # 0 too where there is none
    found_B = torch.full((len(first_B), len(tokens)), torch.nan, device=hidden_BTD.device)
    rows_R = torch.nonzero(first_B)[:, 0]
    for start in range(0, len(rows_R), CHUNK):
        rows_P = rows_R[start : start + CHUNK]
        with torch.inference_mode():
            logits_PV = head(network, hidden_BTD[rows_P, first_B[rows_P] - 1])
            found_B[rows_P] = logits_PV.log_softmax(1)[:, list(tokens)]
    columns = found_B.cpu().numpy()
    return {token: columns[:, k] for k, token in enumerate(tokens)}


def token_values(
    network: Any,
    hidden_MD: torch.Tensor,
    target_M: torch.Tensor,
    kinds: Sequence[OfToken],
) -> dict[OfToken, torch.Tensor]:
    """(M,) of each kind for each target, predicted from the hidden state beside it."""
    import torch

    if list(kinds) == ["loss"] and _plain(network):
        return {"loss": losses(network, hidden_MD, target_M)}
    parts: dict[OfToken, list[torch.Tensor]] = {kind: [] for kind in kinds}
    for start in range(0, len(target_M), CHUNK):
        part = slice(start, start + CHUNK)
        logits_PV = head(network, hidden_MD[part])
        for kind, found in parts.items():
            found.append(of_tokens(logits_PV, target_M[part], kind))
    none = [hidden_MD.new_zeros(0)]
    return {kind: torch.cat(found or none) for kind, found in parts.items()}


def losses(network: Any, hidden_MD: torch.Tensor, target_M: torch.Tensor) -> torch.Tensor:
    """(M,) −ln p of each target under a linear head, a tile of the float32 logits at a time."""
    import torch

    output = network.get_output_embeddings()
    hidden_MD = hidden_MD.float()
    columns = max(_NARROWEST, _TILE[hidden_MD.device.type] // max(1, len(hidden_MD)))
    right_M, totals = hidden_MD.new_zeros(len(hidden_MD)), []
    for start in range(0, len(output.weight), columns):
        part = slice(start, start + columns)
        bias = None if output.bias is None else output.bias[part]
        with _products(network):
            logits_MV = torch.nn.functional.linear(hidden_MD, output.weight[part], bias)
        logits_MV = _shaped(network, logits_MV)
        here_P = torch.nonzero((target_M >= start) & (target_M < start + logits_MV.shape[1]))[:, 0]
        right_M[here_P] = logits_MV[here_P, target_M[here_P] - start]
        # In place: as `logsumexp` does it, a second tile would push the first out of the cache.
        top_M1 = logits_MV.amax(1, keepdim=True)
        totals.append(logits_MV.sub_(top_M1).exp_().sum(1).log_() + top_M1[:, 0])
    return torch.logsumexp(torch.stack(totals), 0) - right_M


def _plain(network: Any) -> bool:
    """Whether the head is a linear map and no more; what another may do, only itself knows."""
    import torch

    return type(network.get_output_embeddings()) is torch.nn.Linear


def of_tokens(logits_MV: torch.Tensor, target_M: torch.Tensor, kind: OfToken) -> torch.Tensor:
    """(M,) of each predicted token: its loss, or how unsure the model is of what comes there.

    With p the softmax of the logits: `loss` is −ln p(target), `least-confidence` 1 − max p,
    `margin` the largest p less the second largest, `entropy` −Σ p ln p, in nats.
    """
    import torch

    if kind == "loss":
        return torch.logsumexp(logits_MV, 1) - logits_MV.gather(1, target_M[:, None])[:, 0]
    p_MV = logits_MV.softmax(1)
    if kind == "entropy":
        # Twice as fast as entr(p), and unlike logsumexp − Σ p·logit it is a sum of one sign.
        negative_M: torch.Tensor = torch.linalg.vecdot(p_MV, logits_MV.log_softmax(1))
        return -negative_M
    first_M, second_M = p_MV.topk(2).values.unbind(1)
    return first_M - second_M if kind == "margin" else 1 - first_M


def head(network: Any, hidden_MD: torch.Tensor) -> torch.Tensor:
    """Float32 logits (M, V) of hidden states, with the architecture's own scale or soft cap."""
    with _products(network):
        logits_MV: torch.Tensor = network.get_output_embeddings()(hidden_MD.float())
    return _shaped(network, logits_MV)


@contextmanager
def _products(network: PreTrainedModel) -> Iterator[None]:
    """Have float32 products multiplied as fast as the model's precision allows.

    Logits of 20 rounded to bfloat16 are off by 0.06. "medium" multiplies in bfloat16 as well,
    but leaves the sums in float32.
    """
    import torch

    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium" if in_bfloat16(network) else "highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _shaped(network: Any, logits_MV: torch.Tensor) -> torch.Tensor:
    import torch

    config = getattr(network.config, "text_config", network.config)
    if scale := getattr(config, "logit_scale", None):  # Cohere
        logits_MV = logits_MV * scale
    if divisor := getattr(config, "logits_scaling", None):  # Granite
        logits_MV = logits_MV / divisor
    if cap := getattr(config, "final_logit_softcapping", None):  # Gemma 2 and later
        logits_MV = torch.tanh(logits_MV / cap) * cap
    return logits_MV
