"""Rounds as durable steps: made once, read again, and charged to the ledger either way."""

from __future__ import annotations

import json
import math

import pytest

from modicum.errors import RunError
from modicum.ledger import Ledger
from modicum.selection.budget import Step
from modicum.training import Rounds, from_json, to_json

STEPS = [Step(4, "random start", math.nan), Step(1, "farthest", 0.1 + 0.2), Step(0, "next", 0.0)]


def rounds(folder, made_from: str = "this selection") -> Rounds:
    return Rounds(folder, made_from, Ledger())


def costly(of: Rounds, fact: str = "made"):
    """Makes a round's facts and charges for them."""

    def make() -> dict:
        of.ledger.backward_tokens += 100
        of.ledger.seconds["train"] = of.ledger.seconds.get("train", 0.0) + 2.5
        return {"fact": fact}

    return make


def test_a_round_is_made_once_and_then_read(tmp_path) -> None:
    first, again = rounds(tmp_path), rounds(tmp_path)
    made = first.once(0, costly(first))
    assert made["fact"] == "made" and made["round"] == 0
    assert again.once(0, pytest.fail) == made
    assert again.once(1, costly(again, "next"))["fact"] == "next"
    assert {path.name for path in tmp_path.iterdir()} == {"0.json", "1.json"}


def test_a_round_costs_the_same_made_or_read(tmp_path) -> None:
    made, read = rounds(tmp_path), rounds(tmp_path)
    made.ledger.backward_tokens = 7  # of something before the rounds
    for number in (0, 1):
        record = made.once(number, costly(made))
        assert record["ledger"]["backward_tokens"] == 100
        assert read.once(number, pytest.fail) == record
    assert (made.ledger.backward_tokens, read.ledger.backward_tokens) == (207, 200)
    assert read.ledger.seconds == made.ledger.seconds == {"train": 5.0}


def test_a_round_that_was_killed_leaves_nothing(tmp_path) -> None:
    def killed() -> dict:
        raise KeyboardInterrupt

    of = rounds(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        of.once(0, killed)
    assert not list(tmp_path.iterdir())
    assert of.once(0, costly(of))["fact"] == "made"


def test_rounds_of_another_selection_are_refused(tmp_path) -> None:
    mine = rounds(tmp_path)
    mine.once(0, costly(mine))
    with pytest.raises(RunError, match=r"0\.json belongs to another command; choose another"):
        rounds(tmp_path, "another").once(0, pytest.fail)


def test_picks_come_back_as_they_were(tmp_path) -> None:
    of = rounds(tmp_path)
    record = of.once(3, lambda: {"picks": to_json(STEPS)})
    assert [pick["gain"] for pick in record["picks"]] == [None, 0.1 + 0.2, 0.0]
    read = json.loads((tmp_path / "3.json").read_text("utf-8"), parse_constant=pytest.fail)
    for facts in (record, read):
        back = from_json(facts)
        assert [(s.pick, s.reason, s.round) for s in back] == [
            (step.pick, step.reason, 3) for step in STEPS
        ]
        assert math.isnan(back[0].gain) and [s.gain for s in back[1:]] == [0.1 + 0.2, 0.0]


@pytest.mark.parametrize("damage", ["cut", "changed", "another's", "empty"])
def test_a_round_that_was_damaged_is_refused_with_the_way_out(tmp_path, damage: str) -> None:
    of, again = rounds(tmp_path / "rounds"), rounds(tmp_path / "rounds")
    of.once(0, costly(of))
    path = tmp_path / "rounds" / "0.json"
    text = path.read_text("utf-8")
    path.write_text(
        {
            "cut": text[: len(text) // 2],
            "changed": text.replace("100", "101"),
            "another's": '{"fact": "made"}',
            "empty": "",
        }[damage]
    )
    with pytest.raises(RunError, match=r"0\.json is not as it was written; remove .*rounds"):
        again.once(0, pytest.fail)
