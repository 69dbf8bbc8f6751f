"""What the tests of LoBaSS share: its fixtures, and losses measured anew."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modicum.choose import Selection, select
from modicum.estimate import Rates
from modicum.meter import Meter
from modicum.models import Model
from modicum.pool import Pool
from modicum.scores.loss import Loss
from modicum.store import Store
from quick_tuning import QuickTuning

FAST = {"learning_rate": 1e-2, "num_train_epochs": 2}

Choose = Callable[..., Selection]


@pytest.fixture(autouse=True)
def known_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modicum.question.calibrate", lambda *_: Rates(1e3, 0.1, 1e2, 0.1, 1))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> QuickTuning:
    stand_in = QuickTuning()
    monkeypatch.setattr("modicum.methods.lobass.tune", stand_in)
    return stand_in


@pytest.fixture
def choose(tiny_pool: Pool, tiny_model: Model, tmp_path: Path) -> Choose:
    def made(method: str = "lobass", k: int = 12, work: str = "work", **more: Any) -> Selection:
        given = {"store": Store(tmp_path / "measured"), "train": FAST} | more
        pool = given.pop("pool", tiny_pool)
        return select(pool, method, k, tiny_model, work=tmp_path / work, **given)

    return made


@pytest.fixture(scope="module")
def tuned(
    tiny_pool: Pool, tiny_model: Model, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Selection, Path]:
    """All twelve rows ranked, by a reference that was really tuned on them."""
    folder = tmp_path_factory.mktemp("lobass")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("modicum.question.calibrate", lambda *_: Rates(1e3, 0.1, 1e2, 0.1, 1))
        return select(tiny_pool, "lobass", 12, tiny_model, work=folder, train=FAST), folder


def losses(model: Folder, pool: Pool, store: Path) -> np.ndarray:
    """(N,) of the model in a folder, measured anew."""
    found = model if isinstance(model, Model) else Model(str(model), model, "float32")
    return Loss()(pool, Meter(found, Store(store))).astype(np.float64)


Folder = Path | Model


def with_losses(monkeypatch: pytest.MonkeyPatch, before: Any, after: Any) -> None:
    """These are the losses of all rows under the base, and under a reference."""

    def known(self: Loss, pool: Pool, meter: Meter) -> np.ndarray:
        tuned = "reference" in meter.model.folder.name
        rows = [int(name[1:]) for name in pool.ids]
        return np.array(after if tuned else before, dtype=np.float32)[rows]

    monkeypatch.setattr(Loss, "__call__", known)


def rows_of(call: dict[str, Any], pool: Pool, made: Selection) -> list[int]:
    """Positions of the rows that a tuning was given; of equal rows the first."""
    whole, given = made.meter.rendered(pool), call["rendered"]
    known = {whole.row(i)[0].tobytes(): i for i in reversed(range(len(whole)))}
    return [known[given.row(i)[0].tobytes()] for i in range(len(given))]
