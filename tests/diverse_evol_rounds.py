"""What the tests of DiverseEvol share: its fixtures, and a brute force to compare with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modicum.choose import Selection, select
from modicum.estimate import Rates
from modicum.meter import Meter
from modicum.models import Model
from modicum.pool import Pool
from modicum.store import Store
from modicum.views.hidden import Hidden
from quick_tuning import QuickTuning

RATES = Rates(1e3, 0.1, 1e2, 0.1, 1)
FAST = {"learning_rate": 1e-2, "num_train_epochs": 2}  # so that two rows change the tiny model
PLAIN = Hidden(pooling="mean", normalise=False)

Choose = Callable[..., Selection]


@pytest.fixture(autouse=True)
def known_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modicum.question.calibrate", lambda *_: RATES)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> QuickTuning:
    stand_in = QuickTuning()
    monkeypatch.setattr("modicum.training.evolving.tune", stand_in)
    return stand_in


@pytest.fixture
def choose(tiny_pool: Pool, tiny_model: Model, tmp_path: Path, quick: QuickTuning) -> Choose:
    """2 rows at random and 2 in each of 3 rounds, the models of all rounds kept, if not said."""

    def made(
        k: int | str = 8, work: str = "work", pool: Pool = tiny_pool, **more: Any
    ) -> Selection:
        given = {"initial": 2, "rounds": 3, "keep_models": "all", "store": Store(tmp_path / "m")}
        return select(pool, "diverse-evol", k, tiny_model, work=tmp_path / work, **given | more)

    return made


@pytest.fixture(scope="module")
def tuned(
    tiny_pool: Pool, tiny_model: Model, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Selection, Path]:
    """2 rows and two rounds of 3, really tuned."""
    folder = tmp_path_factory.mktemp("rounds")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("modicum.question.calibrate", lambda *_: RATES)
        made = select(
            tiny_pool,
            "diverse-evol",
            8,
            tiny_model,
            work=folder,
            train=FAST,
            initial=2,
            rounds=2,
            keep_models="all",
        )
    return made, folder / "rounds"


def seen(view: Any, pool: Pool, folder: Path, store: Path) -> np.ndarray:
    """The pool through the model of a folder, measured anew."""
    return view(pool, Meter(Model(str(folder), folder, "float32"), Store(store)))


def farthest_first(vectors_ND: np.ndarray, taken: Sequence[int], count: int) -> list[int]:
    """k-center by brute force: all distances from the differences, ties to the lower position."""
    picks: list[int] = []
    for _ in range(count):
        centres_MD = vectors_ND[[*taken, *picks]].astype(np.float64)
        apart_NM = np.linalg.norm(vectors_ND[:, None].astype(np.float64) - centres_MD, axis=2)
        nearest_N = apart_NM.min(axis=1)
        nearest_N[[*taken, *picks]] = -1
        picks.append(int(nearest_N.argmax()))
    return picks


def in_round(made: Selection, number: int) -> list[int]:
    return made.picks[made.rounds == number].tolist()


def before_round(made: Selection, number: int) -> list[int]:
    return made.picks[made.rounds < number].tolist()


def facts(made: Selection) -> list[dict[str, Any]]:
    return made.records["rounds.json"]
