"""Processes that die where they are told to."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import count

import pytest

from modicum import durable

DIED = 77
FAILED = 78


def dies_at(number: int, work: Callable[[], object]) -> bool:
    """Do the work in a forked process that dies at a step (from 1); False if it never comes there.

    Nothing is tidied up in it, as after a kill.
    """
    child = os.fork()
    if child == 0:
        steps = count(1)

        def step(moment: str, path: object) -> None:
            if next(steps) == number:
                os._exit(DIED)

        durable.step = step
        try:
            work()
        except BaseException:
            import traceback

            traceback.print_exc()
            os._exit(FAILED)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status not in (0, DIED):
        pytest.fail(f"the child ended with {status} before step {number}")
    return status == DIED
