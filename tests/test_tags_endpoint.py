"""Tags from an endpoint: what is asked, kept, counted and refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fake_endpoint import Server, serving
from modicum.errors import InputError, OptionError
from modicum.ledger import Ledger
from modicum.tags import about, tagged
from modicum.tags.endpoint import Endpoint

TEXTS = ["Write a poem.", "Add 2 and 3.", "Name a fruit.", "Sort these words."]
MANY = [f"Count to {n}." for n in range(200)]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with serving(tmp_path / "cache") as running:
        yield running


def endpoint(server: Server, **options: Any) -> Endpoint:
    return Endpoint(server.url, "tiny", **({"timeout": 5.0, "max_retries": 1} | options))


def kept(folder: Path) -> list[Path]:
    return list((folder / "cache" / "tags").iterdir())


def test_every_instruction_is_asked_once_and_costs_are_counted(server: Server) -> None:
    ledger = Ledger()
    tags = endpoint(server)([*TEXTS, "", TEXTS[0]], ledger)
    assert tags == [("Write",), ("Add",), ("Name",), ("Sort",), (), ("Write",)]
    assert sorted(server.asked) == sorted(TEXTS)
    assert (ledger.requests, ledger.request_tokens, ledger.rows_reused) == (4, 40, 0)
    assert list(ledger.seconds) == ["tag"]


def test_a_request_says_what_the_endpoint_needs_to_know(server: Server) -> None:
    endpoint(server, max_tokens=99)(TEXTS[:1], Ledger())
    (body,) = server.bodies
    assert body["path"] == "/v1/chat/completions"
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("tiny", 0, 99)
    assert "JSON list" in body["messages"][0]["content"]
    assert server.headers[0]["authorization"] == "Bearer sk-a-secret"


def test_without_a_key_none_is_sent(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    endpoint(server)(TEXTS[:1], Ledger())
    assert server.headers[0]["authorization"] == "Bearer none"


def test_what_has_been_answered_is_not_asked_again(server: Server) -> None:
    endpoint(server)(TEXTS[:3], Ledger())
    ledger = Ledger()
    assert endpoint(server, at_once=1, timeout=9.0)(TEXTS[::-1], ledger)[0] == ("Sort",)
    assert len(server.asked) == 4 and (ledger.requests, ledger.rows_reused) == (1, 3)


def test_another_model_prompt_or_length_is_asked_anew(server: Server, tmp_path: Path) -> None:
    (tmp_path / "own.txt").write_text("Tags, please.\n<instruction>\n{instruction}\n")
    endpoint(server)(TEXTS[:1], Ledger())
    Endpoint(server.url, "other")(TEXTS[:1], Ledger())
    endpoint(server, prompt=str(tmp_path / "own.txt"))(TEXTS[:1], Ledger())
    endpoint(server, max_tokens=100)(TEXTS[:1], Ledger())
    assert len(server.asked) == 4 and len(kept(tmp_path)) == 4
    assert server.bodies[2]["messages"][0]["content"].startswith("Tags, please.")


def test_the_key_stands_in_no_file_and_in_no_message(server: Server, tmp_path: Path) -> None:
    server.misbehave = lambda text, before: 401 if text == TEXTS[1] else None
    endpoint(server)(TEXTS[:1], Ledger())
    with pytest.raises(OptionError) as refused:
        endpoint(server)(TEXTS[:2], Ledger())
    assert "answered 401: no, Bearer …;" in str(refused.value)
    assert all("secret" not in path.read_text() for path in kept(tmp_path))


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_or_failing_endpoint_is_tried_again(server: Server, status: int) -> None:
    server.misbehave = lambda text, before: status if before < 2 else None
    ledger = Ledger()
    assert endpoint(server, max_retries=2)(TEXTS, ledger)[3] == ("Sort",)
    assert len(server.asked) == 12 == ledger.requests


@pytest.mark.parametrize("status", [401, 403, 404])
def test_wrong_options_end_the_run_at_once_in_one_line(server: Server, status: int) -> None:
    server.misbehave = lambda text, before: status
    with pytest.raises(OptionError) as refused:
        endpoint(server, at_once=1)(MANY, Ledger())
    said = str(refused.value)
    assert server.url in said and "(model tiny)" in said and "\n" not in said
    assert len(server.asked) < 100  # the next may be under way


def test_an_endpoint_that_cannot_be_reached_is_named() -> None:
    with pytest.raises(InputError, match=r"127\.0\.0\.1:9/v1 \(model tiny\) cannot be reached: .*"):
        Endpoint("http://127.0.0.1:9/v1", "tiny", max_retries=0)(TEXTS, Ledger())


def test_an_endpoint_that_does_not_reply_in_time_is_named(server: Server) -> None:
    server.delay = 0.5
    with pytest.raises(InputError, match=r"did not reply in 0\.1 s"):
        endpoint(server, timeout=0.1, max_retries=0)(TEXTS[:1], Ledger())


def test_an_endpoint_that_dies_in_the_middle_loses_nothing_that_arrived(server: Server) -> None:
    server.misbehave = lambda text, before: b"dies" if text == TEXTS[2] else None
    with pytest.raises(InputError, match="the same line goes on from there"):
        endpoint(server, at_once=1)(TEXTS, Ledger())
    server.misbehave = lambda text, before: None
    ledger = Ledger()
    assert endpoint(server)(TEXTS, ledger)[2] == ("Name",)
    assert ledger.rows_reused >= 2 and ledger.rows_reused + ledger.requests == 4


def test_a_reply_that_is_not_tags_is_reported_and_asked_again(server: Server) -> None:
    server.misbehave = lambda text, before: "poem, verse" if text == TEXTS[0] else None
    found = tagged(endpoint(server), TEXTS, Ledger())
    assert found.tags[0] == () and found.untagged == 1
    (unparsed,) = found.unparsed
    assert unparsed == (TEXTS[0], "no JSON list of tags in the reply 'poem, verse'")
    server.misbehave = lambda text, before: None
    again = tagged(endpoint(server), TEXTS, ledger := Ledger())
    assert (again.tags[0], again.unparsed, ledger.requests) == (("Write",), [], 1)


def test_a_reply_that_was_cut_is_not_used(server: Server) -> None:
    server.finish = "length"
    tagger = endpoint(server)
    assert tagger(TEXTS[:1], Ledger()) == [()]
    assert tagger.unparsed(TEXTS[:1]) == {TEXTS[0]: "the reply was cut at max_tokens=512"}


@pytest.mark.parametrize("special", [400, 413, 422, b"{broken", b'{"error": "x"}', b"[]", b""])
def test_a_refused_instruction_does_not_stop_the_others(
    server: Server, special: int | bytes
) -> None:
    server.misbehave = lambda text, before: special if text == TEXTS[1] else None
    ledger = Ledger()
    found = tagged(endpoint(server), TEXTS, ledger)
    assert found.tags == [("Write",), (), ("Name",), ("Sort",)]
    assert [each.instruction for each in found.unparsed] == [TEXTS[1]]
    assert (ledger.requests, ledger.request_tokens) == (4, 30)  # a refusal is an answer too


def test_what_cannot_be_used_is_asked_once_by_one_tagger_and_again_by_the_next(
    server: Server,
) -> None:
    first = {TEXTS[0]: "poem, verse", TEXTS[1]: 400}
    server.misbehave = lambda text, before: None if before else first.get(text)
    tagger = endpoint(server)
    once = tagger(TEXTS, Ledger())
    assert once == [(), (), ("Name",), ("Sort",)] == tagger(TEXTS, again := Ledger())
    assert (again.requests, again.rows_reused, len(server.asked)) == (0, 4, 4)
    assert set(tagger.unparsed(TEXTS)) == set(TEXTS[:2])
    assert endpoint(server)(TEXTS, Ledger())[:2] == [("Write",), ("Add",)]
    assert tagger(TEXTS, Ledger()) == once


@pytest.mark.parametrize("at_once", [1, 8])
def test_a_few_refusals_at_the_start_do_not_stop_the_run(server: Server, at_once: int) -> None:
    server.misbehave = lambda text, before: 400 if text in TEXTS[:2] else None
    tags = endpoint(server, at_once=at_once)(TEXTS, Ledger())
    assert tags == [(), (), ("Name",), ("Sort",)]


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_refusals_of_all_or_of_the_first_three_stop_the_run(server: Server, count: int) -> None:
    server.misbehave = lambda text, before: 400
    with pytest.raises(OptionError, match="refused the instruction"):
        endpoint(server, at_once=1)(TEXTS[:count], ledger := Ledger())
    assert min(3, count) <= ledger.requests <= count


def newer(server: Server, text: str, refused: tuple[str, ...]) -> dict[str, str] | None:
    """What a model that does not take these parameters says to its last request."""
    for name in refused:
        if name in server.bodies[-1]:
            return {"message": f"Unsupported parameter: '{name}' is not supported.", "param": name}
    return None


def test_a_parameter_that_the_model_does_not_take_is_left_out_from_then_on(
    server: Server,
) -> None:
    server.misbehave = lambda text, before: newer(server, text, ("max_tokens", "temperature"))
    tagger = endpoint(server, at_once=1, max_tokens=99)
    assert tagger(TEXTS, ledger := Ledger()) == [("Write",), ("Add",), ("Name",), ("Sort",)]
    assert server.asked == [TEXTS[0], *[TEXTS[0]] * 2, *TEXTS[1:]] and ledger.requests == 6
    for body in server.bodies[2:]:
        assert body["max_completion_tokens"] == 99
        assert "max_tokens" not in body and "temperature" not in body


def test_an_instruction_that_is_too_long_changes_nothing_for_the_others(server: Server) -> None:
    long = {"message": "max_tokens is too large: 512. The context length is 600."}
    server.misbehave = lambda text, before: long if text == TEXTS[1] else None
    assert endpoint(server, at_once=1)(TEXTS, Ledger())[1] == ()
    assert server.asked.count(TEXTS[1]) == 2
    assert all(body["max_tokens"] == 512 for body in server.bodies[-2:])


@pytest.mark.parametrize("stray", ["sk-a-secret\n", " sk-a-secret\r\n"])
def test_white_space_around_the_key_is_no_part_of_it(
    server: Server, monkeypatch: pytest.MonkeyPatch, stray: str
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", stray)
    endpoint(server)(TEXTS[:1], Ledger())
    assert server.headers[0]["authorization"] == "Bearer sk-a-secret"
    server.misbehave = lambda text, before: 401
    with pytest.raises(OptionError, match="answered 401: no, Bearer …;"):
        endpoint(server)(TEXTS[1:], Ledger())


@pytest.mark.parametrize("key", ["sk-secret\n-two", "sk-secret two", "sk-sécret", "sk-\x07secret"])
def test_what_can_be_no_key_is_refused_unseen(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(OptionError, match="OPENAI_API_KEY holds") as refused:
        Endpoint("http://localhost/v1", "tiny")
    assert "sk-" not in str(refused.value) and "cret" not in str(refused.value)


def test_half_a_surrogate_pair_can_be_written_to_a_manifest(server: Server) -> None:
    broken = {TEXTS[0]: r'["\ud800poem", "\udfffpoem"]', TEXTS[1]: {"message": "no \ud83d"}}
    server.misbehave = lambda text, before: broken.get(text)
    found = tagged(endpoint(server), TEXTS, Ledger())
    assert found.tags[0] == ("\ufffdpoem",)
    assert found.unparsed[0].why == "refused the instruction: no \ufffd"


def test_an_edited_prompt_is_another_tagger_and_the_same_elsewhere_is_not(
    server: Server, tmp_path: Path
) -> None:
    own, elsewhere = tmp_path / "own.txt", tmp_path / "elsewhere.txt"
    for path in (own, elsewhere):
        path.write_text("Tags of {instruction}, please.")
    first = about(endpoint(server, prompt=str(own)))
    assert first == about(endpoint(server, prompt=str(elsewhere)))
    assert (first["tagger"], first["options"]["model"]) == ("endpoint", "tiny")
    own.write_text("Tags for {instruction}, please.")
    assert first != about(endpoint(server, prompt=str(own)))
    assert "secret" not in json.dumps(first)


def test_an_endpoint_that_refuses_everything_is_not_asked_for_long(server: Server) -> None:
    server.misbehave = lambda text, before: 400
    with pytest.raises(OptionError, match=r"refused the instruction: no, Bearer …$"):
        endpoint(server, at_once=2)(MANY, Ledger())
    assert len(server.asked) < 100


def test_replies_that_earlier_versions_kept_are_found(server: Server, tmp_path: Path) -> None:
    (tmp_path / "own.txt").write_text("Tags of {instruction}, please.")
    (tmp_path / "cache" / "tags").mkdir(parents=True)
    reply = {
        "key": "950d8c96b3af582d659debbaa86e0cc2",
        "text": r'["poetry"]',
        "tokens": 12,
        "fault": "",
    }
    path = tmp_path / "cache" / "tags" / "d74b3e919f347088a0741cf6c5590425.jsonl"
    path.write_text(json.dumps(reply) + "\n")
    tagger = Endpoint("http://127.0.0.1:9/v1/", "tiny", str(tmp_path / "own.txt"))
    assert tagger(["Write a poem."], ledger := Ledger()) == [("poetry",)]
    assert (ledger.requests, ledger.rows_reused) == (0, 1)


def test_a_server_that_explains_itself_in_detail_is_quoted(server: Server) -> None:
    server.misbehave = lambda text, before: b'{"detail": "pinned to another model"}'
    server.status = 400
    with pytest.raises(OptionError, match=r"refused the instruction: pinned to another model$"):
        endpoint(server)(TEXTS, Ledger())


def test_a_half_written_last_line_is_passed_over(server: Server, tmp_path: Path) -> None:
    endpoint(server, at_once=1)(TEXTS, Ledger())
    (path,) = kept(tmp_path)
    path.write_bytes(path.read_bytes()[:-9])
    assert endpoint(server)(TEXTS, ledger := Ledger())[3] == ("Sort",)
    assert (ledger.requests, ledger.rows_reused) == (1, 3)
    assert endpoint(server)(TEXTS, ledger := Ledger())[3] == ("Sort",)
    assert ledger.requests == 0


def test_ctrl_c_ends_at_once_and_keeps_what_has_arrived(server: Server, tmp_path: Path) -> None:
    release = threading.Event()

    def stuck(text: str, before: int) -> None:
        if text in TEXTS[2:] and not release.is_set():
            release.wait(30)

    server.misbehave = stuck
    code = (
        "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"  # if ignored
        "from modicum.tags.endpoint import Endpoint\nfrom modicum.ledger import Ledger\n"
        f"Endpoint({server.url!r}, 'tiny', timeout=30.0)({TEXTS!r}, Ledger())"
    )
    with subprocess.Popen([sys.executable, "-c", code], env=os.environ, stderr=-1) as running:
        folder = tmp_path / "cache" / "tags"
        while not (folder.exists() and kept(tmp_path)[0].read_text().count("\n") == 2):
            assert running.poll() is None
            time.sleep(0.02)
        running.send_signal(signal.SIGINT)
        _, told = running.communicate(timeout=20)
    assert b"KeyboardInterrupt" in told
    release.set()
    assert endpoint(server, timeout=30.0)(TEXTS, ledger := Ledger())[3] == ("Sort",)
    assert (ledger.requests, ledger.rows_reused) == (2, 2)


def test_several_requests_are_under_way_at_once(server: Server) -> None:
    together = threading.Barrier(4, timeout=5)

    def meet(text: str, before: int) -> None:
        together.wait()  # breaks, and the server with it, unless all four meet

    server.misbehave = meet
    assert len(set(endpoint(server, at_once=4)(TEXTS, Ledger()))) == 4


def test_tags_do_not_depend_on_the_order_of_instructions(server: Server) -> None:
    forth = endpoint(server)(TEXTS, Ledger())
    assert Endpoint(server.url, "other")(TEXTS[::-1], Ledger()) == forth[::-1]


@pytest.mark.parametrize(
    ("url", "options", "said"),
    [
        ("localhost:8000", {}, "is no address"),
        ("ftp://host/v1", {}, "is no address"),
        ("http://me:secret@host/v1", {}, "OPENAI_API_KEY"),
        ("http://host/v1?key=secret", {}, "OPENAI_API_KEY"),
        ("http://host/v1", {"model": " "}, "--tagger-model NAME"),
        ("http://host/v1", {"at_once": 0}, "at_once=0"),
        ("http://host/v1", {"max_retries": -1}, "max_retries=-1"),
        ("http://host/v1", {"timeout": 0.0}, "timeout=0.0"),
        ("http://host/v1", {"timeout": float("nan")}, "timeout=nan"),
    ],
)
def test_options_that_cannot_be_are_refused(url: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(OptionError, match=said) as refused:
        Endpoint(url, **({"model": "tiny"} | options))
    assert "secret" not in str(refused.value)


def test_a_prompt_of_ones_own_must_exist_and_have_a_place(server: Server, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"no\.txt cannot be read"):
        endpoint(server, prompt=str(tmp_path / "no.txt"))(TEXTS, Ledger())
    (tmp_path / "own.txt").write_text("Tags, please.")
    with pytest.raises(OptionError, match=r"does not say where \{instruction\} stands"):
        endpoint(server, prompt=str(tmp_path / "own.txt"))(TEXTS, Ledger())


def test_without_the_client_it_says_what_to_install(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(OptionError, match=r"pip install 'modicum\[replay\]'"):
        endpoint(server)(TEXTS, Ledger())
