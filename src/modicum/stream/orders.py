"""In which order the tasks of a stream arrive."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

Order = Literal["given", "random", "easy-hard", "hard-easy"]
ORDERS: tuple[Order, ...] = get_args(Order)


def arrange(order: Order, hardness_T: np.ndarray, seed: int) -> list[int]:
    """Positions of the tasks in the order they arrive; equally hard ones as they were given.

    InsCL calls easy-hard Curriculum and hard-easy Reverse. A random order is drawn by `seed`.
    """
    if order == "random":
        return [int(i) for i in np.random.default_rng(seed).permutation(len(hardness_T))]
    if order == "given":
        return list(range(len(hardness_T)))
    signed_T = hardness_T if order == "easy-hard" else -hardness_T
    return [int(i) for i in np.argsort(signed_T, kind="stable")]
