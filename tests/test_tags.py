"""Tags from phrases, the figures about them, and those that mean the same made one."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fake_endpoint import serving
from modicum.errors import AlignmentError, InputError, OptionError
from modicum.ledger import Ledger
from modicum.parts import members
from modicum.tags import about, tagged, tagging
from modicum.tags.column import Column
from modicum.tags.endpoint import Endpoint
from modicum.tags.keyphrases import Keyphrases
from modicum.tags.merge import merged, normalise
from modicum.tags.replies import tags_in

INSTRUCTIONS = [
    "Write a story about a dragon.",
    "Translate the sentence to French.",
    "",
    "Write a story about a dragon.",
    "Is the sentiment of this review positive?",
]
# With which taggers the contract is tried; a server runs at the address.
TRIED: dict[str, list[Callable[[str], Any]]] = {
    "keyphrases": [
        lambda url: Keyphrases(),
        lambda url: Keyphrases(top=2, words=1),
        lambda url: Keyphrases(language="de"),
    ],
    "column": [
        lambda url: Column.of(
            (text, ("Write", "write", "it")[: len(text)]) for text in INSTRUCTIONS
        )
    ],
    "endpoint": [lambda url: Endpoint(url, "tiny"), lambda url: Endpoint(url, "tiny", at_once=1)],
}


@pytest.fixture(params=[make for tried in TRIED.values() for make in tried])
def tagger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    with serving(tmp_path / "cache") as server:
        # One reply that is of no use, and would be of use if it were asked for again.
        server.misbehave = lambda text, before: 400 if "review" in text and not before else None
        yield request.param(server.url)


class Own:
    """A tagger of the user's own, that gives every instruction the same."""

    name = "own"

    def __init__(self, tags: Any) -> None:
        self.tags = tags

    def __call__(self, texts: Sequence[str], ledger: Ledger) -> list[tuple[str, ...]]:
        return [self.tags for _ in texts]


def along(angles: dict[str, float]) -> Any:
    """An embedding of names in the plane, by angle in degrees."""

    def embed(names: Sequence[str]) -> np.ndarray:
        turned = np.radians([angles[name] for name in names])
        return np.stack([np.cos(turned), np.sin(turned)], axis=1)

    return embed


def test_every_tagger_of_the_room_is_known_here() -> None:
    assert set(TRIED) == set(members("modicum.tags"))


def test_tags_do_not_depend_on_the_other_instructions(tagger: Any) -> None:
    together = tagger(INSTRUCTIONS, Ledger())
    assert tagger(INSTRUCTIONS[::-1], Ledger())[::-1] == together
    assert [tagger([text], Ledger())[0] for text in INSTRUCTIONS] == together


def test_tags_are_the_same_when_they_are_asked_for_again(tagger: Any) -> None:
    assert tagger(INSTRUCTIONS, Ledger()) == tagger(INSTRUCTIONS, Ledger())


def test_what_a_tagger_says_of_itself_is_json_and_the_same_in_the_next_run(tagger: Any) -> None:
    said = about(tagger)
    assert json.loads(json.dumps(said)) == said == about(copy.copy(tagger))
    assert said["tagger"] == tagger.name


def test_no_tag_is_blank_or_stands_twice(tagger: Any) -> None:
    for tags in tagger(["Red red RED cats, Red cats and red Cats", *INSTRUCTIONS], Ledger()):
        assert isinstance(tags, tuple) and all(tag.strip() for tag in tags)
        assert len({tag.casefold() for tag in tags}) == len(tags)


def test_an_instruction_that_says_nothing_has_no_tags(tagger: Any) -> None:
    assert tagger(["", "  \n"], Ledger()) == [(), ()]


def test_the_seconds_of_keyphrases_are_counted() -> None:
    Keyphrases()(["Name a fruit."], ledger := Ledger())
    assert list(ledger.seconds) == ["tag"]


def test_the_tags_of_a_column_are_not_among_its_options() -> None:
    found = tagged(Column.of([("Name a fruit.", ("fruit",))]), ["Name a fruit."], Ledger())
    assert (found.tagger, found.options, found.tags) == ("column", {}, [("fruit",)])


def test_keyphrases_name_what_an_instruction_is_about() -> None:
    tags = Keyphrases()(INSTRUCTIONS, Ledger())
    assert set(tags[0]) == {"Write", "story", "dragon"}
    assert tags[1][0] == "French"


def test_keyphrases_are_no_more_and_no_longer_than_asked() -> None:
    text = "Explain how solar power plants turn sunlight into electric current for large cities."
    for top, words in [(1, 1), (3, 2), (4, 3)]:
        (tags,) = Keyphrases(top=top, words=words)([text], Ledger())
        assert len(tags) <= top and max(len(tag.split()) for tag in tags) <= words


def test_keyphrases_are_the_same_in_another_process() -> None:
    code = (
        "from modicum.tags.keyphrases import Keyphrases\nfrom modicum.ledger import Ledger\n"
        f"print(Keyphrases()({INSTRUCTIONS!r}, Ledger()))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == str(Keyphrases()(INSTRUCTIONS, Ledger()))


def test_a_language_without_stop_words_is_refused() -> None:
    with pytest.raises(OptionError, match="language=xx: YAKE has no stop words"):
        Keyphrases(language="xx")(["Hello"], Ledger())


def test_keyphrases_without_yake_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yake", None)
    with pytest.raises(OptionError, match=r"pip install 'modicum\[replay\]'"):
        Keyphrases()(["Hello"], Ledger())


def test_a_tagging_reports_its_figures() -> None:
    found = tagging("column", {"of": "tags"}, ["a", "b", "c"], [("x", "y"), ("x",), ()])
    assert found.to_json() == {
        "tagger": "column",
        "options": {"of": "tags"},
        "instructions": 3,
        "per_instruction": 1.0,
        "distinct": 2,
        "used_once": 0.5,
        "untagged": 1,
        "unparsed": 0,
        "unparsed_first": [],
    }


def test_a_tagging_knows_its_tagger_and_every_option() -> None:
    found = tagged(Keyphrases(top=1), INSTRUCTIONS, Ledger())
    assert found.tagger == "keyphrases"
    assert found.options == {"top": 1, "words": 2, "language": "en"}
    assert found.untagged == 1 and len(found.tags) == 5


def test_a_tagger_of_ones_own_needs_no_options() -> None:
    found = tagged(Own(("write",)), ["write this", "write that"], Ledger())
    assert (found.options, found.per_instruction, found.used_once) == ({}, 1.0, 0.0)


@pytest.mark.parametrize(
    "tags", [["write"], "write", None, (" ",), ("Write", "write"), ("write", 3), ("\ud800",)]
)
def test_a_tagger_of_ones_own_that_breaks_the_promise_is_named(tags: Any) -> None:
    with pytest.raises(OptionError, match=r"^own gave .* for 'write this'; a tagger gives each"):
        tagged(Own(tags), ["write this"], Ledger())


def test_options_that_json_does_not_have_become_text_without_an_address() -> None:
    @dataclass
    class Odd(Own):
        tags: Any
        where: Path = Path("a/b")
        share: float = float("nan")
        by: Any = about

    said = about(Odd(("write",)))["options"]
    assert said == {"tags": ["write"], "where": "a/b", "share": "nan", "by": "<function about>"}


def test_half_of_the_instructions_may_be_without_tags_but_not_more() -> None:
    assert tagging("t", {}, ["a", "b"], [("x",), ()]).untagged == 1
    with pytest.raises(InputError) as refused:
        tagging("t", {}, ["a", "b" * 99, "c"], [("x",), (), ()], {"b" * 99: "cut"})
    said = str(refused.value)
    assert said.startswith(f"2 of 3 instructions got no tag from t (the first: '{'b' * 60}', cut)")
    assert "--fields tags=COLUMN" in said and "--tagger URL" in said and "language" in said


def test_a_tagging_of_nothing_or_of_other_instructions_is_refused() -> None:
    with pytest.raises(InputError, match="no instructions"):
        tagging("t", {}, [], [])
    with pytest.raises(AlignmentError, match="1 tags for 2 instructions"):
        tagging("t", {}, ["a", "b"], [("x",)])


@pytest.mark.parametrize(
    ("reply", "tags"),
    [
        ('[{"tag": "poem", "explanation": "a poem"}, {"tag": " verse "}]', ("poem", "verse")),
        ('["poem", "verse"]', ("poem", "verse")),
        ('Here it is:\n```json\n[{"tag": "poem"}]\n```\nGood luck [1]!', ("poem",)),
        ('[see below] {as asked} [{"tag": "it\'s [so]"}]', ("it's [so]",)),
        ('<think>["no"] or ["yes"]?</think>["poem"]', ("poem",)),
        ('["Poem", "poem", "POEM"]', ("Poem",)),
        ('["poem"] I repeat: ["poem"]', ("poem",)),
        ("[]", ()),
        ("poem, verse", None),
        ('{"tags": ["poem"]}', None),
        ('["poem"] or rather ["verse"]', None),
        ('[{"tag": "poem", "like": ["verse"]}, {"name": "verse"}]', None),
        ('[{"tag": "poem", "like": ["verse"]}, {"tag": "ver', None),
        ('["poem", 3]', None),
        ('[{"tag": ""}]', None),
        ("[" * 100_000, None),
        ("", None),
    ],
)
def test_a_reply_is_read_strictly(reply: str, tags: tuple[str, ...] | None) -> None:
    assert tags_in(reply) == tags


@given(st.text(alphabet='[]{}",:0a\\ \n'))
def test_any_reply_gives_tags_or_none(reply: str) -> None:
    tags = tags_in(reply)
    assert tags is None or all(tag.strip() for tag in tags)


@pytest.mark.parametrize(
    ("tag", "name"),
    [
        ("Text_Classification", "text classification"),
        ("writing STORIES!", "writing story"),
        ("Übersetzungen", "übersetzungen"),
        ("Перевод текста", "перевод текста"),
        ("हिन्दी अनुवाद", "हिन्दी अनुवाद"),
        ("情感分析", "情感分析"),
        ("python3", "python"),
        (" 42 ", "42"),
    ],
)
def test_a_tag_keeps_letters_of_any_script_and_words_become_lemmas(tag: str, name: str) -> None:
    assert normalise([tag]) == [name]


def test_lemmas_are_those_of_the_language_if_it_is_known() -> None:
    assert normalise(["Übersetzungen"], "de") == ["übersetzung"]
    assert normalise(["stories"], "xx") == ["stories"]


def test_a_cluster_takes_the_name_that_most_instructions_have() -> None:
    angles = {"translation": 0.0, "translate": 5.0, "poem": 90.0}
    tags = [("translation",), ("translate", "poem"), ("translate",)]
    found = merged(tags, along(angles))
    assert found.tags == [("translate",), ("translate", "poem"), ("translate",)]


def test_of_equally_frequent_names_the_alphabetically_first_wins() -> None:
    found = merged([("verse",), ("poem",)], along({"poem": 1.0, "verse": 0.0}))
    assert found.tags == [("poem",), ("poem",)]


def test_the_last_cluster_is_merged_too_and_two_tags_are_enough() -> None:
    angles = {"a": 0.0, "b": 1.0, "y": 90.0, "z": 91.0}
    found = merged([("a",), ("b",), ("y",), ("z",)], along(angles))
    assert found.tags == [("a",), ("a",), ("y",), ("y",)]
    counts = {"given": 4, "normalised": 4, "merged": 2, "clusters": 2}
    assert found.to_json() == counts | {"merged_used_once": 0.0}


def test_under_the_published_min_samples_few_alike_tags_stay_apart() -> None:
    found = merged([("a",), ("b",)], along({"a": 0.0, "b": 1.0}), min_samples=5)
    assert found.tags == [("a",), ("b",)]


def test_a_tag_near_a_core_joins_its_cluster_and_one_alone_stays_itself() -> None:
    # Within 25.8 degrees the cosine distance is below 0.1; only b and c have three neighbours.
    angles = {"a": 0.0, "b": 20.0, "c": 40.0, "d": 60.0, "e": 120.0}
    found = merged([("a",), ("b",), ("c",), ("d",), ("e",)], along(angles), min_samples=3)
    assert found.tags == [("a",), ("a",), ("a",), ("a",), ("e",)]


def test_repeats_that_merging_makes_inside_an_instruction_are_dropped() -> None:
    found = merged([("Stories", "story", "poem")], along({"story": 0.0, "poem": 90.0}))
    assert found.tags == [("story", "poem")]
    assert (found.given, found.normalised) == (3, 2)


def test_names_without_a_usable_vector_stay_themselves() -> None:
    def embed(names: Sequence[str]) -> np.ndarray:
        vectors = np.ones((len(names), 2))
        vectors[names.index("b")] = np.nan
        vectors[names.index("c")] = 0.0
        return vectors

    found = merged([("a",), ("b",), ("c",), ("d",)], embed)
    assert found.tags == [("a",), ("b",), ("c",), ("a",)]


def test_tags_without_letters_are_never_merged() -> None:
    assert merged([("1",), ("2",), ("?",)]).tags == [("1",), ("2",), ("?",)]


def test_without_an_embedding_what_is_spelled_alike_is_merged() -> None:
    found = merged([("text classification",), ("Classification of texts",), ("poem",)])
    assert found.tags == [("classification of text",)] * 2 + [("poem",)]


def test_many_names_are_compared_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    angles = {f"{a}{b}": 30.0 * i for i, (a, b) in enumerate(["ab", "cd", "ef", "gh", "ij"])}
    angles |= {f"{name}x": angle + 1 for name, angle in angles.items()}
    tags = [(name,) for name in angles]
    whole = merged(tags, along(angles))
    monkeypatch.setattr("modicum.tags.merge._BLOCK_NUMBERS", 21)
    assert merged(tags, along(angles)) == whole
    assert whole.merged == 5 and merged(tags).tags == merged(tags[::-1]).tags[::-1]


@given(st.lists(st.lists(st.sampled_from(["Story", "stories", "poem", "poems!", "7"])), max_size=5))
def test_merging_does_not_depend_on_the_order_of_instructions(tags: list[list[str]]) -> None:
    assert merged(tags[::-1]).tags == merged(tags).tags[::-1]


def test_an_embedding_of_other_names_and_an_eps_out_of_range_are_refused() -> None:
    with pytest.raises(AlignmentError, match="2 tags were embedded as"):
        merged([("a", "b")], lambda names: np.ones((3, 2)))
    with pytest.raises(OptionError, match=r"eps=1.5"):
        merged([("a",)], eps=1.5)
