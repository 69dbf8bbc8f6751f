"""A small server that speaks a chat endpoint's protocol, and misbehaves when told to."""

from __future__ import annotations

import json
import math
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

Special = int | str | bytes | dict[str, str] | None


def instruction_in(message: str) -> str:
    """The first line of the instruction that a message to a tagger holds."""
    return message.split("<instruction>\n")[-1].split("\n")[0]


def first_word(instruction: str) -> str:
    """It as a tag, as a tagger's model would reply."""
    return json.dumps([{"tag": instruction.split()[0], "explanation": "its first word"}])


class Server:
    """Answers each instruction with its first word as a tag, or as `misbehave` says.

    `misbehave` is called with the instruction and how often it was asked before; it returns a
    status, or a text to reply, or bytes for a whole body, or the error of a 400, or None.
    `chances` are sent to who wishes for logprobs. `about` says what of a message counts as the
    instruction, `reply` what the model makes of it. With an `upstream` it is a proxy: what it
    does not misbehave about, that address answers.
    """

    def __init__(self) -> None:
        self.misbehave: Callable[[str, int], Special] = lambda text, before: None
        self.asked: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.bodies: list[dict[str, Any]] = []
        self.about: Callable[[str], str] = instruction_in
        self.reply: Callable[[str], str] = first_word
        self.chances: Callable[[str], dict[str, float]] | None = None  # of a reply's first token
        self.upstream = ""
        self.finish = "stop"
        self.status = 200  # unless `misbehave` gives one
        self.delay = 0.0
        outer, lock = self, threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                self.wished = body.get("logprobs")
                text = outer.about(body["messages"][0]["content"])
                with lock:
                    before = outer.asked.count(text)
                    outer.asked.append(text)
                    outer.headers.append(dict(self.headers))
                    outer.bodies.append(body | {"path": self.path})
                time.sleep(outer.delay)
                special = outer.misbehave(text, before)
                if outer.upstream and special is None:
                    special = forwarded(outer.upstream + "/chat/completions", body)
                self.answer(text, special)

            def answer(self, text: str, special: Special) -> None:
                error = {"message": f"no, {self.headers['authorization']}"}
                if isinstance(special, dict):
                    error, special = special, 400
                status = special if isinstance(special, int) else outer.status
                body: Any = {"error": error}
                if status == 200:
                    said = special if isinstance(special, str) else outer.reply(text)
                    message = {"content": said}
                    choices: list[dict[str, Any]] = [
                        {"message": message, "finish_reason": outer.finish}
                    ]
                    if outer.chances and self.wished:
                        choices[0]["logprobs"] = logprobs(outer.chances(text))
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


def logprobs(chances: dict[str, float]) -> dict[str, Any]:
    """As a reply has them, of its first token; of none where it has none."""
    listed = [{"token": token, "logprob": math.log(p)} for token, p in chances.items()]
    return {"content": [{**first, "top_logprobs": listed} for first in listed[:1]]}


def forwarded(url: str, body: dict[str, Any]) -> bytes:
    """The body that a server at this address answers with."""
    headers = {"content-type": "application/json"}
    asked = urllib.request.Request(url, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(asked) as answer:
        return bytes(answer.read())


@contextmanager
def serving(cache: Path) -> Iterator[Server]:
    """A running server, a cache of its own, and a key."""
    running = Server()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODICUM_CACHE", str(cache))
        patch.setenv("NO_PROXY", "127.0.0.1")
        patch.setenv("OPENAI_API_KEY", "sk-a-secret")
        yield running
    running.http.shutdown()
    running.http.server_close()
