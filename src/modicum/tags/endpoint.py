"""Tags from a model behind any OpenAI-compatible endpoint."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from importlib import resources
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

from modicum.cache import cache_folder
from modicum.errors import OptionError
from modicum.ledger import Ledger
from modicum.progress import progress
from modicum.tags.asking import Chat, api_key
from modicum.tags.replies import Replies, Reply, key_of

_PLACE = "{instruction}"
_REFUSALS = 3  # in a row from the first on: it is the endpoint that does not fit


@dataclass(frozen=True)
class Endpoint:
    """A chat model is asked for the intentions of each instruction, at temperature 0 (InsCL).

    The key is `OPENAI_API_KEY`, and is written nowhere. Replies are kept in the cache folder as
    they arrive, and what can be read of them is not asked again; a reply that cannot be read gives
    no tags and is asked for again by the next run: one `Endpoint` asks for each instruction once.
    A request is tried `max_retries` times more, and without a parameter that the model does not
    take. Raises `OptionError` or `InputError`, in one line, if the endpoint cannot be used.
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
        api_key()

    @property
    def options(self) -> dict[str, Any]:
        """What its fields say; of the prompt, a hash of the text."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        return given | {"prompt": _hash(self._prompt)}

    def __call__(self, instructions: Sequence[str], ledger: Ledger) -> list[tuple[str, ...]]:
        wanted = {key_of(text): text for text in instructions if text.strip()}
        new = {key: text for key, text in wanted.items() if key not in self._known}
        if new:
            kept = self._replies.read()
            self._known.update({k: kept[k] for k in new if k in kept and kept[k].tags is not None})
            new = {key: text for key, text in new.items() if key not in self._known}
        ledger.rows_reused += len(wanted) - len(new)
        if new:
            self._ask(new, ledger, any(reply.text is not None for reply in kept.values()))
        tags = {text: self._known[key].tags or () for key, text in wanted.items()}
        return [tags.get(text, ()) for text in instructions]

    def unparsed(self, instructions: Sequence[str]) -> Mapping[str, str]:
        """Why, for each of these instructions whose reply held no tags that could be read."""
        found = {text: self._known.get(key_of(text)) for text in instructions}
        return {t: reply.why for t, reply in found.items() if reply and reply.tags is None}

    def _ask(self, new: dict[str, str], ledger: Ledger, useful: bool) -> None:
        """Ask for each text and keep what is replied, until all are or the endpoint fails."""
        chat, before = self._chat, self._chat.answered
        # Its threads are daemons: after Ctrl-C nothing waits for the requests under way. They keep
        # their replies themselves, so that what has arrived is on the disk by then.
        with (
            ledger.time("tag"),
            progress("tagging", len(new), "instructions") as advance,
            ThreadPool(min(self.at_once, len(new))) as threads,
        ):
            try:
                replies = threads.imap_unordered(self._asked, new.items())
                for arrived, reply in enumerate(replies, 1):
                    advance(1)
                    ledger.request_tokens += reply.tokens
                    useful |= reply.text is not None
                    if not useful and arrived >= min(_REFUSALS, len(new)):
                        raise OptionError(f"{chat} {reply.fault}")
            finally:
                ledger.requests += chat.answered - before

    def _asked(self, item: tuple[str, str]) -> Reply:
        key, text = item
        reply = self._chat.ask(key, self._prompt.replace(_PLACE, text))
        self._replies.keep(reply)
        self._known[key] = reply
        return reply

    @cached_property
    def _known(self) -> dict[str, Reply]:
        """Replies by key: what one run has used once, it uses again."""
        return {}

    @cached_property
    def _chat(self) -> Chat:
        return Chat(self.url, self.model, self.max_tokens, self.max_retries, self.timeout)

    @cached_property
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

    @cached_property
    def _replies(self) -> Replies:
        """Where replies are kept: another file for everything that can change a reply."""
        asked = [self.url.rstrip("/"), self.model, self._prompt, self.max_tokens]
        return Replies(cache_folder() / "tags" / f"{_hash(json.dumps(asked))}.jsonl")


def _hash(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
