"""Who asks which model, and how."""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import urlsplit

from modicum.errors import OptionError

KEY = "OPENAI_API_KEY"  # the variable that holds it


class Role(NamedTuple):
    """What messages, the ledger, the progress bar and the cache call those who ask."""

    who: str  # "tagger"
    what: str  # is asked about at a time: "instruction"
    stage: str  # "tag"
    doing: str  # "tagging"
    folder: str  # "tags"
    names: str = ""  # how its model is named on the command line; "": by an option of its own


@dataclass(frozen=True)
class Access:
    """A model behind an address, and how it is asked.

    Raises `OptionError`, without what may be a key, for what cannot be.
    """

    role: Role
    url: str
    model: str
    max_tokens: int
    at_once: int  # requests
    max_retries: int
    timeout: float  # seconds
    top: int = 0  # so many likeliest beginnings of a reply are asked for, and nothing else of it

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise OptionError(f"{self.url!r} is no address: write it as http://host:8000/v1")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise OptionError(  # without the address, which may hold a key
                f"the {self.role.who}'s address at {parts.hostname} holds more than host and path; "
                f"put a key into {KEY}"
            )
        if not self.model.strip():
            named = self.role.names or f"--{self.role.who}-model NAME"
            raise OptionError(f"which model of {self.url}? give its name: {named}")
        least = {"max_tokens": 1, "at_once": 1, "max_retries": 0}
        for option, value in least.items():
            if getattr(self, option) < value:
                raise OptionError(f"{option}={getattr(self, option)}; at least {value} is needed")
        if not 0 < self.timeout < math.inf:
            raise OptionError(f"timeout={self.timeout}; give seconds, more than 0")
        api_key()

    def __str__(self) -> str:
        return f"the {self.role.who} {self.url} (model {self.model})"


def api_key() -> str:
    """The key to send, "" for none. Raises `OptionError`, without it, for what can be no key."""
    found = os.environ.get(KEY, "").strip()
    if not re.fullmatch("[!-~]*", found):
        raise OptionError(f"{KEY} holds white space, or a sign that no key has; set it anew")
    return found
