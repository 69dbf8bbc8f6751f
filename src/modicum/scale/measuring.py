"""Measuring on Ray: batches are rows of a Ray Data set, mapped by workers that hold the model.

A row holds the tokens of its batch and nothing else of the pool. What workers compute with is
what `modicum.measure` computes with; only numbers come back, and this process alone writes them
to the store.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from modicum import errors
from modicum.errors import ModelError, ModicumError
from modicum.ledger import Ledger
from modicum.measure import Passed, Run, Work, layers_of, send
from modicum.models import Model, embedded, find_model, first_line, weights
from modicum.render import Rendered
from modicum.scale.cluster import places
from modicum.wants import HiddenState, Want

if TYPE_CHECKING:
    from torch.nn import Module

    from modicum.models import Precision

Row = dict[str, Any]

_LIBRARIES = 1 << 30  # bytes of a worker beside its weights: torch, and what a batch takes
_AT_ONCE = {"cpu": 1, "cuda": 16}  # batches handed to a worker: of a GPU's each takes little time


@dataclass(frozen=True)
class Told:
    """What a worker is told of the work: which model, and what is wanted of its batches."""

    name: str | None  # None: the embedded default
    folder: Path
    fingerprint: str
    precision: Precision
    trust_remote_code: bool
    batch_tokens: int
    wants: list[Want]
    tokens: int  # of batches of several rows, those of all workers: what compiling must be worth
    threads: int | None

    @staticmethod
    def of(model: Model, run: Run, work: Work, threads: int | None) -> Told:
        file = embedded()
        return Told(
            None if file and model.name == f"{file.stem} (embedded)" else model.name,
            model.folder.absolute(),
            model.fingerprint,
            cast("Precision", model.dtype_name),  # this process's, whatever theirs would be
            model.trust_remote_code,
            run.batch_tokens,
            list(work.wants),
            work.together,
            threads,
        )

    def model(self) -> Model:
        """The model as it lies on the worker's machine; it has to be the very same."""
        if (self.folder / "config.json").exists():
            label = str(self.folder)
            found = Model(label, self.folder, self.precision, self.trust_remote_code)
        else:
            found = find_model(
                self.name, precision=self.precision, trust_remote_code=self.trust_remote_code
            )
        if found.fingerprint != self.fingerprint:
            raise ModelError(
                f"{self.name or found.name} is another model there than here; give a folder that "
                "all machines see, or the same version of it to each"
            )
        return found


@dataclass
class Tally:
    """Counts how often each worker began; it holds no model, and outlives them."""

    began: dict[str, int] = field(default_factory=dict)

    def begin(self, worker: str) -> int:
        self.began[worker] = self.began.get(worker, 0) + 1
        return self.began[worker]


class Worker:
    """A model, loaded once, that batch after batch is sent through."""

    deaths = 3  # of itself, before what it does is taken to be what kills it

    def __init__(self, told: Told, tally: Any) -> None:
        import ray

        self.told = told
        self.name = ray.get_runtime_context().get_actor_id()
        self.times = ray.get(tally.begin.remote(self.name))
        self.loaded: tuple[Run, Module | None] | None = None

    def __call__(self, row: Row) -> Row:
        """The wanted values of a batch, or what is wrong: an error in a worker would bring the
        whole of Ray's own account with it.
        """
        about = {"worker": self.name, "times": self.times}
        try:
            return about | {"error": "", "said": ""} | self._passed(row)
        except ModicumError as error:
            told = {"error": type(error).__name__, "said": str(error)}
        except Exception as error:
            told = {"error": "ModelError", "said": f"{type(error).__name__}: {first_line(error)}"}
        said = f"{socket.gethostname()}: {told['said']}"
        return about | told | {"said": said} | _nothing(row["batch"], self.told.wants)

    def _ready(self) -> tuple[Run, Module | None]:
        """The model, and its layers compiled where that pays; at the first batch, not before."""
        if self.loaded is None:
            if self.told.threads:
                import torch

                torch.set_num_threads(self.told.threads)
            run = Run(self.told.model(), Ledger(), self.told.batch_tokens)
            self.loaded = run, run.body(self.told.tokens, layers_of(self.told.wants))
        return self.loaded

    def _passed(self, row: Row) -> Row:
        if self.times > self.deaths:
            raise ModelError(
                f"a worker of Ray died {self.times - 1} times, most likely for want of memory; "
                "use machines with more of it, or a lower --max-tokens"
            )
        (run, body), wants, rendered = self._ready(), self.told.wants, _rendered(row)
        rows_B = np.arange(len(rendered))
        passed = send(run.network, body, rendered, rows_B, wants, row["batch"])
        values = [np.ascontiguousarray(passed.values[want], np.float32) for want in wants]
        return {
            "batch": passed.batch,
            "tokens": passed.tokens,
            "padding": passed.padding,
            "compiled": passed.compiled,
            "slower": "\n".join(run.ledger.fallbacks),
            **{f"values{n}": each.tobytes() for n, each in enumerate(values)},
        }


def passes(work: Work, run: Run) -> Iterator[Passed]:
    """Every batch of the work sent forward by a worker, in the order in which they are done."""
    import ray
    from ray.data import ActorPoolStrategy, from_items

    model = run.model
    room = places(model.name, _bytes_each(model))
    workers = min(room.workers, len(work.batches))
    at_once = _AT_ONCE["cuda" if room.gpus else "cpu"]
    items = [_item(work, number) for number in range(len(work.batches))]
    told = Told.of(model, run, work, room.cpus)
    tally = ray.remote(Tally).options(num_cpus=0).remote()
    takes = {"num_cpus": room.cpus, "num_gpus": room.gpus, "memory": room.memory}
    made = from_items(items, override_num_blocks=-(-len(items) // at_once)).map(
        Worker,
        fn_constructor_kwargs={"told": told, "tally": tally},
        compute=ActorPoolStrategy(size=workers),
        **{name: amount for name, amount in takes.items() if amount is not None},
    )
    return _counted(made, work, run.ledger)


def _counted(made: Any, work: Work, ledger: Ledger) -> Iterator[Passed]:
    """What came of each batch; which workers there were, and were lost, is in the ledger."""
    from ray.exceptions import RayError

    seen: dict[str, int] = {}
    try:
        for row in made.iter_rows():
            before = seen.get(row["worker"])
            ledger.ray_workers += before is None
            if lost := row["times"] - (before or 1):
                ledger.ray_workers_lost += lost
                ledger.fall_back("a worker of Ray was lost; what it had in hand is measured again")
            seen[row["worker"]] = row["times"]
            if row["error"]:
                raise getattr(errors, row["error"])(row["said"])
            for why in filter(None, row["slower"].split("\n")):
                ledger.fall_back(why)
            ledger.ray_tokens += row["tokens"]
            yield _passed(row, work)
    except RayError as error:
        why = str(error).strip().splitlines()[-1:] or [type(error).__name__]
        raise ModelError(
            f"measuring on Ray ended: {why[0]}; the same line goes on where it stopped"
        ) from error


def _item(work: Work, number: int) -> Row:
    """A batch's tokens, as a row of a Ray Data set."""
    rows = [work.rendered.row(int(i)) for i in work.batches[number]]
    return {
        "batch": number,
        "ids": np.concatenate([row.ids_T for row in rows]).astype(np.int32).tobytes(),
        "kinds": np.concatenate([row.kinds_T for row in rows]).astype(np.uint8).tobytes(),
        "lengths": np.array([len(row.ids_T) for row in rows], np.int64).tobytes(),
    }


def _rendered(row: Row) -> Rendered:
    starts = np.concatenate([[0], np.cumsum(np.frombuffer(row["lengths"], np.int64))])
    return Rendered(
        np.frombuffer(row["ids"], np.int32), np.frombuffer(row["kinds"], np.uint8), starts
    )


def _passed(row: Row, work: Work) -> Passed:
    values: dict[Want, np.ndarray] = {}
    for n, want in enumerate(work.wants):
        flat = np.frombuffer(row[f"values{n}"], np.float32)
        rows = len(work.batches[row["batch"]])
        values[want] = flat.reshape(rows, -1) if isinstance(want, HiddenState) else flat
    return Passed(row["batch"], values, row["tokens"], row["padding"], row["compiled"])


def _nothing(batch: int, wants: list[Want]) -> Row:
    """What stands in the columns of a batch that failed."""
    empty = {f"values{n}": b"" for n in range(len(wants))}
    return {"batch": batch, "tokens": 0, "padding": 0, "compiled": 0, "slower": "", **empty}


def _bytes_each(model: Model) -> int:
    """What a worker takes, roughly: weights may lie in half the numbers' size that they get."""
    size = sum(path.stat().st_size for path in weights(model.folder, model.name))
    return _LIBRARIES + size * (2 if model.dtype_name == "float32" else 1)
