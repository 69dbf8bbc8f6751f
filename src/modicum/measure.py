"""Measuring rows with a model, in as few forward passes as what is wanted allows.

Everything that is wanted of a row as a whole (its answer's loss given the prompt, how unsure the
model is of it, any pooled hidden states) comes from one pass; its answers alone are measured as
rows of their own. Batches are planned over all rows, also those already in the store, so that a
measurement that was cut off goes on with the very batches an undisturbed one would have used.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

import numpy as np

from modicum import compiled
from modicum.batches import plan_batches
from modicum.forward import Batch, answers_alone, forward_hidden, make_ready, start_token
from modicum.head import OfToken, answer_means, openings
from modicum.ledger import Ledger
from modicum.progress import progress
from modicum.render import Rendered
from modicum.store import Block, Store
from modicum.wants import HiddenState, Loss, Opening, Uncertainty, Want

if TYPE_CHECKING:
    from torch.nn import Module
    from transformers import PreTrainedModel

    from modicum.models import Model

FLUSH_SECONDS = 20.0  # what a killed run can lose at most, plus one batch
BATCH_TOKENS = 4096  # 1.5 times as fast as 1,024 for rows of 128 tokens on two cores
VERSION = 1  # part of every key: raise it when a measurement changes its meaning

_ALONE = Loss(prompt=False)


def measure(
    rendered: Rendered,
    wants: Sequence[Want],
    model: Model,
    store: Store,
    ledger: Ledger,
    batch_tokens: int = BATCH_TOKENS,
    engine: Engine | None = None,
) -> dict[Want, np.ndarray]:
    """Each wanted measurement of each row: (N, D) for hidden states, else (N,), float32.

    Rows of length 0 are NaN, as are rows that have no token to measure over. By this process,
    or by an engine.
    """
    made_by = f"{model.fingerprint}-{str(model.dtype).removeprefix('torch.')}-v{VERSION}"
    run = Run(model, ledger, batch_tokens, engine or Local())
    blocks = {want: store.block(made_by, want.name) for want in wants if want != _ALONE}
    values = _measured(rendered, blocks, run) if blocks else {}
    if _ALONE in wants:
        answers, row_S = answers_alone(rendered, start_token(model.tokenizer))
        loss_S = _measured(answers, {_ALONE: store.block(made_by, _ALONE.name)}, run)[_ALONE]
        values[_ALONE] = _weighted_mean(loss_S, answers.answer_lengths_N, row_S, len(rendered))
    return values


def row_keys(rendered: Rendered) -> list[bytes]:
    """A hash of what the model sees of each row: its token ids and what each belongs to."""
    keys = []
    for i in range(len(rendered)):
        ids_T, kinds_T = rendered.row(i)
        made = hashlib.blake2b(np.ascontiguousarray(ids_T).tobytes(), digest_size=16)
        made.update(np.ascontiguousarray(kinds_T).tobytes())
        keys.append(made.digest())
    return keys


class Passed(NamedTuple):
    """What came of a batch that was sent forward."""

    batch: int  # which one of the work's
    values: dict[Want, np.ndarray]
    tokens: int  # real ones
    padding: int
    compiled: int  # of the tokens, those through compiled layers


class Work(NamedTuple):
    """Batches to send forward, and what is wanted of their rows."""

    rendered: Rendered
    batches: list[np.ndarray]  # rows of each that are not in the store; none is empty
    wants: list[Want]
    together: int  # tokens of batches of several rows, with those that are in the store


class Engine(Protocol):
    """Who carries work out: this process, or those of a cluster (`modicum.scale`).

    What selectors spread over others goes to an engine that is not `here`: it is an `Over`.
    """

    here: ClassVar[bool]

    def passes(self, work: Work, run: Run) -> Iterator[Passed]:
        """Every batch sent forward, in any order; ready to begin when this returns."""
        ...

    def kept(self, blocks: Iterable[Any]) -> list[Any]:
        """Each block, or what stands for it where it is held."""
        ...

    def mapped(self, function: Callable[..., Any], *items: Iterable[Any]) -> Iterable[Any]:
        """As the builtin `map`, in the items' order; what `kept` gave stands for its block."""
        ...

    def close(self) -> None:
        """Let go of what was started; what is asked after that starts it again."""
        ...


class Local:
    """Everything in this process, one thing after the other."""

    here: ClassVar[bool] = True

    def passes(self, work: Work, run: Run) -> Iterator[Passed]:
        network = run.network
        body = run.body(work.together, layers_of(work.wants))
        return (
            send(network, body, work.rendered, rows_B, work.wants, number)
            for number, rows_B in enumerate(work.batches)
        )

    def kept(self, blocks: Iterable[Any]) -> list[Any]:
        return list(blocks)

    def mapped(self, function: Callable[..., Any], *items: Iterable[Any]) -> Iterable[Any]:
        return map(function, *items)

    def close(self) -> None:
        pass


@dataclass(frozen=True)
class Run:
    """What one call measures with: the weights are read once, and only if some row needs them."""

    model: Model
    ledger: Ledger
    batch_tokens: int
    engine: Engine = field(default_factory=Local)

    @cached_property
    def network(self) -> PreTrainedModel:
        with self.ledger.time("load model"):
            return make_ready(self.model.network)

    def body(self, tokens: int, layers: list[int]) -> Module | None:
        """Compiled layers where so many tokens of batches of several rows are worth it.

        Those that are in the store are counted among them.

        So a measurement that goes on goes on the way it began.
        """
        if layers != [-1]:  # compiled layers give the last states only
            return None
        worth_it = compiled.WORTH_IT.get(self.network.device.type, np.inf)
        if compiled.operations(self.network, tokens) < worth_it:
            return None
        with self.ledger.time("compile"):
            body, why_not = compiled.compiled_layers(self.network)
        if why_not:
            self.ledger.fall_back(why_not)
        return body


def _measured(rendered: Rendered, blocks: dict[Want, Block], run: Run) -> dict[Want, np.ndarray]:
    """Values of every row; those that some block lacks are measured first."""
    keys = row_keys(rendered)
    rows_M = _first_of_each(keys, rendered.lengths_N)
    missing_M = np.zeros(len(rows_M), dtype=bool)
    for block in blocks.values():
        found = block.find([keys[i] for i in rows_M])
        missing_M |= ~found.known_N
        run.ledger.damaged_shards.extend(found.damaged)
    run.ledger.rows_reused += int((~missing_M).sum())
    if missing_M.any():
        _fill(rendered, keys, rows_M, missing_M, blocks, run)
    wide: dict[Want, int] = {
        want: block.width or int(run.model.text_config.hidden_size)
        for want, block in blocks.items()
        if isinstance(want, HiddenState)
    }
    return {want: block.load(keys, wide.get(want)).values_N for want, block in blocks.items()}


def _fill(
    rendered: Rendered,
    keys: list[bytes],
    rows_M: np.ndarray,
    missing_M: np.ndarray,
    blocks: dict[Want, Block],
    run: Run,
) -> None:
    """Measure the missing rows in the batches of all rows."""
    ledger = run.ledger
    lengths_M = rendered.lengths_N[rows_M]
    planned = plan_batches(lengths_M, run.batch_tokens)
    together = sum(int(lengths_M[batch_B].sum()) for batch_B in planned if len(batch_B) > 1)
    batches = [rows_M[batch_B[missing_M[batch_B]]] for batch_B in planned]
    work = Work(rendered, [rows_B for rows_B in batches if len(rows_B)], list(blocks), together)
    sent = run.engine.passes(work, run)
    pending: list[tuple[list[bytes], dict[Want, np.ndarray]]] = []
    flushed = time.monotonic()
    what = "answers alone" if _ALONE in blocks else "rows"
    with ledger.time("measure"), progress(f"measuring {what}", int(missing_M.sum())) as advance:
        for passed in sent:
            rows_B = work.batches[passed.batch]
            pending.append(([keys[i] for i in rows_B], passed.values))
            ledger.forward_passes += len(rows_B)
            ledger.forward_tokens += passed.tokens
            ledger.padding_tokens += passed.padding
            ledger.compiled_tokens += passed.compiled
            advance(len(rows_B))
            if time.monotonic() - flushed > FLUSH_SECONDS:
                _flush(blocks, pending)
                flushed = time.monotonic()
        _flush(blocks, pending)


def send(
    network: PreTrainedModel,
    body: Module | None,
    rendered: Rendered,
    rows_B: np.ndarray,
    wants: Sequence[Want],
    number: int,
) -> Passed:
    """These rows through the model, as one batch; `body` stands for its layers."""
    batch = Batch.of(rendered, rows_B)
    through = None if len(rows_B) == 1 else body  # of another shape: compiled anew
    values = _forward(network, through, batch, wants)
    compiled_tokens = 0 if through is None else batch.tokens
    return Passed(number, values, batch.tokens, batch.padding, compiled_tokens)


def _weighted_mean(
    loss_S: np.ndarray, tokens_S: np.ndarray, row_S: np.ndarray, rows: int
) -> np.ndarray:
    """(N,) float32: the mean loss over all answer tokens of a row; NaN for a row without any."""
    sums_N = np.bincount(row_S, loss_S.astype(np.float64) * tokens_S, rows)
    tokens_N = np.bincount(row_S, tokens_S, rows)
    mean_N = np.full(rows, np.nan, dtype=np.float32)
    np.divide(sums_N, tokens_N, mean_N, where=tokens_N > 0, casting="same_kind")
    return mean_N


def _first_of_each(keys: list[bytes], lengths_N: np.ndarray) -> np.ndarray:
    """Positions of the non-empty rows, equal rows once."""
    first: dict[bytes, int] = {}
    for i in np.flatnonzero(lengths_N):
        first.setdefault(keys[i], int(i))
    return np.array(list(first.values()), dtype=np.int64)


def _forward(
    network: PreTrainedModel, body: Module | None, batch: Batch, wants: Sequence[Want]
) -> dict[Want, np.ndarray]:
    kinds: dict[Want, OfToken] = {}
    states = [want for want in wants if isinstance(want, HiddenState)]
    first = [want for want in wants if isinstance(want, Opening)]
    for want in wants:
        if isinstance(want, Loss | Uncertainty):
            kinds[want] = "loss" if isinstance(want, Loss) else want.kind
    hidden = forward_hidden(network, batch, layers_of(states), body)
    result: dict[Want, np.ndarray] = {
        want: batch.pool(hidden[want.layer], want.pooling, want.over) for want in states
    }
    if kinds:
        means = answer_means(network, hidden[-1], batch, list(kinds.values()))
        result |= {want: means[kind] for want, kind in kinds.items()}
    if first:
        found = openings(network, hidden[-1], batch, [want.token for want in first])
        result |= {want: found[want.token] for want in first}
    return result


def layers_of(wants: Iterable[Want]) -> list[int]:
    """The layers whose states are needed; the head reads the last."""
    return sorted({want.layer for want in wants if isinstance(want, HiddenState)} | {-1})


def _flush(
    blocks: dict[Want, Block], pending: list[tuple[list[bytes], dict[Want, np.ndarray]]]
) -> None:
    if not pending:
        return
    keys = [key for batch, _ in pending for key in batch]
    for want, block in blocks.items():
        block.add(keys, np.concatenate([values[want] for _, values in pending]))
    pending.clear()
