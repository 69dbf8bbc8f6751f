"""A Ray cluster: joined or started, kept quiet, and what its machines have room for."""

from __future__ import annotations

import importlib.util
import logging
import os
import secrets
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from modicum.errors import ModelError, OptionError
from modicum.models import first_line
from modicum.selection.memory import shown

_PATIENCE = 5.0  # seconds for an address to answer; Ray itself would wait for two minutes
# Read by Ray's processes when they start. It must tell nobody that it is used, and leave standard
# error to us: what went wrong comes back as an error, and all of it lies in Ray's own logs.
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


class Places(NamedTuple):
    """How many models are held at once, and what each takes."""

    workers: int
    cpus: int | None
    gpus: int | None
    memory: int | None


def check_installed() -> None:
    """Refuse to go on without Ray, before anything is read."""
    if importlib.util.find_spec("ray") is None or importlib.util.find_spec("pandas") is None:
        raise OptionError("--engine ray needs one more package: pip install 'modicum[ray]'")


def join(address: str | None) -> bool:
    """Join a cluster, or start one of this machine alone; whether that has to be left again.

    Where the caller's program has joined one before, that is used, and stays as it is.
    """
    wanted = address or os.environ.get("RAY_ADDRESS") or "local"
    if wanted == "local":
        _lock()
    ray = imported()
    if ray.is_initialized():
        return False
    _hush()
    _check_answers(wanted)
    alone: dict[str, Any] = {"include_dashboard": False} if wanted == "local" else {}
    try:
        with _silent():
            ray.init(address=wanted, log_to_driver=False, logging_level=logging.ERROR, **alone)
    except (OSError, ValueError, RuntimeError) as error:
        raise _not_joined(wanted, first_line(error)) from error
    return True


def imported() -> Any:
    """The package, which reads what it may print and report when it is imported."""
    os.environ |= _QUIET
    import ray

    return ray


def places(model: str, bytes_each: int) -> Places:
    """A model on each GPU of the cluster; without any, on each CPU as far as memory holds them."""
    import ray

    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if gpus := sum(int(has.get("GPU", 0)) for has in machines):
        return Places(gpus, None, 1, None)
    workers = sum(
        min(int(has.get("CPU", 0)), int(has.get("memory", 0) // bytes_each)) for has in machines
    )
    if not workers:
        raise ModelError(
            f"{model} needs some {shown(bytes_each)} and a CPU on a machine, and none of the "
            f"{len(machines)} machines of the Ray cluster has that free; use larger ones"
        )
    return Places(workers, 1, None, bytes_each)


def _lock() -> None:
    """Give a Ray of this machine alone a key: it listens to the network, and runs what it is sent.

    It is read when Ray is imported; whoever did that before, or set it, has decided.
    """
    if "ray" not in sys.modules and "RAY_AUTH_MODE" not in os.environ:
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}


def _hush() -> None:
    """No bars and logs of Ray's own."""
    import ray.data
    from ray._private import worker

    # Else a thread prints on standard output what becomes of workers, into a result for machines.
    worker._worker_logs_enabled = False
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    ray.data.DataContext.get_current().enable_progress_bars = False


@contextmanager
def _silent() -> Iterator[None]:
    """Standard error to nowhere: told how little to say there, Ray's C++ first says that it was."""
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _check_answers(address: str) -> None:
    """Refuse an address with a port where nobody listens."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not (host and port.isdigit()):
        return
    try:
        socket.create_connection((host, int(port)), _PATIENCE).close()
    except (OSError, OverflowError) as error:
        raise _not_joined(address, first_line(error)) from error


def _not_joined(address: str, why: str) -> OptionError:
    out = "leave --ray-address and RAY_ADDRESS out to use this machine alone"
    if address == "local":
        out = "use --engine local"
    return OptionError(f"--ray-address {address}: no Ray to be had there ({why}); {out}")
