"""Tags from an endpoint: a small server that speaks the protocol, and misbehaves when told to."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from modicum.errors import InputError, OptionError
from modicum.ledger import Ledger
from modicum.tags import tagged
from modicum.tags.endpoint import Endpoint

TEXTS = ["Write a poem.", "Add 2 and 3.", "Name a fruit.", "Sort these words."]
MANY = [f"Count to {n}." for n in range(200)]


class Server:
    """Answers each instruction with its first word as a tag, or as `misbehave` says.

    `misbehave` is called with the instruction and how often it was asked before; it returns a
    status, or a text to reply, or bytes for a whole body, or None.
    """

    def __init__(self) -> None:
        self.misbehave: Callable[[str, int], int | str | bytes | None] = lambda text, before: None
        self.asked: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.bodies: list[dict[str, Any]] = []
        self.finish = "stop"
        self.delay = 0.0
        outer, lock = self, threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                text = body["messages"][0]["content"].split("<instruction>\n")[-1].split("\n")[0]
                with lock:
                    before = outer.asked.count(text)
                    outer.asked.append(text)
                    outer.headers.append(dict(self.headers))
                    outer.bodies.append(body | {"path": self.path})
                time.sleep(outer.delay)
                self.answer(text, outer.misbehave(text, before))

            def answer(self, text: str, special: int | str | bytes | None) -> None:
                status = special if isinstance(special, int) else 200
                body: Any = {"error": {"message": f"no, {self.headers['authorization']}"}}
                if status == 200:
                    words = json.dumps([{"tag": text.split()[0], "explanation": "its first word"}])
                    message = {"content": special if isinstance(special, str) else words}
                    choices = [{"message": message, "finish_reason": outer.finish}]
                    body = {"choices": choices, "usage": {"total_tokens": 10}}
                sent = special if isinstance(special, bytes) else json.dumps(body).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(sent) + 5 * (sent == b"dies")))
                self.send_header("retry-after-ms", "1")
                self.end_headers()
                self.wfile.write(sent)

            def log_message(self, *args: Any) -> None: ...

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("MODICUM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-a-secret")
    running = Server()
    yield running
    running.http.shutdown()
    running.http.server_close()


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
    assert len(server.asked) == 12 and ledger.requests == 4


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
    assert ledger.requests == 3


def test_an_endpoint_that_refuses_everything_is_not_asked_for_long(server: Server) -> None:
    server.misbehave = lambda text, before: 400
    with pytest.raises(OptionError, match=r"refused the instruction: no, Bearer …$"):
        endpoint(server, at_once=2)(MANY, Ledger())
    assert len(server.asked) < 100


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
        "from modicum.tags.endpoint import Endpoint\nfrom modicum.ledger import Ledger\n"
        f"Endpoint({server.url!r}, 'tiny', timeout=30.0)({TEXTS!r}, Ledger())"
    )
    with subprocess.Popen([sys.executable, "-c", code], env=os.environ, stderr=-1) as running:
        folder = tmp_path / "cache" / "tags"
        while not (folder.exists() and kept(tmp_path)[0].read_text().count("\n") == 2):
            assert running.poll() is None
            time.sleep(0.02)
        running.send_signal(signal.SIGINT)
        _, told = running.communicate(timeout=5)
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
