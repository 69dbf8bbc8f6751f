"""Compiled layers: the same measurements, and said when there are none."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

from modicum import compiled
from modicum.meter import Meter
from modicum.store import Store
from modicum.wants import HiddenState, Loss

WANTS = [Loss(), HiddenState()]


@pytest.fixture
def fresh(tiny_model, tmp_path):
    """A meter that finds nothing measured, and a model that nobody tried to compile."""
    compiled._TRIED.clear()
    yield lambda name: Meter(tiny_model, Store(tmp_path / name), batch_tokens=256)
    compiled._TRIED.clear()


@pytest.mark.skipif(not shutil.which("g++"), reason="needs a C++ compiler: install g++")
def test_compiled_layers_measure_the_same(fresh, tiny_pool, monkeypatch):
    plain, fast = fresh("plain"), fresh("fast")
    plain.prepare(tiny_pool, WANTS)
    monkeypatch.setattr(compiled, "WORTH_IT", {"cpu": 0.0})
    fast.prepare(tiny_pool, WANTS)
    assert fast.ledger.fallbacks == []
    assert 0 < fast.ledger.compiled_tokens <= fast.ledger.forward_tokens
    assert plain.ledger.compiled_tokens == 0
    for want in WANTS:
        ours, theirs = fast.measured(tiny_pool, want), plain.measured(tiny_pool, want)
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_without_a_compiler_layers_run_as_they_are_and_that_is_said(fresh, tiny_pool, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("No working C++ compiler found\nmore of it")

    monkeypatch.setattr(compiled, "WORTH_IT", {"cpu": 0.0})
    monkeypatch.setattr("accelerate.utils.compile_regions", broken)
    meter = fresh("slow")
    meter.prepare(tiny_pool, [Loss(), Loss(prompt=False)])
    (said,) = meter.ledger.fallbacks
    assert said == "layers not compiled: No working C++ compiler found"
    assert meter.ledger.compiled_tokens == 0
    assert np.isfinite(meter.measured(tiny_pool, Loss())).any()


def test_layers_that_cannot_be_wrapped_run_as_they_are(fresh, tiny_pool, monkeypatch):
    def of_two_classes(body, **_):
        def called(**given):
            raise TypeError("JambaModel does not support len()")

        return called

    monkeypatch.setattr(compiled, "WORTH_IT", {"cpu": 0.0})
    monkeypatch.setattr("accelerate.utils.compile_regions", of_two_classes)
    meter = fresh("mixed")
    meter.prepare(tiny_pool, [Loss()])
    assert meter.ledger.fallbacks == ["layers not compiled: JambaModel does not support len()"]


def test_rows_that_go_alone_are_not_compiled_for(fresh, tiny_pool, monkeypatch):
    monkeypatch.setattr(compiled, "WORTH_IT", {"cpu": 1.0})
    monkeypatch.setattr(compiled, "compiled_layers", lambda network: pytest.fail("compiled"))
    meter = replace(fresh("alone"), batch_tokens=1)
    meter.prepare(tiny_pool, [Loss()])
    assert meter.ledger.forward_tokens > 0


def test_layers_that_come_out_different_are_not_used(fresh, tiny_pool, monkeypatch):
    class Off:
        def __init__(self, body):
            self.body = body

        def __call__(self, **given):
            out = self.body(**given)
            out.last_hidden_state = out.last_hidden_state * 1.2
            return out

    monkeypatch.setattr(compiled, "WORTH_IT", {"cpu": 0.0})
    monkeypatch.setattr("accelerate.utils.compile_regions", lambda body, **_: Off(body))
    meter = fresh("off")
    meter.prepare(tiny_pool, [Loss()])
    assert "their states would differ" in meter.ledger.fallbacks[0]
    assert meter.ledger.compiled_tokens == 0


def test_little_work_and_other_layers_are_not_worth_compiling(fresh, tiny_pool, monkeypatch):
    monkeypatch.setattr(compiled, "compiled_layers", lambda network: pytest.fail("compiled"))
    fresh("few").prepare(tiny_pool, [Loss()])
    monkeypatch.setattr(compiled, "WORTH_IT", {"cpu": 0.0})
    fresh("inner").prepare(tiny_pool, [Loss(), HiddenState(layer=1)])


def test_operations_are_two_a_weight_of_the_layers(tiny_model):
    network = tiny_model.network
    layer = 4 * 32 * 32 + 3 * 32 * 64 + 2 * 32
    assert compiled.operations(network, 10) == 2 * 10 * (2 * layer + 32)
