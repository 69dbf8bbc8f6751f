"""Many things are asked about at once, each of them once, and what is replied is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from multiprocessing import TimeoutError as NothingYet
from multiprocessing.pool import IMapIterator, ThreadPool
from typing import Generic, TypeVar

from modicum.chat.access import Access
from modicum.chat.client import Chat
from modicum.chat.prompts import filled
from modicum.chat.replies import Replies, Reply
from modicum.errors import OptionError
from modicum.ledger import Ledger
from modicum.progress import progress

_AWAKE = 0.2  # seconds that a wait lasts at most
_REFUSALS = 3  # in a row from the first on: it is the endpoint that does not fit
_Asked = TypeVar("_Asked")


class Asker(Generic[_Asked]):
    """Asks a model about each thing once, and keeps the replies on the disk as they arrive.

    What an earlier process kept and `useful` accepts is not asked again; what it does not accept
    is, once. Costs go into the ledger, and what was found kept into its `rows_reused`.
    """

    def __init__(
        self,
        access: Access,
        prompt: str,
        texts: Callable[[_Asked], Mapping[str, str]],
        useful: Callable[[Reply], bool],
    ) -> None:
        self._access, self._prompt = access, prompt
        self._texts, self._useful = texts, useful  # texts: for the prompt's places
        self._known: dict[str, Reply] = {}  # what one run has used once, it uses again

    def __call__(self, wanted: Mapping[str, _Asked], ledger: Ledger) -> Mapping[str, Reply]:
        """The reply to each of these, by key. Raises, in one line, if the endpoint fails."""
        new = {key: asked for key, asked in wanted.items() if key not in self._known}
        if new:
            kept = self._replies.read()
            self._known.update({k: kept[k] for k in new if k in kept and self._useful(kept[k])})
            new = {key: asked for key, asked in new.items() if key not in self._known}
        ledger.rows_reused += len(wanted) - len(new)
        if new:
            self._ask(new, ledger, any(reply.text is not None for reply in kept.values()))
        return {key: self._known[key] for key in wanted}

    def known(self, key: str) -> Reply | None:
        """The reply of this key, if it has been asked for."""
        return self._known.get(key)

    def _ask(self, new: dict[str, _Asked], ledger: Ledger, answers: bool) -> None:
        """Ask about each and keep what is replied, until all are or the endpoint fails."""
        role, chat, before = self._access.role, self._chat, self._chat.answered
        # Its threads are daemons: after Ctrl-C nothing waits for the requests under way. They keep
        # their replies themselves, so that what has arrived is on the disk by then.
        with (
            ledger.time(role.stage),
            progress(role.doing, len(new), f"{role.what}s") as advance,
            ThreadPool(min(self._access.at_once, len(new))) as threads,
        ):
            try:
                replies = threads.imap_unordered(self._asked, new.items())
                for arrived, reply in enumerate(_arriving(replies), 1):
                    advance(1)
                    ledger.request_tokens += reply.tokens
                    answers |= reply.text is not None
                    if not answers and arrived >= min(_REFUSALS, len(new)):
                        raise OptionError(f"{self._access} {reply.fault}")
            finally:
                ledger.requests += chat.answered - before

    def _asked(self, item: tuple[str, _Asked]) -> Reply:
        key, asked = item
        reply = self._chat.ask(key, filled(self._prompt, self._texts(asked)))
        self._replies.keep(reply)
        self._known[key] = reply
        return reply

    @cached_property
    def _replies(self) -> Replies:
        return Replies.of(self._access, self._prompt)

    @cached_property
    def _chat(self) -> Chat:
        return Chat(self._access)


def _arriving(replies: IMapIterator[Reply]) -> Iterator[Reply]:
    """Replies as they come. A Ctrl-C that another thread is given does not end a wait of this one:
    the wait is ended now and then, to see whether there was one.
    """
    while True:
        try:
            yield replies.next(timeout=_AWAKE)
        except NothingYet:
            continue
        except StopIteration:
            return
