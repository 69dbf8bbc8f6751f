"""One forward pass of a causal model over a batch, and pooled hidden states.

Rows are padded on the right and no mask is passed: under causal attention no real token sees
what comes after it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from modicum.errors import ModelError
from modicum.head import head, in_bfloat16
from modicum.render import ANSWER, TEMPLATE, USER, Rendered
from modicum.spool import Spool

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


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


_TOGETHER = 4096  # rows
_PADDING = -1
assert _PADDING not in (TEMPLATE, USER, ANSWER)


def answers_alone(rendered: Rendered, start: int) -> tuple[Rendered, np.ndarray]:
    """Each learned answer as a row of its own, behind a `start` token; and whose it is, (S,)."""
    ids, kinds = Spool(np.int32), Spool(np.uint8)
    lengths, rows = Spool(np.int64), Spool(np.int64)
    for begin in range(0, len(rendered), _TOGETHER):
        lengths_N = rendered.lengths_N[begin : begin + _TOGETHER]
        some = slice(rendered.starts[begin], rendered.starts[begin + len(lengths_N)])
        learned_T = rendered.kinds[some] == ANSWER
        row_T = np.repeat(np.arange(begin, begin + len(lengths_N)), lengths_N)
        first_T = learned_T.copy()
        first_T[1:] &= ~learned_T[:-1] | (row_T[1:] != row_T[:-1])
        span_M = np.cumsum(first_T)[learned_T]  # from 1: so many start tokens stand before it
        place_M = np.arange(len(span_M)) + span_M
        ids_A = np.full(len(span_M) + first_T.sum(), start, dtype=np.int32)
        kinds_A = np.full(len(ids_A), TEMPLATE, dtype=np.uint8)
        ids_A[place_M], kinds_A[place_M] = rendered.ids[some][learned_T], ANSWER
        ids.add(ids_A)
        kinds.add(kinds_A)
        lengths.add(np.diff(np.append(np.flatnonzero(kinds_A == TEMPLATE), len(ids_A))))
        rows.add(row_T[first_T])
    starts = np.concatenate([[0], np.cumsum(lengths.whole())])
    return Rendered(ids.whole(), kinds.whole(), starts), rows.whole()


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


def forward_hidden(
    network: PreTrainedModel,
    batch: Batch,
    layers: list[int],
    body: torch.nn.Module | None = None,
) -> dict[int, torch.Tensor]:
    """Hidden states (B, T, D) of these layers: 0 the embeddings, -1 the last, after its norm.

    `body` stands for the network's own layers. A compiled one gives the last states only.
    """
    import torch

    every = layers != [-1]
    through = network.base_model if body is None else body
    with torch.inference_mode():
        # The sum that layers add to starts, and so stays, in float32; only their products are
        # bfloat16. With a bfloat16 sum a row's loss moves twice as far with the batch it is in.
        embedded_BTD = network.get_input_embeddings()(batch.ids_BT.to(network.device)).float()
        with torch.autocast(network.device.type, torch.bfloat16, enabled=in_bfloat16(network)):
            out = through(inputs_embeds=embedded_BTD, use_cache=False, output_hidden_states=every)
    if not every:
        return {-1: out.last_hidden_state}
    states = (*out.hidden_states[:-1], out.last_hidden_state)
    for layer in layers:
        if not -len(states) <= layer < len(states):
            raise ModelError(f"layer {layer} asked for, the model has 0 to {len(states) - 1}")
    return {layer: states[layer] for layer in layers}


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
