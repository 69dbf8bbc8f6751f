"""k-center over a pool in parts: every part picks its own, and what they picked is picked from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice, pairwise
from typing import Any

import numpy as np

from modicum.errors import OptionError
from modicum.selection.budget import Step
from modicum.selection.kcenter import kcenter
from modicum.selection.kcenter import needs as kcenter_needs
from modicum.selection.rows import Array, FloatArray, IntArray, as_vectors

Mapped = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]


def coresets(
    vectors_ND: Array,
    picks: int,
    shards: int,
    *,
    start_MD: Array | None = None,
    seed: int = 0,
    positions_N: Array | None = None,
    memory: int | None = None,
    device: str | None = None,
    mapped: Mapped = map,
) -> Iterator[Step]:
    """As many picks, farthest first, of those that each of so many contiguous parts would make.

    Composable core sets: no row is farther from the picks than four times the best possible
    distance, where `kcenter` promises twice it (Malkomes et al., "Fast Distributed k-Center
    Clustering with Outliers on Massive Data", NIPS 2015, theorem for two rounds without outliers;
    rows of `start_MD`, kept away from in both rounds, leave the proof as it is). Found on real
    vectors: docs/scale.md. A part of no more rows than `picks` gives all of them, so where all
    parts are so small the picks are those of `kcenter`; and so they are for one shard.

    Parts depend on `shards` alone, and so do picks: `mapped` may work on several at once, as the
    builtin `map` otherwise does. It is given a function and vectors that can be pickled. A gain is
    the distance to the nearest earlier pick. Picks are not nested: a part that is asked for more
    offers other rows. `memory` is for each part, and then for what they picked; `device` is for
    the latter. The other arguments are those of `kcenter`.
    """
    if shards < 1:
        raise OptionError(f"shards={shards}; at least 1 is needed")
    vectors_ND = as_vectors(vectors_ND, "vectors_ND")
    again: dict[str, Any] = {"start_MD": start_MD, "seed": seed}
    if shards == 1:
        again |= {"positions_N": positions_N, "memory": memory, "device": device}
        return islice(kcenter(vectors_ND, **again), picks)
    edges = np.linspace(0, len(vectors_ND), shards + 1).astype(int)
    parts = [slice(*ends) for ends in pairwise(edges) if ends[0] < ends[1]]
    ask = partial(_picks_of, picks=picks, memory=memory, **again)
    found = mapped(ask, (vectors_ND[part] for part in parts))
    offered = [part.start + np.sort(at_K) for part, at_K in zip(parts, found, strict=True)]
    offered_U = np.concatenate([*offered, np.zeros(0, dtype=np.int64)])
    vectors_UD = vectors_ND[offered_U]
    left = None if memory is None else max(1, memory - vectors_UD.nbytes)
    names_U = offered_U if positions_N is None else np.asarray(positions_N)[offered_U]
    again |= {"positions_N": names_U, "memory": left, "device": device}
    return islice(kcenter(vectors_UD, **again), picks)


def needs(rows: int, width: int, *, picks: int, shards: int, memory: int | None = None) -> int:
    """The bytes that `coresets` takes at most beside vectors of this shape, a part at a time."""
    part = -(-rows // shards)
    if shards == 1:
        return kcenter_needs(rows, width, memory=memory)
    offered = min(rows, shards * min(picks, part))
    copied = 4 * offered * width
    return max(
        kcenter_needs(part, width, memory=memory),
        kcenter_needs(offered, width, beside=copied, memory=memory),
    )


def _picks_of(
    vectors_MD: FloatArray, picks: int, start_MD: Array | None, seed: int, memory: int | None
) -> IntArray:
    """Which rows of a part it picks."""
    steps = kcenter(vectors_MD, start_MD=start_MD, seed=seed, memory=memory)
    return np.array([step.pick for step in islice(steps, picks)], dtype=np.int64)
