"""Answers that the model writes itself: greedily, each row from its own prompt."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from modicum.batches import padded, plan_batches
from modicum.errors import InputError, OptionError
from modicum.forward import make_ready
from modicum.head import in_bfloat16
from modicum.ledger import Ledger
from modicum.progress import progress
from modicum.render import ANSWER, Rendered

if TYPE_CHECKING:
    import torch

    from modicum.models import Model

BATCH_TOKENS = 4096  # prompts and what may be written, padding included
_LEG = 8  # tokens written before answers that ended first leave their batch; then twice as many


class Generated(NamedTuple):
    """What a model wrote, row by row."""

    answers: list[str]  # (N,)
    cut_N: np.ndarray  # bool: the answer was still going on when its tokens were used up


def generate(
    rendered: Rendered,
    model: Model,
    ledger: Ledger,
    *,
    max_new_tokens: int = 64,
    batch_tokens: int = BATCH_TOKENS,
) -> Generated:
    """What the model says where each row has its last learned answer, in row order.

    The prompt is everything before that answer. At each step the likeliest token is taken, whatever
    the model's own generation settings say, until one that ends a turn, or until `max_new_tokens`
    or the model's window are full. Special tokens and white space at the ends are left out. An
    answer does not depend on the other rows up to rounding: in bfloat16 two tokens that are all but
    equally likely may change places. Raises `InputError` for a row without answer or prompt.
    """
    if max_new_tokens < 1:
        raise OptionError(f"max_new_tokens={max_new_tokens}: give at least 1")
    prompts = [prompt_of(rendered, i) for i in range(len(rendered))]
    lengths_N = np.array([len(prompt_T) for prompt_T in prompts], dtype=np.int64)
    room_N = model.window - lengths_N
    if (room_N < 1).any():
        row = int(np.argmax(room_N < 1))
        raise InputError(
            f"row {row}: a prompt of {lengths_N[row]:,} tokens leaves no room for an answer in a "
            f"window of {model.window:,}; leave it out"
        )
    with ledger.time("load model"):
        network = make_ready(model.network)
    ends = _end_tokens(rendered, model)
    answers, cut_N = [""] * len(prompts), np.zeros(len(prompts), dtype=bool)
    with (
        ledger.time("generate"),
        progress("generating answers", len(prompts)) as advance,
        _as_measured(network),
    ):
        for rows_B, limit in _plan(lengths_N, np.minimum(room_N, max_new_tokens), batch_tokens):
            written = _written(network, [prompts[i] for i in rows_B], ends, limit)
            for i, ids_T in zip(rows_B, written, strict=True):
                answers[i] = _text(ids_T, ends, model)
                cut_N[i] = ids_T[-1] not in ends
            ledger.generated_tokens += sum(map(len, written))
            ledger.forward_tokens += int(lengths_N[rows_B].sum())
            ledger.padding_tokens += int((lengths_N[rows_B].max() - lengths_N[rows_B]).sum())
            advance(len(rows_B))
    return Generated(answers, cut_N)


def prompt_of(rendered: Rendered, row: int) -> np.ndarray:
    """A row's ids before its last run of answer tokens. Raises `InputError` if there are none."""
    ids_T, kinds_T = rendered.row(row)
    answer_M = np.flatnonzero(kinds_T == ANSWER)
    if not len(answer_M):
        raise InputError(
            f"row {row} has no answer to compare with"
            f" ({rendered.errors.get(row, 'no answer token')}); leave it out"
        )
    breaks_M = np.flatnonzero(np.diff(answer_M) > 1)
    start = int(answer_M[breaks_M[-1] + 1] if len(breaks_M) else answer_M[0])
    if start == 0:
        raise InputError(f"row {row} has nothing before its answer; leave it out")
    return ids_T[:start]


def _end_tokens(rendered: Rendered, model: Model) -> list[int]:
    """What ends an answer: under the template, and by the model's and tokenizer's settings."""
    answer_M = np.flatnonzero(rendered.kinds == ANSWER)  # every row has some
    last_N = answer_M[np.searchsorted(answer_M, rendered.starts[1:]) - 1]
    own: Any = model.network.generation_config.eos_token_id
    ends = {*np.atleast_1d(own).tolist(), model.tokenizer.eos_token_id} - {None}
    return sorted({int(end) for end in ends} | set(rendered.ids[last_N].tolist()) & _special(model))


def _special(model: Model) -> set[int]:
    added: dict[int, Any] = model.tokenizer.added_tokens_decoder
    return {id for id, token in added.items() if token.special}


def _plan(
    lengths_N: np.ndarray, limit_N: np.ndarray, batch_tokens: int
) -> Iterator[tuple[np.ndarray, int]]:
    """Batches of rows that may write equally much, and how much."""
    for limit in np.unique(limit_N)[::-1]:
        rows_M = np.flatnonzero(limit_N == limit)
        for batch_B in plan_batches(lengths_N[rows_M] + limit, batch_tokens):
            yield rows_M[batch_B], int(limit)


def _written(
    network: Any, prompts: Sequence[np.ndarray], ends: Sequence[int], limit: int
) -> list[np.ndarray]:
    """The ids that are written after each prompt, up to and with the first that ends an answer.

    Every so many tokens the answers that have ended leave the batch, and cost no more.
    """
    import torch

    ids_BT, mask_BT = padded(prompts, network.device)
    longest = ids_BT.shape[1]
    cache, leg, at_B = _room(network, longest + limit), _LEG, np.arange(len(prompts))
    written = [np.zeros(0, dtype=np.int64)] * len(prompts)
    while True:
        more = limit - (ids_BT.shape[1] - longest)
        leg = more if cache is None else min(leg, more)
        ids_BT = _onward(network, ids_BT, mask_BT, cache, ends, leg)
        new_BT = ids_BT[:, longest:].cpu().numpy()
        ended_BT = np.isin(new_BT, ends)
        for at, ids_T, ended_T in zip(at_B, new_BT, ended_BT, strict=True):
            written[at] = ids_T[: int(np.argmax(ended_T)) + 1] if ended_T.any() else ids_T
        if leg == more or ended_BT.any(axis=1).all():
            break
        going_B = np.flatnonzero(~ended_BT.any(axis=1))
        going = torch.as_tensor(going_B, device=network.device)
        at_B, ids_BT = at_B[going_B], ids_BT[going]
        mask_BT = torch.nn.functional.pad(mask_BT[going], (0, leg), value=1)
        if len(going_B) < len(ended_BT):
            cache.reorder_cache(going)
        leg *= 2
    return written


def _onward(
    network: Any,
    ids_BT: torch.Tensor,
    mask_BT: torch.Tensor,
    cache: Any,
    ends: Sequence[int],
    tokens: int,
) -> torch.Tensor:
    """The rows, and the tokens they go on with: fewer than asked for if all of them have ended."""
    import torch
    from transformers import GenerationConfig

    settings = GenerationConfig(  # type: ignore[no-untyped-call]
        do_sample=False,
        disable_compile=True,  # of one step of each batch's size anew
        max_new_tokens=tokens,
        eos_token_id=list(ends) or None,
        pad_token_id=ends[0] if ends else 0,
    )
    kind = network.device.type
    with torch.inference_mode(), torch.autocast(kind, torch.bfloat16, in_bfloat16(network)):
        found_BT: torch.Tensor = network.generate(
            ids_BT, attention_mask=mask_BT, generation_config=settings, past_key_values=cache
        )
    return found_BT


def _room(network: Any, tokens: int) -> Any:
    """A cache of keys and values made once for `tokens`; None where the model needs its own kind.

    The default grows by copying everything at each token, which took longer than the products.
    """
    # transformers' mark of models that take such a cache; but with ALiBi Falcon does not.
    if not network._can_compile_fullgraph or getattr(network.config, "alibi", False):
        return None
    import torch
    from transformers import StaticCache

    kept = torch.bfloat16 if in_bfloat16(network) else torch.float32

    class Room(StaticCache):
        """Of one precision: rotary embeddings leave the keys in float32, beside bfloat16 values."""

        def update(
            self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
        ) -> tuple[torch.Tensor, torch.Tensor]:
            return super().update(key_states.to(kept), value_states.to(kept), *args, **kwargs)

    return Room(config=network.config, max_cache_len=tokens)


def _text(ids_T: np.ndarray, ends: Sequence[int], model: Model) -> str:
    said_T = ids_T[~np.isin(ids_T, ends)]
    text: Any = model.tokenizer.decode(
        said_T.tolist(), skip_special_tokens=True, clean_up_tokenization_spaces=False
    )
    return str(text).strip()


@contextmanager
def _as_measured(network: Any) -> Iterator[None]:
    """Have the network compute as when it is measured, and forget its own generation settings.

    The sum over the layers and the logits are float32; a logit rounded to bfloat16 ties with
    others. What a model's settings hold (a repetition penalty, say) would be merged into ours.
    """
    import torch
    from transformers import GenerationConfig

    kind, output = network.device.type, network.get_output_embeddings()
    project, settings = output.forward, network.generation_config
    precision = torch.get_float32_matmul_precision()

    def in_float32(hidden_BTD: torch.Tensor) -> torch.Tensor:
        with torch.autocast(kind, enabled=False):
            logits_BTV: torch.Tensor = project(hidden_BTD.float())
        return logits_BTV

    embedded = network.get_input_embeddings().register_forward_hook(
        lambda module, given, hidden_BTD: hidden_BTD.float()
    )
    output.forward = in_float32
    network.generation_config = GenerationConfig()  # type: ignore[no-untyped-call]
    torch.set_float32_matmul_precision("medium" if in_bfloat16(network) else "highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(precision)
        output.forward, network.generation_config = project, settings
        embedded.remove()
