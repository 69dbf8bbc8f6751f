"""One forward pass of a causal model over a batch: pooled hidden states, means over answers.

Rows are padded on the right and no mask is passed: under causal attention no real token sees
what comes after it. The vocabulary projection runs only where an answer token is predicted, and
in chunks, so batch × tokens × vocabulary never exists.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from modicum.errors import ModelError
from modicum.render import ANSWER, TEMPLATE, USER, Rendered

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

CHUNK = 128  # answer positions whose logits exist at once

Unsure = Literal["least-confidence", "margin", "entropy"]
OfToken = Literal["loss"] | Unsure


@dataclass(frozen=True)
class Batch:
    """B rows, padded to the longest."""

    ids_BT: torch.Tensor
    kinds_BT: torch.Tensor
    tokens: int  # real ones

    @staticmethod
    def of(rendered: Rendered, rows_B: np.ndarray) -> Batch:
        """These rows of what was rendered; none of them empty."""
        import torch

        rows = [rendered.row(int(i)) for i in rows_B]
        lengths = [len(row.ids_T) for row in rows]
        ids_BT = torch.zeros(len(rows), max(lengths), dtype=torch.int64)
        kinds_BT = torch.full_like(ids_BT, _PADDING)
        for b, (row, length) in enumerate(zip(rows, lengths, strict=True)):
            ids_BT[b, :length] = torch.as_tensor(row.ids_T.astype(np.int64))
            kinds_BT[b, :length] = torch.as_tensor(row.kinds_T.astype(np.int64))
        return Batch(ids_BT, kinds_BT, sum(lengths))

    @property
    def padding(self) -> int:
        """Tokens added to make the batch a rectangle."""
        return int(self.ids_BT.numel()) - self.tokens

    def pool(self, hidden_BTD: torch.Tensor, pooling: str, over: str) -> np.ndarray:
        """(B, D) float32: the mean over the chosen tokens, weighted by position (1, 2, …), plain,
        or only the last of them. NaN for a row that has none."""
        import torch

        kinds_BT = self.kinds_BT.to(hidden_BTD.device)
        if over == "row":
            chosen_BT = kinds_BT != _PADDING
        else:
            chosen_BT = kinds_BT == (ANSWER if over == "answer" else USER)
        place_BT = chosen_BT.cumsum(1) * chosen_BT
        if pooling == "last":
            weight_BT = (place_BT == place_BT.amax(1, keepdim=True)) & chosen_BT
        else:
            weight_BT = place_BT if pooling == "weighted" else chosen_BT
        weight_BT = weight_BT.to(torch.float32)
        weight_BT = weight_BT / weight_BT.sum(1, keepdim=True)  # 0/0 is NaN: nothing to pool
        pooled_BD = torch.einsum("bt,btd->bd", weight_BT, hidden_BTD.to(torch.float32))
        return pooled_BD.cpu().numpy()


_PADDING = -1
assert _PADDING not in (TEMPLATE, USER, ANSWER)


def answers_alone(rendered: Rendered, start: int) -> tuple[Rendered, np.ndarray]:
    """Each learned answer as a row of its own, behind a `start` token; and whose it is, (S,)."""
    learned_T = rendered.kinds == ANSWER
    row_T = np.repeat(np.arange(len(rendered)), rendered.lengths_N)
    first_T = learned_T.copy()
    first_T[1:] &= ~learned_T[:-1] | (row_T[1:] != row_T[:-1])
    span_M = np.cumsum(first_T)[learned_T]  # from 1: as many start tokens stand before its tokens
    place_M = np.arange(len(span_M)) + span_M
    ids = np.full(len(span_M) + first_T.sum(), start, dtype=rendered.ids.dtype)
    kinds = np.full(len(ids), TEMPLATE, dtype=rendered.kinds.dtype)
    ids[place_M], kinds[place_M] = rendered.ids[learned_T], ANSWER
    starts = np.append(np.flatnonzero(kinds == TEMPLATE), len(ids))
    return Rendered(ids, kinds, starts), row_T[first_T]


def start_token(tokenizer: PreTrainedTokenizerBase) -> int:
    """What stands before an answer that has no prompt: the start token, else the end token."""
    for token in (tokenizer.bos_token_id, tokenizer.eos_token_id):
        if token is not None:
            return int(token)
    raise ModelError(
        f"{tokenizer.name_or_path}: the tokenizer has neither a start nor an end token, "
        "so the loss of an answer alone is not defined; set one in tokenizer_config.json"
    )


def make_ready(network: PreTrainedModel) -> PreTrainedModel:
    """The model as this module measures with it: its head in float32, checked to be understood."""
    import torch

    output: torch.nn.Module = network.get_output_embeddings()  # type: ignore[no-untyped-call]
    output.float()
    for module in network.modules():
        if isinstance(module, torch.nn.LayerNorm):  # takes no bfloat16 weights with a float32 sum
            module.float()
    check_head(network)
    return network


def in_bfloat16(network: PreTrainedModel) -> bool:
    """Whether the weights are bfloat16; the head, and an embedding tied to it, never are."""
    import torch

    return any(weight.dtype == torch.bfloat16 for weight in network.parameters())


def forward_hidden(
    network: PreTrainedModel, batch: Batch, layers: list[int]
) -> dict[int, torch.Tensor]:
    """Hidden states (B, T, D) of these layers: 0 the embeddings, -1 the last, after its norm."""
    import torch

    every = layers != [-1]
    with torch.inference_mode():
        # The sum that layers add to starts, and so stays, in float32; only their products are
        # bfloat16. With a bfloat16 sum a row's loss moves twice as far with the batch it is in.
        embedded_BTD = network.get_input_embeddings()(batch.ids_BT.to(network.device)).float()
        with torch.autocast(network.device.type, torch.bfloat16, enabled=in_bfloat16(network)):
            out = network.base_model(
                inputs_embeds=embedded_BTD, use_cache=False, output_hidden_states=every
            )
    if not every:
        return {-1: out.last_hidden_state}
    states = (*out.hidden_states[:-1], out.last_hidden_state)
    for layer in layers:
        if not -len(states) <= layer < len(states):
            raise ModelError(f"layer {layer} asked for, the model has 0 to {len(states) - 1}")
    return {layer: states[layer] for layer in layers}


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
    sums = {kind: torch.zeros_like(counts_B) for kind in kinds}
    row_M = at_M2[:, 0]
    with torch.inference_mode():
        for part in range(0, len(at_M2), CHUNK):
            at = at_M2[part : part + CHUNK]
            logits_MV = head(network, hidden_BTD[at[:, 0], at[:, 1]])
            for kind, sums_B in sums.items():
                value_M = of_tokens(logits_MV, target_M[part : part + CHUNK], kind)
                sums_B.index_add_(0, row_M[part : part + CHUNK], value_M.double())
    counts_B.index_add_(0, row_M, torch.ones_like(row_M, dtype=torch.float64))
    return {kind: (sums_B / counts_B).float().cpu().numpy() for kind, sums_B in sums.items()}


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
    import torch

    # Logits of 20 rounded to bfloat16 are off by 0.06. "medium" multiplies in bfloat16 as well,
    # but leaves the sums in float32, at the same cost.
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium" if in_bfloat16(network) else "highest")
    try:
        logits_MV: torch.Tensor = network.get_output_embeddings()(hidden_MD.float())
    finally:
        torch.set_float32_matmul_precision(before)
    config = getattr(network.config, "text_config", network.config)
    if scale := getattr(config, "logit_scale", None):  # Cohere
        logits_MV = logits_MV * scale
    if divisor := getattr(config, "logits_scaling", None):  # Granite
        logits_MV = logits_MV / divisor
    if cap := getattr(config, "final_logit_softcapping", None):  # Gemma 2 and later
        logits_MV = torch.tanh(logits_MV / cap) * cap
    return logits_MV


def rounding(network: PreTrainedModel) -> float:
    """How far two ways to the same logits may lie apart, relative to the largest.

    bfloat16 rounds at 0.008, layer upon layer; a tuned model was seen at 0.02. float32 on a GPU
    may be multiplied as TF32.
    """
    return 0.05 if in_bfloat16(network) else 0.005


def check_head(network: PreTrainedModel) -> None:
    """Refuse a model that this module would misjudge.

    That is one whose logits `head` does not reproduce, or whose tokens see those after them.
    """
    import torch

    size = len(network.get_input_embeddings().weight)  # type: ignore[arg-type]
    ids_1T = torch.arange(1, 9)[None] % size
    hidden, before = (
        forward_hidden(network, Batch(ids, torch.zeros_like(ids), ids.numel()), [-1])[-1][0]
        for ids in (ids_1T, ids_1T[:, :4])
    )
    with torch.inference_mode():
        ours = head(network, hidden)
        with torch.autocast(network.device.type, torch.bfloat16, enabled=in_bfloat16(network)):
            theirs = network(input_ids=ids_1T.to(network.device), use_cache=False).logits[0].float()
    if not torch.isfinite(theirs).all():
        raise ModelError(
            f"{type(network).__name__} gives values that are not finite: its weights are damaged, "
            "or its training lost its way (try a lower learning rate)"
        )
    allowed = rounding(network)
    if not (gap := _gap(theirs, ours)) < allowed:
        raise ModelError(
            f"{type(network).__name__} changes its logits in a way Modicum does not know "
            f"(relative difference {gap:.2g}); use a model of another architecture"
        )
    if not (gap := _gap(hidden[:4].float(), before.float())) < allowed:
        raise ModelError(
            f"{type(network).__name__} is not causal: its tokens see those that come after them "
            f"(relative difference {gap:.2g}); use a model that was trained to go on with a text"
        )


def _gap(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).abs().max() / one.abs().max().clamp_min(1e-6))
