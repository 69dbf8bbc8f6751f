"""Tags from a model behind any OpenAI-compatible endpoint."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import resources
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import urlsplit

from modicum.cache import cache_folder
from modicum.errors import InputError, ModicumError, OptionError
from modicum.ledger import Ledger
from modicum.progress import progress
from modicum.tags.replies import Replies, Reply, key_of

if TYPE_CHECKING:
    from openai import OpenAI, OpenAIError
    from openai.types.chat import ChatCompletion

_PLACE = "{instruction}"
_KEY = "OPENAI_API_KEY"  # the variable that holds it
_OF_ONE = (
    400,
    413,
    422,
)  # what an endpoint says to one request: too long, filtered, not understood
_OF_OPTIONS = (401, 403, 404)


@dataclass(frozen=True)
class Endpoint:
    """A chat model is asked for the intentions of each instruction, at temperature 0 (InsCL).

    The key is `OPENAI_API_KEY`, and is written nowhere. Replies are kept in the cache folder as
    they arrive, and what can be read of them is not asked again; a reply that cannot be read gives
    no tags and is asked for again by the next run. A request is tried `max_retries` times more.
    Raises `OptionError` or `InputError`, in one line, if the endpoint cannot be used.
    """

    url: str
    model: str
    prompt: str = ""  # a text file with {instruction} in it; "": the one that comes with Modicum
    max_tokens: int = 512
    at_once: int = 8
    max_retries: int = 5
    timeout: float = 60.0  # seconds

    name: ClassVar[str] = "endpoint"

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise OptionError(f"{self.url!r} is no address: write it as http://host:8000/v1")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise OptionError(  # without the address, which may hold a key
                f"the tagger's address at {parts.hostname} holds more than host and path; "
                "put a key into OPENAI_API_KEY"
            )
        if not self.model.strip():
            raise OptionError(f"which model of {self.url}? give its name: --tagger-model NAME")
        least = {"max_tokens": 1, "at_once": 1, "max_retries": 0}
        for option, value in least.items():
            if getattr(self, option) < value:
                raise OptionError(f"{option}={getattr(self, option)}; at least {value} is needed")
        if not 0 < self.timeout < math.inf:
            raise OptionError(f"timeout={self.timeout}; give seconds, more than 0")

    def __call__(self, instructions: Sequence[str], ledger: Ledger) -> list[tuple[str, ...]]:
        prompt = self._prompt()
        replies = Replies(self._file(prompt))
        kept = replies.read()
        wanted = {key_of(text): text for text in instructions if text.strip()}
        missing = {
            key: text for key, text in wanted.items() if key not in kept or kept[key].tags is None
        }
        ledger.rows_reused += len(wanted) - len(missing)
        if missing:
            useful = any(reply.text is not None for reply in kept.values())
            self._ask(missing, prompt, replies, ledger, useful)
            kept = replies.read()
        tags = {text: kept[key].tags or () for key, text in wanted.items()}
        return [tags.get(text, ()) for text in instructions]

    def unparsed(self, instructions: Sequence[str]) -> Mapping[str, str]:
        """Why, for each of these instructions whose last reply held no tags that could be read."""
        kept = Replies(self._file(self._prompt())).read()
        found = {text: kept.get(key_of(text)) for text in instructions}
        return {t: reply.why for t, reply in found.items() if reply and reply.tags is None}

    def _ask(
        self, missing: dict[str, str], prompt: str, replies: Replies, ledger: Ledger, useful: bool
    ) -> None:
        """Ask for each text and keep what is replied, until all are or the endpoint fails."""
        client, refused = self._client(), 0
        ask = partial(self._asked, client, prompt, replies)
        # Its threads are daemons: after Ctrl-C nothing waits for the requests under way. They keep
        # their replies themselves, so that what has arrived is on the disk by then.
        with (
            ledger.time("tag"),
            progress("tagging", len(missing), "instructions") as advance,
            ThreadPool(min(self.at_once, len(missing))) as threads,
        ):
            for reply in threads.imap_unordered(ask, missing.items()):
                advance(1)
                if reply.text is None:
                    refused += 1
                    if not useful and refused >= min(self.at_once, len(missing)):
                        raise OptionError(f"{self._who()} {reply.fault}")
                    continue
                useful = True
                ledger.requests += 1
                ledger.request_tokens += reply.tokens

    def _asked(self, client: OpenAI, prompt: str, replies: Replies, item: tuple[str, str]) -> Reply:
        reply = self._reply(client, prompt, *item)
        replies.keep(reply)
        return reply

    def _reply(self, client: OpenAI, prompt: str, key: str, text: str) -> Reply:
        from openai import APIStatusError, OpenAIError

        try:
            done = client.chat.completions.create(
                model=self.model,
                messages=[{"role": "user", "content": prompt.replace(_PLACE, text)}],
                temperature=0,
                max_tokens=self.max_tokens,
            )
        except APIStatusError as error:
            if error.status_code not in _OF_ONE:
                raise self._failed(error) from error
            return Reply(key, None, 0, f"refused the instruction: {_said(error)}")
        except OpenAIError as error:
            raise self._failed(error) from error
        except json.JSONDecodeError:
            return Reply(key, None, 0, "answered with broken JSON")
        return self._read(key, done)

    def _read(self, key: str, done: ChatCompletion) -> Reply:
        """A reply out of what the client made of it; it does not check what it was sent."""
        choices = getattr(done, "choices", None)
        if not choices or choices[0].message is None:  # a web page, or JSON of another kind
            return Reply(key, None, 0, "answered, but not as a chat endpoint does")
        text = choices[0].message.content
        tokens = (done.usage.total_tokens if done.usage else 0) or 0
        cut = choices[0].finish_reason == "length"
        fault = f"the reply was cut at max_tokens={self.max_tokens}" if cut else ""
        return Reply(key, text if isinstance(text, str) else "", tokens, fault)

    def _failed(self, error: OpenAIError) -> ModicumError:
        from openai import APIStatusError, APITimeoutError

        kept = "replies so far are kept, the same line goes on from there"
        if isinstance(error, APITimeoutError):
            return InputError(f"{self._who()} did not reply in {self.timeout:g} s; {kept}")
        if not isinstance(error, APIStatusError):
            return InputError(f"{self._who()} cannot be reached: {_said(error)}; {kept}")
        said = f"{self._who()} answered {error.status_code}: {_said(error)}"
        if error.status_code not in _OF_OPTIONS:
            return InputError(f"{said}; {kept}")
        return OptionError(
            f"{said}; check the model's name, OPENAI_API_KEY and the address, "
            "which often ends in /v1"
        )

    def _who(self) -> str:
        return f"the tagger {self.url} (model {self.model})"

    def _client(self) -> OpenAI:
        try:
            from openai import OpenAI
        except ImportError as error:
            raise OptionError(
                "--tagger needs one more package: pip install 'modicum[replay]'"
            ) from error
        return OpenAI(
            base_url=self.url,
            api_key=os.environ.get(_KEY) or "none",
            max_retries=self.max_retries,
            timeout=self.timeout,
        )

    def _prompt(self) -> str:
        if not self.prompt:
            return resources.files("modicum.tags").joinpath("prompt.txt").read_text("utf-8")
        try:
            text = Path(self.prompt).expanduser().read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise OptionError(f"prompt={self.prompt} cannot be read: {error}") from error
        if _PLACE not in text:
            raise OptionError(f"prompt={self.prompt} does not say where {_PLACE} stands in it")
        return text

    def _file(self, prompt: str) -> Path:
        """Where replies are kept: another file for everything that can change a reply."""
        asked = [self.url.rstrip("/"), self.model, prompt, self.max_tokens]
        made = hashlib.blake2b(json.dumps(asked).encode(), digest_size=16).hexdigest()
        return cache_folder() / "tags" / f"{made}.jsonl"


def _said(error: OpenAIError) -> str:
    """What went wrong, in one line, without the key, which some endpoints repeat."""
    body = getattr(error, "body", None)
    message = body.get("message") if isinstance(body, dict) else None
    lines = str(message or error.__cause__ or error).strip().splitlines()
    said = lines[0] if lines else type(error).__name__
    key = os.environ.get(_KEY)
    return (said.replace(key, "…") if key else said)[:200]
