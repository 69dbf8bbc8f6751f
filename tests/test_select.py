"""From a pool, a method and a budget to a selection and its folder."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import modicum as mo
from modicum.choose import select
from modicum.errors import AlignmentError, BudgetError, InputError, OptionError, RunError
from modicum.models import Model
from modicum.output import write_scores
from modicum.pool import Pool
from modicum.scoring import score
from modicum.store import Store
from modicum.usable import LARGEST_SEED
from modicum.views.lexical import Lexical

# Rows of the tiny pool with more than 50 tokens under the tiny model's template.
LONG = {5: 79, 8: 79, 9: 57, 10: 89, 11: 63}

Choose = Callable[..., mo.Selection]


def first_rows(context: mo.Context) -> list[int]:
    """A method of the user's own: rows as they stand."""
    return list(range(len(context.pool)))


def same_row_twice(context: mo.Context) -> list[int]:
    return [0, 0]


@pytest.fixture
def choose(tiny_pool: Pool, tiny_model: Model, tmp_path: Path) -> Choose:
    def made(method: Any, budget: Any, **more: Any) -> mo.Selection:
        return select(
            more.pop("pool", tiny_pool),
            method,
            budget,
            tiny_model,
            store=Store(tmp_path / "measured"),
            **more,
        )

    return made


def manifest_of(chosen: mo.Selection, folder: Path) -> dict[str, Any]:
    text = (chosen.write(folder) / "manifest.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


def test_the_rows_of_the_pool_are_as_long_as_these_tests_say(choose: Choose):
    tokens_N = choose("random", 1).tokens_N
    assert {i: int(n) for i, n in enumerate(tokens_N) if n > 50} == LONG


@pytest.mark.parametrize(("budget", "rows"), [(5, 5), ("5", 5), ("50%", 6), ("4%", 1), ("29%", 3)])
def test_a_share_is_of_all_rows_to_the_nearest_and_at_least_one(choose, budget, rows):
    assert len(choose("random", budget)) == rows


def test_a_share_counts_rows_that_cannot_be_picked(choose: Choose):
    chosen = choose(first_rows, "50%", max_tokens=50)
    assert chosen.picks.tolist() == [0, 1, 2, 3, 4, 6]


def test_tokens_stop_before_the_first_row_that_would_overflow(choose: Choose):
    everything = choose("longest", 12)
    spent_K = np.cumsum(everything.tokens_N[everything.picks])
    chosen = choose("longest", "240tok")
    assert chosen.picks.tolist() == everything.picks[spent_K <= 240].tolist()
    left = 240 - chosen.tokens_N[chosen.picks].sum()
    assert everything.tokens_N[everything.picks[len(chosen) :]].min() <= left  # one would still fit


def test_more_rows_than_can_be_picked_are_refused_with_the_reasons(choose: Choose):
    with pytest.raises(BudgetError, match=r"cannot pick 13 rows: the pool has 12; use -k 12"):
        choose("random", 13)
    said = "cannot pick 8 rows: the pool has 12, and of them 5 too long; use -k 7 or fewer"
    with pytest.raises(BudgetError, match=re.escape(said)):
        choose("random", 8, max_tokens=50)
    with pytest.raises(BudgetError, match=r"none of the 12 rows can be picked: 12 too long"):
        choose("random", "300tok", max_tokens=5)


def test_long_rows_are_dropped_and_named(choose: Choose, tmp_path: Path):
    chosen = choose("random", 7, max_tokens=50)
    assert set(chosen.left_out) == set(LONG)
    assert chosen.left_out[10] == "too long: 89 tokens, the limit is 50"
    left_out = manifest_of(chosen, tmp_path / "run")["left_out"]
    assert [row["id"] for row in left_out] == ["r5", "r8", "r9", "r10", "r11"]
    assert left_out[0]["where"].endswith("tiny.jsonl:6")


def test_long_rows_are_an_error_if_asked(choose: Choose):
    said = r"tiny\.jsonl:6: 79 tokens, the limit is 50, and so for 5 rows; pass --too-long drop"
    with pytest.raises(InputError, match=said):
        choose("random", 1, max_tokens=50, too_long="error")


def test_prompts_are_cut_where_the_answer_fits(choose: Choose, tmp_path: Path):
    whole = choose("random", 1).tokens_N
    chosen = choose("random", 1, max_tokens=50, too_long="truncate-prompt")
    cut = [i for i in LONG if i not in chosen.left_out]
    assert cut
    assert all(chosen.tokens_N[i] <= 50 < whole[i] for i in cut)
    made = manifest_of(chosen, tmp_path / "run")
    assert made["model"]["prompts_truncated"] == [f"r{i}" for i in cut]
    assert made["too_long"] == "truncate-prompt"


def test_seeds_beyond_what_every_library_takes_are_refused(choose: Choose):
    assert len(choose("kmeans", 1, seed=LARGEST_SEED)) == 1
    for seed in (-1, LARGEST_SEED + 1):
        with pytest.raises(OptionError, match=rf"seed {seed}: give a whole number from 0 to"):
            choose("random", 1, seed=seed)


def test_reasons_name_rows_by_their_place_in_the_users_pool(choose: Choose, tiny_pool: Pool):
    chosen = choose("k-center", 5, chosen=tiny_pool.take([0, 1, 2]), view="lexical")
    near = choose("k-center", 5, view="lexical", max_tokens=56)
    for found in (chosen, near):
        named = [re.search(r"from row (\d+), the nearest", reason) for reason in found.reasons]
        earlier = [set(found.picks[:n].tolist()) for n in range(len(found))]
        assert any(named)
        assert all(int(m[1]) in e for m, e in zip(named, earlier, strict=True) if m)


def test_ltd_goes_on_behind_the_region_and_says_so(choose: Choose, tiny_pool: Pool):
    target = tiny_pool.take([1])
    chosen = choose("ltd", 12, target=target, clusters=4, view="lexical")
    outside = ["outside the region" in reason for reason in chosen.reasons]
    assert outside == sorted(outside)
    assert 0 < sum(outside) < 12
    assert 1 in chosen.picks[: outside.index(True)]
    (note,) = [note for note in chosen.notes if "larger than the region" in note]
    assert f"the target, {outside.index(True)} rows in" in note
    assert not choose("ltd", 1, target=target, clusters=4, view="lexical").notes
    held = chosen.tokens_N[chosen.picks[: outside.index(True)]].sum()  # all of the region
    just = choose("ltd", f"{held}tok", target=target, clusters=4, view="lexical")
    assert len(just) == outside.index(True)
    assert not [note for note in just.notes if "larger than the region" in note]


def test_ltd_asks_for_a_target_and_a_share(choose: Choose, tiny_pool: Pool):
    with pytest.raises(OptionError, match=r"^ltd needs rows of the task in view: --target FILE"):
        choose("ltd", 2)
    with pytest.raises(OptionError, match="clusters=0; at least 1 is needed"):
        choose("ltd", 2, target=tiny_pool, clusters=0)
    with pytest.raises(OptionError, match=r"region=1\.5: give a share"):
        choose("ltd", 2, target=tiny_pool, region=1.5)


def test_target_rows_that_are_too_long_are_noted_and_not_looked_at(choose: Choose, tiny_pool: Pool):
    chosen = choose("ltd", 2, target=tiny_pool.take([1, 10]), clusters=2, max_tokens=60)
    note = "1 of 2 rows of target cannot be measured; the first, "
    assert any(said.startswith(note) and "tiny.jsonl:11: too long" in said for said in chosen.notes)
    with pytest.raises(InputError, match="1 of 1 rows of target cannot be measured"):
        choose("ltd", 2, target=tiny_pool.take([10]), max_tokens=60)


def test_rows_of_the_evaluation_are_left_out_with_where_they_stand(
    choose: Choose, tiny_pool: Pool, tmp_path: Path
):
    chosen = choose("random", 10, evaluation=tiny_pool.take([1]))
    assert set(chosen.left_out) == {1, 4}
    assert "in the evaluation rows: exact match with" in chosen.left_out[4]
    assert chosen.left_out[4].endswith("tiny.jsonl:2: name a colour")
    made = manifest_of(chosen, tmp_path / "run")
    assert made["counts"]["left_out"] == {"in the evaluation rows": 2}
    assert made["evaluation"]["kept"] == 1


def test_a_function_and_an_instance_are_methods(choose: Choose, tmp_path: Path):
    assert choose(first_rows, 3).picks.tolist() == [0, 1, 2]
    assert choose(first_rows, 3).method == {"name": "test_select:first_rows"}
    from modicum.methods.k_center import KCenter

    chosen = choose(KCenter(Lexical(64)), 3)
    assert chosen.method["view"]["dimensions"] == 64


def test_a_method_that_offers_a_row_twice_is_refused(choose: Choose):
    with pytest.raises(BudgetError, match="picked row 0 twice"):
        choose(same_row_twice, 2)


def test_a_selection_is_taken_from_its_own_pool_only(choose: Choose, tiny_pool: Pool):
    chosen = choose("random", 4)
    assert tiny_pool.take(chosen).ids == [tiny_pool.ids[i] for i in sorted(chosen.picks)]
    with pytest.raises(AlignmentError, match="take from the pool it was made from"):
        tiny_pool.take([0, 1]).take(chosen)


def test_the_manifest_says_what_made_the_subset(choose: Choose, tiny_file: Path, tmp_path: Path):
    made = manifest_of(choose("k-center", "25%", seed=5), tmp_path / "run")
    assert (made["budget"], made["seed"]) == ("25%", 5)
    assert made["method"]["name"] == "k-center"
    assert made["method"]["view"]["pooling"] == "weighted"
    assert made["inputs"][0]["path"] == str(tiny_file)
    assert len(made["inputs"][0]["blake2b"]) == 32
    assert made["counts"]["rows"] == made["counts"]["kept"] == 12
    assert made["counts"]["picked"] == 3
    assert made["model"]["fingerprint"]
    assert made["ledger"]["forward_tokens"] > 0
    assert made["versions"]["torch"]


def test_a_finished_folder_and_a_foreign_one_are_not_written_to(choose: Choose, tmp_path: Path):
    folder = choose("random", 2).write(tmp_path / "run")
    before = (folder / "manifest.json").read_bytes()
    with pytest.raises(RunError, match="holds a finished run"):
        choose("random", 3).write(folder)
    assert (folder / "manifest.json").read_bytes() == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    with pytest.raises(RunError, match="is not empty and is no run folder"):
        choose("random", 2).write(tmp_path / "mine")


def test_a_selection_of_rows_without_a_file_has_no_subset(choose: Choose, tmp_path: Path):
    turns = (mo.Turn("user", "Say a.", False), mo.Turn("assistant", "a", True))
    from modicum.pool import RawRow

    pool = Pool.build(RawRow(None, "s", "Say a.", turns, 0, i + 1, 0, 0) for i in range(3))
    made = manifest_of(choose("random", 2, pool=pool), tmp_path / "run")
    assert (made["subset"], made["counts"]["picked"]) == ([], 2)


def test_scores_are_columns_with_a_reason_where_there_is_none(
    tiny_pool: Pool, tiny_model: Model, tmp_path: Path
):
    store = Store(tmp_path / "measured")
    scored = score(tiny_pool, ["ifd", "length"], tiny_model, max_tokens=50, store=store)
    assert {i for i, v in enumerate(scored.scores["ifd"]) if np.isnan(v)} == set(LONG)
    rows = pq.read_table(write_scores(scored, tmp_path / "run") / "rows.parquet")
    names = ["id", "source", "position", "tokens", "ifd", "length", "reason"]
    assert rows.column_names == names
    assert rows["ifd"].null_count == len(LONG)
    assert rows["reason"].to_pylist()[10] == "too long: 89 tokens, the limit is 50"


def test_scores_that_need_one_pass_share_it(tiny_pool: Pool, tiny_model: Model, tmp_path: Path):
    alone = score(tiny_pool, "ifd", tiny_model, store=Store(tmp_path / "a"))
    both = score(tiny_pool, ["loss", "ifd", "ifd-ppl"], tiny_model, store=Store(tmp_path / "b"))
    assert both.meter.ledger.forward_passes == alone.meter.ledger.forward_passes
    assert np.array_equal(both.scores["ifd"], alone.scores["ifd"])


class Characters:
    """A score of the user's own, in whole numbers."""

    name = "characters"
    wants = ()

    def __call__(self, pool: Pool, meter: Any) -> np.ndarray:
        return np.array([len(example.turns[-1].content) for example in pool])


def test_a_score_in_whole_numbers_is_spread_too(tiny_pool: Pool, tiny_model: Model, tmp_path: Path):
    own = f"{__name__}:Characters"
    found_N = score(tiny_pool, own, tiny_model, max_tokens=50).scores["characters"]
    assert found_N[0] == len("It is four.")
    assert set(np.flatnonzero(np.isnan(found_N))) == set(LONG)


def test_a_score_may_be_an_object(tiny_pool: Pool, tiny_model: Model):
    own = score(tiny_pool, ["length", Characters()], tiny_model)
    assert set(own.scores) == {"length", "characters"}


def test_no_score_and_an_unknown_one_are_refused(tiny_pool: Pool, tiny_model: Model):
    with pytest.raises(OptionError, match="name a score: ask-llm, complexity, "):
        score(tiny_pool, [], tiny_model)
    with pytest.raises(OptionError, match="there is no score 'size': choose ask-llm"):
        score(tiny_pool, "size", tiny_model)


class Third:
    """A score that has no value for the third row."""

    name = "third"
    wants = ()

    def __call__(self, pool, meter):
        return np.where(np.arange(len(pool)) == 2, np.nan, 1.0)


def test_a_method_that_picks_a_row_without_a_value_is_refused(tiny_pool, tiny_model, store):
    def careless(context):
        context.values(Third())
        return range(len(context.pool))

    with pytest.raises(OptionError, match=r"third is nan.* must pass over such rows"):
        select(tiny_pool, careless, 3, tiny_model, store=store)
    assert select(tiny_pool, careless, 2, tiny_model, store=store).left_out.keys() == {2}


def test_a_score_of_the_wrong_length_is_refused(tiny_pool, tiny_model, store):
    class Short(Third):
        def __call__(self, pool, meter):
            return np.zeros(3)

    with pytest.raises(AlignmentError, match=r"shape \(3,\) for a pool of 12 rows"):
        select(tiny_pool, lambda context: context.values(Short()), 2, tiny_model, store=store)
