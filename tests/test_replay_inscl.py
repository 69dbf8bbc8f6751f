"""InsCL on instructions whose directions, tags and counts are known, against paper and pencil."""

from __future__ import annotations

from collections.abc import Callable
from math import cos, log, radians, sin
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modicum.errors import InputError
from modicum.ledger import Ledger
from modicum.meter import Meter
from modicum.mixing import own_tags
from modicum.pool import Pool, RawRow, Turn
from modicum.replay import Plan, Stage, Task
from modicum.replay.inscl import InsCL
from modicum.tags.column import Column


class Asked(NamedTuple):
    """An instruction, in which direction it points, its rows and its tags."""

    text: str
    degrees: int
    rows: int = 1
    tags: tuple[str, ...] = ()


class Compass:
    """A view of the user's own: an instruction ends in the degrees of its direction."""

    name = "compass"
    wants = ()
    fitted = False

    def __call__(self, pool: Pool, meter: Meter, *, fitted_on: Pool | None = None) -> np.ndarray:
        angles = [
            radians(float(text.split()[-1])) for text in pool.table["instruction"].to_pylist()
        ]
        return np.array([[cos(a), sin(a)] for a in angles], dtype=np.float32)


class Nowhere(Compass):
    """Looks at no instruction."""

    def __call__(self, pool: Pool, meter: Meter, *, fitted_on: Pool | None = None) -> np.ndarray:
        return np.full((len(pool), 2), np.nan, dtype=np.float32)


class HalfBlind(Compass):
    """Looks at no instruction that says nowhere."""

    def __call__(self, pool: Pool, meter: Meter, *, fitted_on: Pool | None = None) -> np.ndarray:
        vectors_ND = super().__call__(pool, meter)
        texts = pool.table["instruction"].to_pylist()
        vectors_ND[[text.startswith("Nowhere") for text in texts]] = np.nan
        return vectors_ND


def task(name: str, *asked: Asked) -> Task:
    """A task whose rows say their instruction and a number."""
    rows = []
    for one in asked:
        text = f"{one.text} at {one.degrees}"
        for n in range(one.rows):
            turns = (Turn("user", f"{text}: {n}", False), Turn("assistant", "Done.", True))
            rows.append(RawRow(None, name, text, turns, 0, n, 0, 0, name, one.tags or None))
    return Task(name, Pool.build(rows))


Asks = Callable[..., Stage]


@pytest.fixture
def stage(meter: Meter) -> Asks:
    def made(rows: int, new: Task, *old: Task, **more: Any) -> Stage:
        tagger = own_tags(*(each.pool for each in (*old, new)))
        given = {"tagger": tagger, **more}
        return Stage(old, new, rows, meter, meter, **given)

    return made


def inscl(**options: Any) -> InsCL:
    return InsCL(view=Compass(), **options)


def quotas(plan: Plan) -> list[int]:
    return plan.quota_J.tolist()


# How much

NEW = task("new", Asked("Go", 0, 2))
NEAR = task("near", Asked("Turn", 60, 9))  # 1 − cos 60° = 1/2
ACROSS = task("across", Asked("Turn", 90, 9))  # 1
AWAY = task("away", Asked("Turn", 180, 9))  # 2


def test_three_tasks_share_in_proportion_to_their_distance_from_the_new_one(stage: Asks) -> None:
    asked = stage(7, NEW, NEAR, ACROSS, AWAY)
    plan = inscl(which="random")(asked)
    assert plan.weight_J == pytest.approx([0.5, 1.0, 2.0], abs=1e-6)
    assert quotas(plan) == [1, 2, 4] == [len(steps) for steps in plan.steps]


def test_the_distances_are_told_with_how_they_were_had(stage: Asks) -> None:
    asked = stage(7, NEW, NEAR, ACROSS, AWAY)
    inscl(which="random")(asked)
    told = asked.facts["distances"]
    assert told["tasks"] == ["near", "across", "away", "new"]
    assert (told["how"], told["support"], told["draws"]) == ("exact", 1, 1)
    matrix = np.array(told["matrix"])
    assert matrix[:, 3] == pytest.approx([0.5, 1.0, 2.0, 0.0], abs=1e-6)
    assert matrix[0, 1] == pytest.approx(1 - cos(radians(30)), abs=1e-6)
    assert (matrix == matrix.T).all()


def test_a_full_task_leaves_its_share_to_the_others_in_proportion(stage: Asks) -> None:
    few = task("away", Asked("Turn", 180, 1))
    assert quotas(inscl(which="random")(stage(7, NEW, NEAR, ACROSS, few))) == [2, 4, 1]


def test_a_near_identical_task_gets_nothing_and_with_a_floor_something(stage: Asks) -> None:
    same = task("same", Asked("Turn", 0, 9))
    assert quotas(inscl(which="random")(stage(4, NEW, same, ACROSS))) == [0, 4]
    assert quotas(inscl(which="random", floor=1)(stage(4, NEW, same, ACROSS))) == [1, 3]


def test_tasks_that_are_no_distance_away_share_by_size_and_it_is_told(stage: Asks) -> None:
    asked = stage(4, NEW, task("many", Asked("Turn", 0, 9)), task("few", Asked("Walk", 0, 3)))
    assert quotas(inscl(which="random")(asked)) == [3, 1]
    assert asked.notes == ["no old task is any distance from the new one: shared by size"]


def test_a_stage_of_a_stream_tells_the_distances_to_the_new_task_alone(stage: Asks) -> None:
    asked = stage(7, NEW, NEAR, ACROSS, AWAY, number=3)
    plan = inscl(which="random")(asked)
    assert quotas(plan) == [1, 2, 4]
    to_new = [pytest.approx(x, abs=1e-6) for x in (0.5, 1.0, 2.0)]
    assert asked.facts["distances"]["matrix"] == [
        [0, None, None, to_new[0]],
        [None, 0, None, to_new[1]],
        [None, None, 0, to_new[2]],
        [*to_new, 0],
    ]


def test_instructions_without_a_vector_are_told(stage: Asks) -> None:
    lost = task("lost", Asked("Turn", 90, 3), Asked("Nowhere", 180), Asked("Nowhere", 0))
    asked = stage(4, NEW, lost, NEAR)
    plan = InsCL(view=HalfBlind(), which="random")(asked)
    assert plan.weight_J == pytest.approx([1.0, 0.5], abs=1e-6)  # of what points across alone
    assert asked.notes == ["2 instructions of lost have no finite vector: not in its distance"]


def test_distances_that_differ_by_no_more_than_their_error_are_doubted(stage: Asks) -> None:
    wide = [Asked("Turn", degrees, 3) for degrees in (30, 60, 90, 120)]
    for far, doubted in ((task("two", *wide), True), (AWAY, False)):
        asked = stage(4, NEW, task("one", *wide), far)
        inscl(which="random")(asked)
        told = [note for note in asked.notes if "the quotas are partly chance" in note]
        assert len(told) == doubted
        assert all("worked out from 1 instructions at a time" in note for note in told)


def test_exact_distances_are_not_doubted(stage: Asks) -> None:
    asked = stage(7, NEW, NEAR, NEAR._replace(name="as near"))
    inscl(which="random")(asked)
    assert asked.notes == []


def test_rows_that_hardly_share_an_instruction_are_told(stage: Asks) -> None:
    apart = [Asked(f"Turn {n} times", 60) for n in range(4)]
    for old, noted in ((task("apart", *apart), True), (NEAR, False)):
        asked = stage(2, NEW, old)
        inscl(which="random")(asked)
        assert any("are inputs among them?" in note for note in asked.notes) == noted
        assert asked.facts["instructions"] == {old.name: 4 if noted else 1, "new": 1}


def test_masses_count_rows_or_take_instructions_as_equal(stage: Asks) -> None:
    new = task("new", Asked("Go", 0), Asked("Walk", 0))
    old = task("old", Asked("Turn", 0, 3), Asked("Turn", 90, 1))
    counted, equal = (inscl(masses=m)(stage(1, new, old)) for m in ("frequency", "uniform"))
    # All of what points across has to turn by a right angle.
    assert counted.weight_J == pytest.approx([1 / 4], abs=1e-6)
    assert equal.weight_J == pytest.approx([1 / 2], abs=1e-6)


def test_tasks_are_compared_at_as_many_instructions_as_the_smallest_has(stage: Asks) -> None:
    wide = task("wide", *(Asked("Turn", degrees) for degrees in (60, 70, 80, 90)))
    asked = stage(2, NEW, wide, NEAR)
    plan = inscl(which="random")(asked)
    told = asked.facts["distances"]
    assert (told["support"], told["draws"]) == (1, 1000) and told["how"].startswith("mean")
    assert 0.5 <= plan.weight_J[0] <= 1 and told["errors"][0][2] > 0
    assert plan.weight_J[1] == pytest.approx(0.5, abs=1e-6) and told["errors"][1][2] == 0


def test_how_much_takes_the_distance_away(stage: Asks) -> None:
    few = task("few", Asked("Turn", 60, 3))
    for how_much, weights, shares in (("size", [3, 9], [2, 6]), ("uniform", [1, 1], [3, 5])):
        asked = stage(8, NEW, few, AWAY)
        plan = inscl(how_much=how_much, which="random")(asked)
        assert plan.weight_J.tolist() == weights and quotas(plan) == shares
        assert "distances" not in asked.facts


def test_a_task_whose_instructions_cannot_be_looked_at_is_refused(stage: Asks) -> None:
    with pytest.raises(InputError, match=r"gives no instruction of task .* a finite vector"):
        InsCL(view=Nowhere())(stage(2, NEW, NEAR))


# Which

# Of 4 instructions writing has 2, poetry 1, arithmetic 2, and the new task's own 1.
POEMS = Asked("Write a poem", 90, 5, ("writing", "poetry"))
LETTERS = Asked("Write a letter", 90, 5, ("writing",))
SUMS = Asked("Add", 90, 5, ("arithmetic",))
TALES = task("tales", POEMS, LETTERS)
COUNTS = task("counts", SUMS)
LATEST = task("latest", Asked("Count the birds", 0, 2, ("arithmetic", "birds")))
INFO = {"poem": log(4 / 2) + log(4 / 1), "letter": log(4 / 2)}


def asked_of(stage: Stage, plan: Plan, old: int = 0) -> list[str]:
    texts = stage.old[old].pool.table["instruction"].to_pylist()
    return [texts[step.pick].rpartition(" at ")[0] for step in plan.steps[old]]


def test_fewer_places_than_instructions_go_to_the_most_informative(stage: Asks) -> None:
    asked = stage(1, LATEST, TALES)
    assert asked_of(asked, inscl()(asked)) == ["Write a poem"]


def test_insinfo_counts_the_instructions_of_all_tasks_and_the_new_one(stage: Asks) -> None:
    plan = inscl(how_much="uniform")(stage(3, LATEST, TALES, COUNTS))
    assert [step.gain for step in plan.steps[0]] == pytest.approx([INFO["poem"], INFO["letter"]])
    # Also the new task has arithmetic: ln 4/2, which without it would be ln 3.
    assert [step.gain for step in plan.steps[1]] == pytest.approx([log(4 / 2)])


def test_enough_places_are_at_least_one_each_and_else_in_proportion(stage: Asks) -> None:
    # ln 3/1 + ln 3/2 and ln 3/2 of 3 instructions: 78 and 22 of a hundred, of 5 rows 3.9 and 1.1.
    new = task("latest", Asked("Count", 0, 1, ("birds",)))
    old = task("tales", POEMS, Asked("Write a letter", 90, 9, ("writing",)))
    for rows, poems, letters in ((2, 1, 1), (5, 4, 1), (9, 5, 4)):
        asked = stage(rows, new, old)
        expected = ["Write a poem"] * poems + ["Write a letter"] * letters
        assert asked_of(asked, inscl()(asked)) == expected


def test_a_reason_names_the_insinfo_the_tags_and_the_draw(stage: Asks) -> None:
    plan = inscl()(stage(1, LATEST, TALES))
    reason = plan.steps[0][0].reason
    assert reason.startswith("InsInfo 1.504 ")  # of 3: ln 3/2 + ln 3/1
    assert "tags writing, poetry" in reason and "5 rows at random" in reason


def test_which_takes_insinfo_away_and_leaves_the_distance(stage: Asks) -> None:
    asked = stage(7, LATEST, TALES, COUNTS)
    plan, full = inscl(which="random")(asked), inscl()(stage(7, LATEST, TALES, COUNTS))
    assert quotas(plan) == quotas(full) and plan.weight_J.tolist() == full.weight_J.tolist()
    assert {step.reason for steps in plan.steps for step in steps} == {"drawn at random"}
    assert "tags" not in asked.facts and "distances" in asked.facts


def test_tags_of_all_tasks_are_merged_together(stage: Asks) -> None:
    new = task("new", Asked("Recite", 0, 1, ("Poems",)))
    old = task("old", Asked("Rhyme", 90, 1, ("poem",)), Asked("Add", 90, 1, ("sum",)))
    asked = stage(2, new, old)
    plan = inscl()(asked)
    # The old poem is no rarer than two of three: ln 3/2, and the sum ln 3.
    assert [step.gain for step in plan.steps[0]] == pytest.approx([log(3), log(3 / 2)])
    told = asked.facts["tags"]
    assert told["tagger"] == "column" and (told["given"], told["merged"]) == (3, 2)
    assert told["merged_used_once"] == 0.5 and told["per_instruction"] == 1.0


def test_an_instruction_that_tasks_share_counts_once(stage: Asks) -> None:
    shared = Asked("Rhyme", 90, 2, ("poem",))
    new = task("new", shared, Asked("Add", 0, 1, ("sum",)))
    plan = inscl()(stage(1, new, task("old", shared)))
    assert plan.steps[0][0].gain == pytest.approx(log(2 / 1))


def test_instructions_of_no_information_share_equally(stage: Asks) -> None:
    every = [Asked(text, 90, 4, ("task",)) for text in ("Add", "Count")]
    asked = stage(4, task("new", Asked("Go", 0, 1, ("task",))), task("old", *every))
    plan = inscl()(asked)
    assert asked_of(asked, plan) == ["Add", "Add", "Count", "Count"]
    assert {step.gain for step in plan.steps[0]} == {0.0}


def test_no_tags_are_refused_with_the_ways_to_have_some(stage: Asks) -> None:
    with pytest.raises(InputError, match=r"2 of 2 instructions got no tag from column.*--tagger"):
        inscl()(stage(2, NEW, NEAR, tagger=Column()))


def test_without_tags_of_their_own_instructions_are_tagged_by_keyphrases(stage: Asks) -> None:
    asked = stage(1, task("new", Asked("Count all birds", 0)), task("old", Asked("Write", 90)))
    assert asked.tagger is None
    inscl()(asked)
    assert asked.facts["tags"]["tagger"] == "keyphrases"


def test_tags_are_not_looked_for_where_nothing_is_replayed(stage: Asks) -> None:
    def refuse(instructions: Any, ledger: Ledger) -> Any:
        raise AssertionError(instructions)

    asked = stage(0, NEW, NEAR, tagger=refuse)
    assert quotas(inscl()(asked)) == [0]


@given(
    rows=st.integers(0, 30),
    sizes=st.lists(
        st.tuples(st.sampled_from([0, 45, 180]), st.integers(1, 6)), min_size=1, max_size=4
    ),
    floor=st.integers(0, 3),
)
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_quotas_add_up_under_any_distances_and_sizes(
    stage: Asks, rows: int, sizes: list[tuple[int, int]], floor: int
) -> None:
    old = [
        task(f"t{n}", Asked(f"Say {n}", degrees, count, ("say", f"n{'abcd'[n]}")))
        for n, (degrees, count) in enumerate(sizes)
    ]
    plan = inscl(floor=floor)(stage(rows, task("new", Asked("Go", 0, 1, ("go",))), *old))
    total = sum(count for _, count in sizes)
    assert sum(quotas(plan)) == sum(map(len, plan.steps)) == min(rows, total)
    if sum(min(floor, count) for _, count in sizes) <= rows:
        least = [min(floor, count) for _, count in sizes]
        assert all(a >= b for a, b in zip(quotas(plan), least, strict=True))
