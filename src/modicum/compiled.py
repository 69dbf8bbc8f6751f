"""A model's layers compiled, where that pays: what stands between the products is fused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from modicum.forward import Batch, forward_hidden, rounding
from modicum.models import first_line

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

# Floating-point operations. Compiling takes some 10 to 30 s whatever the model's size, for all its
# layers are alike, and saves about a quarter of the time: of a minute and a half of work for a
# small model on two cores. For a GPU it was not measured: that is a guess from its speed.
WORTH_IT = {"cpu": 5e13, "cuda": 1e16}
_LIMIT = "FailOnRecompileLimitHit"  # which torch 2.5 does not know


def operations(network: PreTrainedModel, tokens: int) -> float:
    """Of a forward pass of so many tokens through the layers: two a weight a token."""
    embedded: Any = network.get_input_embeddings()
    weights = sum(weight.numel() for weight in network.base_model.parameters())
    return 2.0 * (weights - int(embedded.weight.numel())) * tokens


def compiled_layers(network: PreTrainedModel) -> tuple[torch.nn.Module | None, str]:
    """The network's body with compiled layers that share its weights; or None, and why not.

    Tried once a network.
    """
    if network not in _TRIED:
        _TRIED[network] = _compile(network)
    return _TRIED[network]


_TRIED: WeakKeyDictionary[PreTrainedModel, tuple[torch.nn.Module | None, str]] = WeakKeyDictionary()


def _compile(network: PreTrainedModel) -> tuple[torch.nn.Module | None, str]:
    """Whatever is wrong with the compiler, or with a model that it cannot take, shows in a trial.

    There may be no C++ compiler; or layers of several classes, which are taken for one.
    The last states of its two rows must be the network's own up to rounding.
    """
    import torch
    from accelerate.utils import compile_regions
    from torch._dynamo import config, exc

    # Tokens spread over the vocabulary: a row of unused ones is so far from anything learned that
    # a rounding changes it beyond recognition.
    size = int(network.config.get_text_config().vocab_size)
    ids_BT = (
        torch.linspace(size // 8, size - 1, 48).long()[torch.arange(48) * 29 % 48].reshape(2, 24)
    )
    batch = Batch(ids_BT, torch.zeros_like(ids_BT), ids_BT.numel())
    try:
        body: torch.nn.Module = compile_regions(network.base_model, dynamic=True)
        # Otherwise layers of many models in one process run uncompiled, and nothing says so.
        with config.patch(fail_on_recompile_limit_hit=True):
            found = forward_hidden(network, batch, [-1], body)[-1].float()
    except (
        RuntimeError,
        OSError,
        TypeError,
        AttributeError,
        getattr(exc, _LIMIT, OSError),
    ) as error:
        return None, f"layers not compiled: {first_line(error)}"
    own = forward_hidden(network, batch, [-1])[-1].float()
    gap = float((own - found).norm() / own.norm())
    if not gap < rounding(network):
        return None, f"layers not compiled: their states would differ by {gap:.2g}"
    return body, ""
