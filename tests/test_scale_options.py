"""Which engine is asked for: said wrongly, or without the package it needs."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

import pytest

from modicum.errors import OptionError
from modicum.measure import Local
from modicum.scale import engine_of
from modicum.scale.cluster import _lock
from test_cli import Run, run, select

__all__ = ["run", "select"]


def test_the_engine_is_this_process_unless_said_otherwise():
    assert isinstance(engine_of(), Local)
    own = Local()
    assert engine_of(own) is own


def test_an_engine_that_does_not_exist_is_refused():
    with pytest.raises(OptionError, match="engine dask: choose local, ray"):
        engine_of("dask")


def test_an_address_without_ray_is_refused():
    with pytest.raises(OptionError, match="belongs to the engine ray: --engine ray"):
        engine_of("local", "10.0.0.1:6379")


def test_without_the_package_the_way_to_it_is_said(monkeypatch: pytest.MonkeyPatch):
    found = importlib.util.find_spec

    def none_of_ray(name: str) -> object:
        return None if name == "ray" else found(name)

    monkeypatch.setattr(importlib.util, "find_spec", none_of_ray)
    needed = r"--engine ray needs one more package: pip install 'modicum\[ray\]'"
    with pytest.raises(OptionError, match=needed):
        engine_of("ray")


def test_the_engine_is_no_part_of_what_decides_a_run(select: Run, tmp_path: Path):
    words = ("-m", "k-center", "-k", 3, "-o", "out")
    assert select(*words).status == 0
    again = select(*words, "--engine", "ray")  # nothing is left to do, so none is started
    assert again.status == 0
    assert "finished before" in again.out
    assert "ray" not in (tmp_path / "out" / "command.json").read_text(encoding="utf-8")


def test_an_engine_that_does_not_exist_is_one_line(select: Run):
    ran = select("-m", "random", "-k", 3, "--engine", "dask")
    assert (ran.status, ran.err) == (2, "modicum: --engine dask: choose local, ray")


def test_a_ray_of_this_machine_alone_has_a_key_unless_the_user_decided(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.delitem(sys.modules, "ray", raising=False)
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN"):
        monkeypatch.setenv(name, "")  # so that it is as it was afterwards
        monkeypatch.delenv(name)
    _lock()
    assert os.environ["RAY_AUTH_MODE"] == "token"
    assert len(first := os.environ["RAY_AUTH_TOKEN"]) == 64
    _lock()
    assert os.environ["RAY_AUTH_TOKEN"] == first
