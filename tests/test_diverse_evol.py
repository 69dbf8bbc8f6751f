"""DiverseEvol: whose model looks at the pool in which round, what it takes, and what is kept.

Most tests are of the rounds, not of tuning, and let `QuickTuning` stand in for `tune`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from modicum.choose import Selection, select
from modicum.errors import BudgetError, ModelError, OptionError, RunError, TrainingError
from modicum.estimate import Rates
from modicum.jobs import Reading, run_select
from modicum.measure import HiddenState
from modicum.meter import Meter
from modicum.methods.diverse_evol import DiverseEvol
from modicum.models import Model
from modicum.parts import build
from modicum.pool import Pool
from modicum.scores.uncertainty import Entropy, LeastConfidence, Margin
from modicum.selection import nearest_distance, vendi
from modicum.store import Store
from modicum.training import Recipe, tune
from modicum.views.encoder import Encoder
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


# --- really tuned -------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [1, 2])
def test_picks_are_a_brute_forces_in_the_view_of_the_rounds_model(
    number: int, tuned: tuple[Selection, Path], tiny_pool: Pool, tmp_path: Path
):
    made, rounds = tuned
    vectors_ND = seen(PLAIN, tiny_pool, rounds / str(number), tmp_path)
    wanted = farthest_first(vectors_ND, before_round(made, number), 3)
    assert in_round(made, number) == wanted


def test_the_model_of_a_round_is_the_base_tuned_on_all_taken_before(
    tuned: tuple[Selection, Path], tiny_pool: Pool, tiny_model: Model, tmp_path: Path
):
    made, rounds = tuned
    taken = sorted(before_round(made, 2))
    rows = Meter(tiny_model).rendered(tiny_pool).take(np.array(taken))
    again = tune(rows, tiny_model, tmp_path / "again", Recipe(FAST), seed=0)
    assert facts(made)[2]["training_loss"] == again.loss
    there_ND = seen(PLAIN, tiny_pool, rounds / "2", tmp_path / "a")
    here_ND = seen(PLAIN, tiny_pool, tmp_path / "again", tmp_path / "b")
    np.testing.assert_array_equal(there_ND, here_ND)
    base_ND = seen(PLAIN, tiny_pool, tiny_model.folder, tmp_path / "c")
    assert np.abs(here_ND - base_ND).max() > 0.1


def test_the_ledger_counts_the_tokens_of_every_round(
    tuned: tuple[Selection, Path], tiny_pool: Pool
):
    made, _ = tuned
    trained = [before_round(made, number) for number in (1, 2)]
    epochs = FAST["num_train_epochs"]
    assert made.meter.ledger.trained_rows == epochs * sum(map(len, trained))
    tokens = sum(int(made.tokens_N[rows].sum()) for rows in trained)
    assert made.meter.ledger.backward_tokens == epochs * tokens


# --- sizes ----------------------------------------------------------------------------------------


def test_the_defaults_are_the_papers():
    assert DiverseEvol() == DiverseEvol(
        view=PLAIN, initial=100, rounds=10, refresh=1, restart="base", score=None
    )


@pytest.mark.parametrize(
    ("k", "options", "sizes"),
    [
        (8, {"rounds": 3}, [2, 2, 2, 2]),
        (9, {"rounds": 3}, [2, 3, 2, 2]),
        (4, {"rounds": 10}, [2, 1, 1]),
        (9, {"per_round": 3}, [2, 3, 3, 1]),
        (12, {"initial": 11}, [11, 1]),
    ],
)
def test_rounds_are_as_large_as_asked(k: int, options: Any, sizes: list[int], choose: Choose):
    made = choose(k, **options)
    assert np.bincount(made.rounds).tolist() == sizes
    assert (np.diff(made.rounds) >= 0).all()
    assert [len(each["picks"]) for each in facts(made)] == sizes
    assert [each["rows"] for each in facts(made)] == np.cumsum(sizes).tolist()


def test_rounds_share_tokens(choose: Choose):
    made = choose("360tok", rounds=2)
    tokens = [int(made.tokens_N[before_round(made, number)].sum()) for number in (1, 2, 3)]
    assert [each["tokens"] for each in facts(made)] == tokens
    mean = made.tokens_N.mean()
    assert tokens[1] <= (2 * mean + 360) / 2 < tokens[1] + made.tokens_N.max()
    assert tokens[2] <= 360 < tokens[2] + made.tokens_N.max()


def test_rounds_of_rows_end_where_the_tokens_do(choose: Choose, quick: QuickTuning):
    made = choose("300tok", per_round=2)
    assert made.tokens_N[made.picks].sum() <= 300
    assert quick.trained == [str(n) for n in range(1, len(facts(made)))]
    assert {len(each["picks"]) for each in facts(made)[:-1]} == {2}
    assert len(facts(made)[-1]["picks"]) < 2


@pytest.mark.parametrize("sized", [{"rounds": 3}, {"per_round": 5}])
def test_rounds_end_where_the_pool_does(sized: Any, choose: Choose, tiny_pool: Pool):
    made = choose("10ktok", **sized)
    assert sorted(made.picks) == list(range(len(tiny_pool)))
    assert all(each["picks"] for each in facts(made))


def test_a_first_draw_as_large_as_the_budget_is_refused_before_anything_is_done(
    choose: Choose, quick: QuickTuning, tmp_path: Path
):
    with pytest.raises(BudgetError, match="use --set initial=4, or a larger -k"):
        choose(8, initial=8)
    with pytest.raises(BudgetError, match="use --set initial=1, or a larger -k"):
        choose("100tok", initial=8)
    assert not quick.calls and not (tmp_path / "work").exists()


# --- what a round looks at --------------------------------------------------------------------


def test_the_first_draw_is_the_random_methods(choose: Choose, tiny_pool: Pool, tiny_model: Model):
    made = choose(seed=5)
    drawn = select(tiny_pool, "random", 2, tiny_model, seed=5)
    assert in_round(made, 0) == drawn.picks.tolist()
    assert made.reasons[:2] == drawn.reasons


def test_a_copy_of_a_taken_row_comes_last_at_distance_0(choose: Choose):
    made = choose(12)
    copy = max((1, 4), key=made.picks.tolist().index)
    assert made.picks[-1] == copy
    assert made.gains[-1] == 0


@pytest.mark.parametrize("rows", [[0, 0, 0, 1, 1, 2, 3, 5, 5, 7, 8, 9], [3] * 9 + [5, 5, 5]])
def test_pools_full_of_copies_are_spread_as_by_brute_force(
    rows: list[int], choose: Choose, tiny_pool: Pool, tmp_path: Path
):
    raw = [tiny_pool[i] for i in rows]
    pool = rebuilt(raw)
    made = choose(8, pool=pool)
    for number in (1, 2, 3):
        vectors_ND = seen(PLAIN, pool, tmp_path / f"work/rounds/{number}", tmp_path / f"{number}")
        wanted = farthest_first(vectors_ND, before_round(made, number), 2)
        assert in_round(made, number) == wanted


def rebuilt(examples: Sequence[Any]) -> Pool:
    from modicum.pool import RawRow

    return Pool.build(
        RawRow(f"c{i}", "copies", "", each.turns, 0, i, 0, 0) for i, each in enumerate(examples)
    )


@pytest.mark.parametrize(
    "view",
    [
        Hidden(pooling="mean", normalise=True),
        Hidden(pooling="last", normalise=False),
        Hidden(pooling="mean", normalise=False, layer=1),
    ],
)
def test_the_view_can_be_chosen(view: Hidden, choose: Choose, tiny_pool: Pool, tmp_path: Path):
    made = choose(view=view)
    vectors_ND = seen(view, tiny_pool, tmp_path / "work/rounds/3", tmp_path / "again")
    assert in_round(made, 3) == farthest_first(vectors_ND, before_round(made, 3), 2)


def test_options_of_the_view_leave_its_others_as_the_paper_has_them(
    choose: Choose, tiny_pool: Pool, tmp_path: Path
):
    view = Hidden(pooling="mean", normalise=False, whiten=True)
    assert build(DiverseEvol, {"whiten": "true"}).view == view
    made = choose(whiten=True)
    vectors_ND = seen(view, tiny_pool, tmp_path / "work/rounds/1", tmp_path / "again")
    assert in_round(made, 1) == farthest_first(vectors_ND, before_round(made, 1), 2)


@pytest.mark.parametrize(
    ("score", "sign"), [(Entropy(), -1), (LeastConfidence(), -1), (Margin(), 1)]
)
def test_with_a_score_a_round_takes_the_rows_its_model_is_least_sure_of(
    score: Any, sign: int, choose: Choose, tiny_pool: Pool, tmp_path: Path
):
    made = choose(score=score)
    for number in (1, 3):
        values_N = seen(score, tiny_pool, tmp_path / f"work/rounds/{number}", tmp_path / "again")
        taken = before_round(made, number)
        order = [i for i in np.argsort(sign * values_N, kind="stable") if i not in taken]
        assert in_round(made, number) == order[:2]
    assert made.reasons[-1].startswith(score.name)
    assert all(each["radius"] is None for each in facts(made))


@pytest.mark.parametrize("part", [{"view": "lexical"}, {"view": Encoder()}, {"score": "length"}])
def test_what_does_not_look_through_the_model_is_refused(part: Any, choose: Choose):
    with pytest.raises(OptionError, match="does not look through the model"):
        choose(**part)


# --- models ---------------------------------------------------------------------------------------


def test_every_round_starts_from_the_base(choose: Choose, quick: QuickTuning, tiny_model: Model):
    choose()
    assert [call["start"] for call in quick.calls] == [tiny_model.folder] * 3


def test_continue_starts_from_the_last_model(
    choose: Choose, quick: QuickTuning, tiny_model: Model, tmp_path: Path
):
    for keep in ("all", "last"):
        quick.calls.clear()
        choose(restart="continue", keep_models=keep, work=keep)
        rounds = tmp_path / keep / "rounds"
        starts = [call["start"] for call in quick.calls]
        assert starts == [tiny_model.folder, rounds / "1", rounds / "2"]
    choose(work="base")
    model = "rounds/2/model.safetensors"
    weights = [(tmp_path / work / model).read_bytes() for work in ("all", "base")]
    assert weights[0] != weights[1]


@pytest.mark.parametrize("restart", ["base", "continue"])
def test_refresh_tunes_in_every_second_round_only(
    restart: str, choose: Choose, quick: QuickTuning, tiny_pool: Pool, tmp_path: Path
):
    made = choose(12, per_round=2, refresh=2, restart=restart)
    assert quick.trained == ["1", "3", "5"]
    starts = [call["start"].name for call in quick.calls]
    assert restart == "base" or starts[1:] == ["1", "3"]
    assert [each["training_loss"] for each in facts(made)] == [None, 3, None, 7, None, 11]
    vectors_ND = seen(PLAIN, tiny_pool, tmp_path / "work/rounds/3", tmp_path / "again")
    assert in_round(made, 4) == farthest_first(vectors_ND, before_round(made, 4), 2)


@pytest.mark.parametrize(("keep", "kept"), [("all", ["1", "2", "3"]), ("last", ["3"])])
def test_models_are_kept_as_asked(keep: str, kept: list[str], choose: Choose, tmp_path: Path):
    made = choose(keep_models=keep)
    rounds = tmp_path / "work" / "rounds"
    assert sorted(path.parent.name for path in rounds.glob("*/model.safetensors")) == kept
    made.write(tmp_path / "run")
    assert not list(rounds.glob("*/measured"))
    assert sorted(path.parent.name for path in rounds.glob("*/model.safetensors")) == kept


def test_epochs_and_train_options_reach_the_tuning(choose: Choose, quick: QuickTuning):
    choose(4, epochs=2, train={"learning_rate": 0.5})
    assert quick.calls[0]["recipe"].given == {"learning_rate": 0.5, "num_train_epochs": 2}
    with pytest.raises(OptionError, match="num_train_epochs is given as 1 and as 2"):
        choose(4, epochs=2, train={"num_train_epochs": 1}, work="other")


# --- rounds.json ----------------------------------------------------------------------------------


def test_rounds_json_tells_of_every_round(choose: Choose, tiny_pool: Pool, tmp_path: Path):
    made = choose()
    made.write(tmp_path / "run")
    told = json.loads((tmp_path / "run" / "rounds.json").read_text(), parse_constant=pytest.fail)
    assert [each["round"] for each in told] == [0, 1, 2, 3]
    for each in told:
        assert [tiny_pool.ids.index(name) for name in each["ids"]] == in_round(made, each["round"])
        assert [pick["position"] for pick in each["picks"]] == in_round(made, each["round"])
        assert set(each["diversity"]) == {"vendi", "mean_nearest_distance"}
        assert each["ledger"]["backward_tokens"] == (each["training"] or {}).get("tokens_seen", 0)
    assert told[0]["training_loss"] is told[0]["radius"] is None
    assert told[2]["training_loss"] == 5  # as QuickTuning says of 4 rows


def test_the_radius_is_the_distance_of_the_farthest_row_left(
    choose: Choose, tiny_pool: Pool, tmp_path: Path
):
    made = choose()
    for number in (1, 2, 3):
        vectors_ND = seen(PLAIN, tiny_pool, tmp_path / f"work/rounds/{number}", tmp_path / "again")
        taken = before_round(made, number + 1)
        apart_NM = np.linalg.norm(vectors_ND[:, None] - vectors_ND[taken], axis=2)
        assert facts(made)[number]["radius"] == pytest.approx(apart_NM.min(axis=1).max(), rel=1e-5)


def test_nothing_is_left_to_have_a_radius_when_all_rows_are_taken(choose: Choose):
    assert facts(choose(12))[-1]["radius"] is None


def test_diversity_is_that_of_all_taken_in_the_bases_view(
    choose: Choose, tiny_pool: Pool, tiny_model: Model, tmp_path: Path
):
    made = choose()
    base_ND = seen(PLAIN, tiny_pool, tiny_model.folder, tmp_path / "again")
    taken_MD = base_ND[before_round(made, 3)]
    told = facts(made)[2]["diversity"]
    assert told["vendi"] == pytest.approx(vendi(taken_MD), rel=1e-4)
    assert told["mean_nearest_distance"] == pytest.approx(nearest_distance(taken_MD), rel=1e-4)


# --- one round, for people who train elsewhere ----------------------------------------------------


def test_with_chosen_rows_the_model_given_takes_the_farthest_and_nothing_is_tuned(
    choose: Choose, quick: QuickTuning, tiny_pool: Pool, tiny_model: Model, tmp_path: Path
):
    before = [2, 6, 9]
    made = choose(4, chosen=tiny_pool.take(before))
    base_ND = seen(PLAIN, tiny_pool, tiny_model.folder, tmp_path / "again")
    assert made.picks.tolist() == farthest_first(base_ND, before, 4)
    assert made.rounds.tolist() == [1] * 4
    assert not quick.calls and made.meter.ledger.trained_rows == 0
    assert made.predicted is None
    assert len(facts(made)) == 1 and facts(made)[0]["training_loss"] is None


def test_with_chosen_rows_and_a_score_the_model_given_is_asked(
    choose: Choose, tiny_pool: Pool, tiny_model: Model, tmp_path: Path
):
    made = choose(4, chosen=tiny_pool.take([2, 6]), score="entropy")
    values_N = seen(Entropy(), tiny_pool, tiny_model.folder, tmp_path / "again")
    order = [i for i in np.argsort(-values_N, kind="stable") if i not in (2, 6)]
    assert made.picks.tolist() == order[:4]


# --- killed -------------------------------------------------------------------------------------


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
    ("modicum.output.write_json", 2, False),
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


def test_killed_in_a_real_training_it_goes_on(
    tuned: tuple[Selection, Path], tiny_pool: Pool, tiny_model: Model, tmp_path: Path
):
    def again() -> Selection:
        options = {"initial": 2, "rounds": 2, "keep_models": "all"}
        return select(
            tiny_pool, "diverse-evol", 8, tiny_model, work=tmp_path, train=FAST, **options
        )

    with pytest.MonkeyPatch.context() as patch:
        kill(patch, "modicum.training.tune._save", 2, False)
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
    with pytest.raises(RunError, match="belongs to another selection; choose another folder"):
        choose(**other)


@pytest.mark.parametrize("options", [{}, {"score": "entropy"}])
def test_a_model_that_cannot_see_the_rows_it_was_tuned_on_is_refused(
    options: dict[str, Any], choose: Choose, monkeypatch: pytest.MonkeyPatch
):
    for kind in (Hidden, Entropy):
        monkeypatch.setattr(kind, "__call__", lost(kind.__call__))
    with pytest.raises(TrainingError, match=r"2 of 2 rows .* lower --train learning_rate"):
        choose(**options)


def lost(call: Any) -> Any:
    def looked(self: Any, pool: Pool, meter: Meter, **more: Any) -> np.ndarray:
        tuned = "rounds" in str(meter.model.folder)
        return np.array(call(self, pool, meter, **more)) * (np.nan if tuned else 1)

    return looked


def test_a_model_whose_weights_are_no_numbers_is_refused(choose: Choose, quick: QuickTuning):
    quick.step = float("nan")
    with pytest.raises(ModelError, match=r"not finite.* lower learning rate"):
        choose()


def test_a_row_that_a_model_cannot_see_is_not_taken_by_it_and_is_named(
    choose: Choose, monkeypatch: pytest.MonkeyPatch
):
    real = Hidden.__call__

    def blind(self: Hidden, pool: Pool, meter: Meter, **more: Any) -> np.ndarray:
        vectors_ND = np.array(real(self, pool, meter, **more))
        vectors_ND[[name == "r3" for name in pool.ids]] = np.nan
        return vectors_ND

    monkeypatch.setattr(Hidden, "__call__", blind)
    made = choose()
    assert 3 not in made.picks
    assert "no finite vector" in made.left_out[3]
    assert facts(made)[1]["unmeasured"] == [3]
    assert choose().left_out == made.left_out  # also when the rounds are read again


def test_positions_are_the_users_where_rows_were_left_out(choose: Choose, tiny_pool: Pool):
    made = choose(6, evaluation=tiny_pool.take([5, 8]), rounds=2)
    assert not {5, 8} & set(made.picks.tolist())
    for each in facts(made):
        assert [tiny_pool.ids[pick["position"]] for pick in each["picks"]] == each["ids"]
    wanted = HiddenState(-1, "mean", "row")
    assert PLAIN.wants == (wanted,)
