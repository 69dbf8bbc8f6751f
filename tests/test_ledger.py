"""What a run cost, counted once."""

from __future__ import annotations

import time

from modicum.ledger import Ledger


def test_a_stage_inside_another_is_counted_once():
    ledger = Ledger()
    began = time.perf_counter()
    with ledger.time("select"):
        time.sleep(0.02)
        with ledger.time("measure"):
            time.sleep(0.05)
    taken = time.perf_counter() - began
    assert ledger.seconds["measure"] >= 0.05
    assert abs(sum(ledger.seconds.values()) - taken) < 0.01


def test_a_stage_entered_twice_adds_up():
    ledger = Ledger()
    for _ in range(2):
        with ledger.time("render"):
            time.sleep(0.01)
    assert ledger.seconds["render"] >= 0.02
