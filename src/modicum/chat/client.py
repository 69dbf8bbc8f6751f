"""A chat endpoint, as one process knows it: what it is sent, what it says, what it cannot take."""

from __future__ import annotations

import json
import math
import re
import threading
from typing import TYPE_CHECKING, Any

from modicum.chat.access import KEY, Access, api_key
from modicum.chat.replies import Reply
from modicum.errors import InputError, ModicumError, OptionError
from modicum.readers.inputs import valid

if TYPE_CHECKING:
    from openai import APIStatusError, OpenAIError
    from openai.types.chat import ChatCompletion

_OF_ONE = (400, 413, 422)  # said to one request: too long, filtered, not understood
_OF_OPTIONS = (401, 403, 404)
# What newer models refuse, and what they are sent instead.
_INSTEAD = {"max_tokens": "max_completion_tokens", "temperature": None}


class Chat:
    """Asks one model, from several threads, and counts what is answered, errors included."""

    def __init__(self, access: Access) -> None:
        try:
            from openai import DefaultHttpxClient, OpenAI
        except ImportError as error:
            raise OptionError(
                f"the {access.role.who} needs one more package: pip install 'modicum[replay]'"
            ) from error
        self.answered = 0
        self._access = access
        self._refused: frozenset[str] = frozenset()  # parameters of `_INSTEAD`
        self._lock = threading.Lock()
        self._client = OpenAI(
            base_url=access.url,
            api_key=api_key() or "none",
            max_retries=access.max_retries,
            timeout=access.timeout,
            http_client=DefaultHttpxClient(event_hooks={"response": [self._count]}),
        )

    def ask(self, key: str, content: str) -> Reply:
        """What the model says to a message at temperature 0, as the reply of this key.

        A parameter that the endpoint names when it refuses the message is left out of a second
        try, and out of every message after that if the try succeeds. Raises `OptionError` or
        `InputError`, in one line, where the endpoint would say the same to any message.
        """
        from openai import APIStatusError, OpenAIError

        refused = self._refused
        while True:
            try:
                done = self._sent(content, refused)
            except APIStatusError as error:
                if named := _named(error) - refused:
                    refused |= named
                    continue
                if error.status_code not in _OF_ONE:
                    raise self._failed(error) from error
                return Reply(key, None, 0, f"refused the {self._access.role.what}: {_said(error)}")
            except OpenAIError as error:
                raise self._failed(error) from error
            except json.JSONDecodeError:
                return Reply(key, None, 0, "answered with broken JSON")
            self._refused |= refused
            return self._read(key, done)

    def _sent(self, content: str, refused: frozenset[str]) -> ChatCompletion:
        usual = {"max_tokens": self._access.max_tokens, "temperature": 0}
        names = {name: _INSTEAD[name] if name in refused else name for name in usual}
        options: dict[str, Any] = {new: usual[old] for old, new in names.items() if new}
        if self._access.top:
            options |= {"logprobs": True, "top_logprobs": self._access.top}
        done: ChatCompletion = self._client.chat.completions.create(
            model=self._access.model, messages=[{"role": "user", "content": content}], **options
        )
        return done

    def _read(self, key: str, done: ChatCompletion) -> Reply:
        """A reply out of what the client made of it; it does not check what it was sent."""
        choices = getattr(done, "choices", None)
        if not choices or choices[0].message is None:  # a web page, or JSON of another kind
            return Reply(key, None, 0, "answered, but not as a chat endpoint does")
        text = choices[0].message.content
        tokens = (done.usage.total_tokens if done.usage else 0) or 0
        if self._access.top:
            chances = self._chances(choices[0])
            if not chances:  # its first token ended the reply
                return Reply(key, None, tokens, "replied with nothing")
            return Reply(key, "", tokens, "", chances)
        cut = choices[0].finish_reason == "length"
        fault = f"the reply was cut at max_tokens={self._access.max_tokens}" if cut else ""
        return Reply(key, _without_key(text) if isinstance(text, str) else "", tokens, fault)

    def _chances(self, choice: Any) -> dict[str, float]:
        """How likely each of a reply's likeliest beginnings is. Some servers ignore the wish."""
        given = getattr(getattr(choice, "logprobs", None), "content", None)
        if given == []:
            return {}
        if not given or not (listed := getattr(given[0], "top_logprobs", None)):
            raise OptionError(
                f"{self._access} replied without the logprobs asked for; use a server that gives "
                "them (vLLM, llama.cpp, OpenAI), or ask a model here: leave url out"
            )
        return {each.token: math.exp(each.logprob) for each in listed}

    def _failed(self, error: OpenAIError) -> ModicumError:
        from openai import APIStatusError, APITimeoutError

        name, kept = self._access, "replies so far are kept, the same line goes on from there"
        if isinstance(error, APITimeoutError):
            return InputError(f"{name} did not reply in {name.timeout:g} s; {kept}")
        if not isinstance(error, APIStatusError):
            return InputError(f"{name} cannot be reached: {_said(error)}; {kept}")
        said = f"{name} answered {error.status_code}: {_said(error)}"
        if error.status_code not in _OF_OPTIONS:
            return InputError(f"{said}; {kept}")
        return OptionError(
            f"{said}; check the model's name, {KEY} and the address, which often ends in /v1"
        )

    def _count(self, response: object) -> None:
        with self._lock:
            self.answered += 1


def _named(error: APIStatusError) -> frozenset[str]:
    """The parameters of ours that an endpoint says it cannot take."""
    if error.status_code != 400:
        return frozenset()
    said = f"{error.body} {error}"
    return frozenset(name for name in _INSTEAD if re.search(rf"\b{name}\b", said))


def _said(error: OpenAIError) -> str:
    """What went wrong, in one line, without the key, which some endpoints repeat."""
    body = getattr(error, "body", None)
    known = body if isinstance(body, dict) else {}
    message = known.get("message") or known.get("detail")  # FastAPI's word for it
    lines = str(message or error.__cause__ or error).strip().splitlines()
    said = valid(lines[0]) if lines else type(error).__name__
    return _without_key(said)[:200]


def _without_key(text: str) -> str:
    """What an endpoint says, without the key that some repeat."""
    return text.replace(found, "…") if (found := api_key()) else text
