"""scale: the same work on many machines.

An engine carries out what is to be measured and selected: this process (`local`), or the workers
of a Ray cluster (`ray`). Which one it is never changes the result beyond rounding, and all engines
read and write the same store: a run that one began, another goes on with.
"""

from __future__ import annotations

from modicum.errors import OptionError
from modicum.measure import Engine, Local

__all__ = ["ENGINES", "Engine", "engine_of"]

ENGINES = ("local", "ray")


def engine_of(engine: str | Engine = "local", ray_address: str | None = None) -> Engine:
    """The engine of this name; nothing is started before it is needed.

    `ray_address` is that of a running cluster; without one, `RAY_ADDRESS` in the environment says
    it, or else a Ray of this machine alone is started, and ended with the work.
    """
    if not isinstance(engine, str):
        return engine
    if engine not in ENGINES:
        raise OptionError(f"engine {engine}: choose {', '.join(ENGINES)}")
    if engine == "ray":
        from modicum.scale.cluster import check_installed
        from modicum.scale.on_ray import OnRay

        check_installed()
        return OnRay(ray_address)
    if ray_address is not None:
        raise OptionError(f"ray address {ray_address} belongs to the engine ray: --engine ray")
    return Local()
