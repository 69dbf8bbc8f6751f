"""Options from text to values, and members found by name."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pytest

from modicum.errors import OptionError
from modicum.methods.k_center import KCenter
from modicum.methods.kmeans import KMeans
from modicum.methods.longest import Longest
from modicum.methods.random import Random
from modicum.parts import build, describe, find, members, option_names
from modicum.scores.loss import Loss
from modicum.views import View
from modicum.views.hidden import Hidden
from modicum.views.lexical import Lexical


@dataclass(frozen=True)
class Own:
    """A user's method with an option of every kind."""

    needed: int
    share: float = 0.5
    cap: int | None = None
    on: bool = False
    level: Literal[1, 2] = 1
    word: str = "a"
    view: View = field(default_factory=Lexical)

    def __call__(self, context: Any) -> list[int]:
        return [0]


class PlainView:
    name = "plain"

    def __call__(self, pool: Any, meter: Any, *, fitted_on: Any = None) -> np.ndarray:
        return np.zeros((len(pool), 1), np.float32)


def pick_first(context: Any) -> list[int]:
    return [0]


@pytest.mark.parametrize(
    ("option", "text", "value"),
    [
        ("needed", "7", 7),
        ("share", "1e-3", 0.001),
        ("cap", "none", None),
        ("cap", "12", 12),
        ("on", "True", True),
        ("level", "2", 2),
        ("word", "b=c", "b=c"),
    ],
)
def test_text_is_read_as_the_type_of_the_option(option, text, value):
    found = getattr(build(Own, {"needed": "1", option: text}), option)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("needed", "1.5", "needed=1.5: give a whole number"),
        ("needed", "none", "needed=none: give a whole number"),
        ("cap", "x", "cap=x: give a whole number or none"),
        ("on", "yes", "on=yes: give true or false"),
        ("level", "3", "level=3: give 1 or 2"),
        ("needed", 1.5, "needed=1.5: give a whole number"),
        ("needed", True, "needed=True: give a whole number"),
        ("word", 5, "word=5: give text"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_with_what_does(option, value, said):
    with pytest.raises(OptionError) as refused:
        build(Own, {"needed": 1, option: value})
    assert str(refused.value) == said


def test_an_option_without_a_default_is_asked_for():
    with pytest.raises(
        OptionError, match=r"test_parts:Own needs needed: needed=VALUE, in brackets"
    ):
        build(Own, {})


def test_an_unknown_option_is_refused_with_those_there_are():
    with pytest.raises(OptionError, match=r"longest has no option depth; it has cap"):
        build(Longest, {"depth": "3"})
    with pytest.raises(OptionError, match=r"has no option depth; it has none"):
        build(pick_first, {"depth": "3"})


def test_options_of_a_view_are_understood_beside_those_of_the_method():
    made = build(KMeans, {"clusters": "7", "layer": "1", "pooling": "mean", "score": "loss"})
    assert made == KMeans(Hidden(layer=1, pooling="mean"), 7, Loss())


def test_another_view_brings_its_own_options_and_takes_away_the_first_ones():
    assert build(KCenter, {"view": "lexical", "dimensions": "64"}).view == Lexical(64)
    with pytest.raises(OptionError, match=r"k-center has no option layer; it has view, dim"):
        build(KCenter, {"view": "lexical", "layer": "1"})


def test_a_view_of_the_users_own_is_taken_by_its_address_or_as_it_is():
    assert isinstance(build(KCenter, {"view": "test_parts:PlainView"}).view, PlainView)
    view = PlainView()
    assert build(KCenter, {"view": view}).view is view


def test_functions_classes_and_instances_are_methods():
    assert build(find("modicum.methods", "test_parts:pick_first"), {}) is pick_first
    assert isinstance(build(PlainView, {}), PlainView)
    made = Random(by="source")
    assert build(made, {}) is made


@pytest.mark.parametrize("name", ["test_parts:Nothing", "no_such_module:M", ":", "a:", ".a:M"])
def test_an_address_that_leads_nowhere_is_an_option_error(name):
    with pytest.raises(OptionError, match=r"cannot be imported|names no object"):
        find("modicum.methods", name)


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(OptionError, match=r"there is no view 'dense': choose encoder, hidden, lex"):
        find("modicum.views", "dense")


def test_a_description_names_every_resolved_option_and_is_json():
    described = describe(build(Own, {"needed": "1", "view": "test_parts:PlainView"}))
    assert described["name"] == "test_parts:Own"
    assert described["view"] == {"name": "plain"}
    assert json.loads(json.dumps(described)) == described
    assert describe(pick_first) == {"name": "test_parts:pick_first"}


def test_option_names_follow_the_view_that_is_set():
    names = ["view", "dimensions", "over", "normalise", "shards"]
    assert option_names(KCenter(Lexical())) == names


def test_a_room_holds_what_its_own_modules_define():
    assert members("modicum.views") == {k.name: k for k in members("modicum.views").values()}
    assert {"hidden", "encoder", "lexical"} <= set(members("modicum.views"))
