"""DiverseEvol killed at any moment: the same line goes on, and ends with the same result."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from diverse_evol_rounds import (
    FAST,
    PLAIN,
    RATES,
    Choose,
    choose,
    facts,
    known_rates,
    quick,
    tuned,
)
from modicum.choose import Selection, select
from modicum.context import Context
from modicum.errors import RunError, TrainingError
from modicum.jobs.reading import Reading
from modicum.jobs.select import run_select
from modicum.models import Model
from modicum.pool import Pool
from modicum.training import Recipe
from quick_tuning import QuickTuning

__all__ = ["choose", "known_rates", "quick", "tuned"]


class Killed(BaseException):
    """What no code catches."""


def kill(patch: pytest.MonkeyPatch, what: str, call: int, after: bool) -> None:
    """Die at the given call of a function, before it begins or after it is done."""
    import importlib

    module, _, name = what.rpartition(".")
    where = importlib.import_module(module)
    real, calls = getattr(where, name), iter(range(1, 1000))

    def dying(*args: Any, **more: Any) -> Any:
        now = next(calls) == call
        if now and not after:
            raise Killed
        result = real(*args, **more)
        if now:
            raise Killed
        return result

    patch.setattr(where, name, dying)


def run(tiny_file: Path, model: Model, folder: Path, **more: Any) -> Any:
    """As the command line does it, into a run folder."""
    given: dict[str, Any] = {
        "method": "diverse-evol",
        "budget": "8",
        "settings": {"initial": "2", "rounds": "3"},
        "seed": 0,
        "model": model,
        "target": (),
        "chosen": (),
        "decontaminate": (),
        "train": Recipe(),
        "too_long": "drop",
        "max_tokens": None,
        "say": print,
    }
    return run_select(Reading((str(tiny_file),)), folder, **given | more)


def told(folder: Path) -> list[dict[str, Any]]:
    """`rounds.json` without what a second run can do faster, for it finds things done."""
    rounds = json.loads((folder / "rounds.json").read_text())
    again = ("forward_tokens", "padding_tokens", "forward_passes", "rows_reused", "seconds")
    for each in rounds:
        for key in again:
            del each["ledger"][key]
    return rounds


MOMENTS = [
    ("modicum.choose.write_json", 1, False),  # the plan
    ("modicum.training.rounds.write_json", 1, False),  # round 0
    ("modicum.training.rounds.write_json", 1, True),
    ("modicum.training.evolving.tune", 1, False),  # a training
    ("modicum.training.evolving.tune", 2, True),
    ("modicum.measure._flush", 4, False),  # a view
    ("modicum.measure._flush", 4, True),
    ("modicum.methods.diverse_evol.kcenter", 3, False),
    ("modicum.training.rounds.write_json", 3, False),  # round 2
    ("modicum.training.rounds.write_json", 3, True),  # between rounds
    ("shutil.rmtree", 1, True),
    ("modicum.training.rounds.write_json", 4, True),  # the last round
    ("modicum.output.write_json", 1, False),  # while writing
    ("modicum.output.write_manifest", 1, False),
]


@pytest.fixture(scope="module")
def straight(tiny_file: Path, tiny_model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody killed."""
    folder = tmp_path_factory.mktemp("straight") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("modicum.question.calibrate", lambda *_: RATES)
        patch.setattr("modicum.training.evolving.tune", QuickTuning())
        patch.setenv("MODICUM_CACHE", str(folder.with_name("cache")))
        run(tiny_file, tiny_model, folder)
    return folder


@pytest.mark.parametrize(("what", "call", "after"), MOMENTS)
def test_killed_at_any_moment_the_same_line_ends_with_the_same_result(
    what: str,
    call: int,
    after: bool,
    tiny_file: Path,
    tiny_model: Model,
    straight: Path,
    quick: QuickTuning,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    folder = tmp_path / "run"
    monkeypatch.setenv("MODICUM_CACHE", str(tmp_path / "cache"))  # where nothing is measured yet
    with pytest.MonkeyPatch.context() as patch:
        kill(patch, what, call, after)
        with pytest.raises(Killed):
            run(tiny_file, tiny_model, folder)
    run(tiny_file, tiny_model, folder)
    assert quick.trained == ["1", "2", "3"]  # none twice
    assert told(folder) == told(straight)
    assert pq.read_table(folder / "rows.parquet") == pq.read_table(straight / "rows.parquet")
    assert (folder / "subset.jsonl").read_bytes() == (straight / "subset.jsonl").read_bytes()
    assert run(tiny_file, tiny_model, folder).again


@pytest.mark.parametrize("options", [{}, {"refresh": 2}, {"keep_models": "last"}])
@pytest.mark.parametrize(
    ("what", "call", "after"),
    [
        ("modicum.training.evolving.tune", 2, False),
        ("modicum.training.evolving.tune", 2, True),
        ("modicum.training.rounds.write_json", 4, True),
    ],
)
def test_killed_it_finds_the_model_it_continues_from(
    options: dict[str, Any], what: str, call: int, after: bool, choose: Choose, quick: QuickTuning
):
    given = {"restart": "continue", **options}
    straight = choose(work="straight", **given)
    trained = list(quick.trained)
    quick.trained.clear()
    with pytest.MonkeyPatch.context() as patch:
        kill(patch, what, call, after)
        with pytest.raises(Killed):
            choose(**given)
    made = choose(**given)
    assert quick.trained == trained
    assert made.picks.tolist() == straight.picks.tolist()
    assert made.reasons == straight.reasons


def test_without_a_folder_of_its_own_it_works_in_the_cache_until_it_is_done(
    tiny_pool: Pool,
    tiny_model: Model,
    quick: QuickTuning,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setenv("MODICUM_CACHE", str(tmp_path))
    with pytest.MonkeyPatch.context() as patch:
        kill(patch, "modicum.training.rounds.write_json", 3, False)
        with pytest.raises(Killed):
            select(tiny_pool, "diverse-evol", 8, tiny_model, initial=2, rounds=3)
    assert list(tmp_path.glob("work/*/rounds/2/model.safetensors"))
    select(tiny_pool, "diverse-evol", 8, tiny_model, initial=2, rounds=3)
    assert quick.trained == ["1", "2", "3"]
    assert list(tmp_path.glob("work/*")) == []


def test_a_second_process_that_makes_the_same_selection_is_refused(
    tiny_pool: Pool,
    tiny_model: Model,
    quick: QuickTuning,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    def same(**more: Any) -> Selection:
        return select(tiny_pool, "diverse-evol", 4, tiny_model, initial=2, rounds=1, **more)

    def meanwhile(*given: Any, **more: Any) -> Any:
        monkeypatch.setattr("modicum.training.evolving.tune", quick)
        with pytest.raises(RunError, match=r"another process .* wait for it, or give work=FOLDER"):
            same()
        assert len(same(work=tmp_path / "other")) == len(same(seed=1)) == 4
        return quick(*given, **more)

    monkeypatch.setenv("MODICUM_CACHE", str(tmp_path))
    monkeypatch.setattr("modicum.training.evolving.tune", meanwhile)
    assert len(same()) == 4
    assert list(tmp_path.glob("work/*")) == []


def test_what_an_error_leaves_in_the_cache_is_named(
    tiny_pool: Pool,
    tiny_model: Model,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    def lost(*given: Any, **more: Any) -> Any:
        raise TrainingError("out of memory")

    monkeypatch.setenv("MODICUM_CACHE", str(tmp_path))
    monkeypatch.setattr("modicum.training.evolving.tune", lost)
    with pytest.raises(TrainingError) as caught:
        select(tiny_pool, "diverse-evol", 4, tiny_model, initial=2, rounds=1)
    (folder,) = tmp_path.glob("work/*")
    assert (folder / "rounds" / "0.json").exists()
    assert str(folder) in caught.value.__notes__[0]


def test_what_trains_nothing_needs_no_name_from_the_models_weights(
    tiny_pool: Pool, tiny_model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MODICUM_CACHE", str(tmp_path))
    monkeypatch.setattr(Context, "made_from", property(pytest.fail))
    assert len(select(tiny_pool, "random", 4, tiny_model)) == 4
    assert list(tmp_path.iterdir()) == []


def test_killed_in_a_real_training_it_goes_on(
    tuned: tuple[Selection, Path], tiny_pool: Pool, tiny_model: Model, tmp_path: Path
):
    def again() -> Selection:
        options = {"initial": 2, "rounds": 2, "keep_models": "all"}
        return select(
            tiny_pool, "diverse-evol", 8, tiny_model, work=tmp_path, train=FAST, **options
        )

    with pytest.MonkeyPatch.context() as patch:
        kill(patch, "modicum.training.tune.save", 2, False)
        with pytest.raises(Killed):
            again()
    made, whole = again(), tuned[0]
    assert made.picks.tolist() == whole.picks.tolist()
    assert made.reasons == whole.reasons
    assert made.gains.tolist() == pytest.approx(whole.gains.tolist(), abs=0, nan_ok=True)
    assert made.meter.ledger.backward_tokens == whole.meter.ledger.backward_tokens


def test_finished_rounds_are_read_again_with_what_they_cost(choose: Choose, quick: QuickTuning):
    first = choose()
    second = choose()
    assert quick.trained == ["1", "2", "3"]
    assert second.picks.tolist() == first.picks.tolist()
    assert facts(second) == facts(first)
    for figure in ("backward_tokens", "trained_rows", "forward_tokens", "forward_passes"):
        assert getattr(second.meter.ledger, figure) == getattr(first.meter.ledger, figure)
    train = first.meter.ledger.seconds["train"]
    assert second.meter.ledger.seconds["train"] == pytest.approx(train)


@pytest.mark.parametrize(
    "other",
    [
        {"seed": 1},
        {"k": 9},
        {"refresh": 2},
        {"train": {"learning_rate": 0.5}},
        {"chosen": [3]},
        {"too_long": "truncate-prompt", "max_tokens": 40},
    ],
)
def test_rounds_of_another_selection_are_refused(
    other: dict[str, Any], choose: Choose, tiny_pool: Pool
):
    choose()
    if "chosen" in other:
        other = {"chosen": tiny_pool.take(other["chosen"])}
        # Its only round is number 1, which is there.
    with pytest.raises(RunError, match="belongs to another command; choose another folder"):
        choose(**other)


class Plainly:
    """A view of the user's own that says nothing of itself."""

    name = "plainly"
    wants = PLAIN.wants
    fitted = False

    def __call__(self, pool: Pool, meter: Any, **more: Any) -> Any:
        return PLAIN(pool, meter)


def test_a_view_of_ones_own_is_the_same_in_every_process(choose: Choose, quick: QuickTuning):
    first, second = choose(view=Plainly()), choose(view=Plainly())
    assert quick.trained == ["1", "2", "3"]
    assert first.picks.tolist() == second.picks.tolist() == choose(work="other").picks.tolist()


def test_a_view_whose_code_has_changed_is_another(
    choose: Choose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.syspath_prepend(tmp_path)
    code = "from modicum.views.hidden import Hidden\n\n\nclass Mine(Hidden):\n    pass\n"
    file = tmp_path / "view_of_mine.py"
    file.write_text(code)
    choose(view="view_of_mine:Mine")
    choose(view="view_of_mine:Mine")
    file.write_text(code + "\n# changed\n")
    with pytest.raises(RunError, match="belongs to another command"):
        choose(view="view_of_mine:Mine")
