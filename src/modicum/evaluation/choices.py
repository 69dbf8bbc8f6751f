"""Which of the possible answers a model finds likeliest, and whether that is the right one."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from modicum.errors import InputError
from modicum.evaluation.options import option_losses
from modicum.ledger import Ledger
from modicum.meter import Meter
from modicum.pool import Example, Pool, Turn
from modicum.render import ANSWER, Rendered, render
from modicum.render.tokens import Tokens, shorten

MOST = 200  # different answers of a task that are still taken for its choices
_LETTER = re.compile(r"\(?([A-Za-z])[).:]?")
_NUMBER = re.compile(r"\(?(\d{1,3})[).:]?")


@dataclass(frozen=True)
class Chosen:
    """What a model would choose in each row of a pool; row i is pool[i]."""

    pool: str  # its fingerprint
    options: str  # a hash of every row's options and of the right ones
    choice: np.ndarray  # (N,) float64: 1 where the likeliest option is the right one, else 0
    choice_normalised: np.ndarray  # (N,) the same by log-likelihood per character of the option
    margin: np.ndarray  # (N,) float64, in nats: the right one's log-likelihood − the best other's
    counts: np.ndarray  # (N,) int64: options of each row
    gathered: np.ndarray  # (N,) bool: the row says no choices; they are the answers of its task
    shared: bool  # False: each option was read behind a prompt of its own
    apart: int  # rows whose prompt the template writes otherwise for some option

    @property
    def chance(self) -> float:
        """The mean of `choice` that guessing would reach."""
        return float((1 / self.counts).mean())


class Task(NamedTuple):
    """The options of a row, each once, and which of them is right."""

    options: tuple[str, ...]
    right: int
    gathered: bool


def choose(rows: Pool, meter: Meter) -> Chosen:
    """Measure how likely a model finds each choice in place of a row's last learned answer.

    A choice is written as the template writes an answer, with the token that ends the turn; its
    log-likelihood is the sum over these tokens, in nats. `choice_normalised` divides it by the
    characters of the choice, as `acc_norm` of EleutherAI's harness does. Of options that are
    equally likely the first counts. For where the choices come from see `tasks_of`. A row that
    cannot be measured is refused, not skipped: `InputError`, or `TrainingError` where a loss is no
    number.
    """
    if not len(rows):
        raise InputError("there are no rows to choose in; give at least one")
    tasks = tasks_of(rows)
    with meter.ledger.time("render"):
        asked = _asked(rows, tasks, meter)
    _tell(asked.apart, meter.ledger)
    found = option_losses(
        asked.prompts,
        asked.options,
        meter.model,
        meter.ledger,
        where=lambda i: rows.where(asked.row_P[i]),
    )
    starts = np.cumsum([0, *(len(task.options) for task in tasks)])
    likely = [-found.loss_M[slice(*starts[i : i + 2])] for i in range(len(tasks))]
    pairs = list(zip(likely, tasks, strict=True))
    sizes = [np.array([len(option) for option in task.options]) for task in tasks]
    return Chosen(
        rows.fingerprint,
        _hash(tasks),
        np.array([float(np.argmax(ll_C) == task.right) for ll_C, task in pairs]),
        np.array([np.argmax(ll / n) == t.right for (ll, t), n in zip(pairs, sizes, strict=True)])
        * 1.0,
        np.array([ll_C[t.right] - np.delete(ll_C, t.right).max() for ll_C, t in pairs]),
        np.diff(starts),
        np.array([task.gathered for task in tasks]),
        found.shared,
        len(asked.apart),
    )


def tasks_of(rows: Pool) -> list[Task]:
    """The options of every row and the right one of them.

    Options are a row's `choices`; of rows that say none, the different answers of all such rows of
    their task, in alphabetical order, if there are 2 to 200 and each is used twice on average.
    Right is the choice that equals the row's own last answer, otherwise the one that equals its
    `gold`, otherwise the one whose letter or number either of them is. An answer that equals one
    choice, and whose letter or number is that of another which equals `gold`, means that one.
    Whether numbers begin at 0 or at 1 is told by the rows: one says 0, or as many as it has
    choices. Where this leaves a row open, `InputError` names it.
    """
    answers = [_last(rows, i, example)[1] for i, example in enumerate(rows)]
    gathered = _gathered(rows, answers)
    given = zip(rows.choices, answers, rows.gold, strict=True)
    said = [None if c is None else _Said(c, own, gold or "") for c, own, gold in given]
    first = _first_number([each for each in said if each])
    found = []
    for i, each in enumerate(said):
        if each is None:
            options = gathered[rows.tasks[i]]
            found.append(Task(options, options.index(answers[i]), True))
            continue
        options = tuple(dict.fromkeys(each.choices))
        if len(options) < 2:
            raise InputError(
                f"{rows.where(i)}: its only choice is {options[0][:60]!r}; at least 2 are needed, "
                "so leave the row out"
            )
        found.append(Task(options, options.index(each.right(rows.where(i), first)), False))
    return found


class _Said(NamedTuple):
    """What a row says of its choices."""

    choices: tuple[str, ...]
    own: str  # its last learned answer
    gold: str  # "" where it says none

    def equal(self) -> str | None:
        """The choice that equals the answer, or gold; None where a letter could mean another.

        Of the elements Ne, H, O and C the answer C may be the fourth or, as a letter, the third.
        """
        own, gold = (text if text in self.choices else None for text in (self.own, self.gold))
        letter = _LETTER.fullmatch(self.own)
        means = {ord(letter[1].upper()) - ord("A")} if letter else set[int]()
        if own and gold and own != gold:
            numbers = {n - first for n in self.numbers(own) for first in (0, 1)}
            return gold if self.choices.index(gold) in means | numbers else own
        lettered = all(_LETTER.fullmatch(text) for text in self.choices)
        others = {self.choices[at] for at in means if at < len(self.choices)} - {own}
        return None if own and not gold and others and not lettered else own or gold

    def numbers(self, *texts: str) -> list[int]:
        texts = texts or (self.gold, self.own)
        return [int(n[1]) for text in texts if (n := _NUMBER.fullmatch(text))]

    def right(self, place: str, first: int | None) -> str:
        """The right choice; `first` is the first choice's number."""
        if (equal := self.equal()) is not None:
            return equal
        named = {self.choices[at] for at in self._named(first) if 0 <= at < len(self.choices)}
        named |= {text for text in (self.own, self.gold) if text in self.choices}
        if len(named) == 1:
            return named.pop()
        gold = f" and its gold {self.gold[:60]!r}" if self.gold else ""
        open = self.numbers() and first is None
        why = ", and no row tells whether numbers begin at 0 or at 1" if open else ""
        raise InputError(
            f"{place}: which of its {len(self.choices)} choices is right cannot be told from its "
            f"answer {self.own[:60]!r}{gold}{why}; name the column that holds the right one with "
            "--fields gold=COLUMN, or leave the row out"
        )

    def _named(self, first: int | None) -> Iterator[int]:
        for text in (self.gold, self.own):
            if letter := _LETTER.fullmatch(text):
                yield ord(letter[1].upper()) - ord("A")
        if first is not None:
            yield from (number - first for number in self.numbers())


def _first_number(said: Sequence[_Said]) -> int | None:
    """0 or 1; None where the rows do not tell, or contradict each other."""
    open = [(number, each) for each in said if each.equal() is None for number in each.numbers()]
    from_0 = any(number == 0 for number, _ in open)
    from_1 = any(number == len(each.choices) for number, each in open)
    return None if from_0 == from_1 else int(from_1)


def _gathered(rows: Pool, answers: Sequence[str]) -> dict[str | None, tuple[str, ...]]:
    """The answers of the rows without choices, of each task."""
    places: dict[str | None, list[int]] = {}
    for i, choices in enumerate(rows.choices):
        if choices is None:
            places.setdefault(rows.tasks[i], []).append(i)
    found = {}
    for task, places_M in places.items():
        options = tuple(sorted({answers[i] for i in places_M}))
        if not (2 <= len(options) <= MOST and 2 * len(options) <= len(places_M)):
            of = "without a task" if task is None else f"of task {task}"
            raise InputError(
                f"{rows.where(places_M[0])}: it says no choices, and the different answers of the "
                f"{len(places_M):,} rows {of}, {len(options):,}, are not taken for them (2 to "
                f"{MOST}, each used twice on average); name the column that holds a row's choices "
                "(choices=COLUMN, by --fields or --eval-fields)"
            )
        found[task] = options
    return found


def _last(rows: Pool, i: int, example: Example) -> tuple[int, str]:
    """Which turn is the last learned answer, and its words, stripped."""
    learned = [t for t, turn in enumerate(example.turns) if turn.train]
    if not learned:
        raise InputError(f"{rows.where(i)}: it has no answer to learn; leave the row out")
    return learned[-1], example.turns[learned[-1]].content.strip()


def unusable_choices(rows: Pool, meter: Meter) -> dict[int, str]:
    """Rows whose longest choice does not fit behind their prompt, and why."""
    tasks = tasks_of(rows)  # first: what cannot be told is refused either way
    if meter.truncate:
        return {}
    longest = [Task((max(task.options, key=len),), 0, task.gathered) for task in tasks]
    rendered, limit = render(_variants(rows, longest), meter.model.tokenizer), meter.max_tokens
    return {
        int(i): f"too long: {rendered.lengths_N[i]} tokens with a choice, the limit is {limit}"
        for i in np.flatnonzero(rendered.lengths_N > limit)
    }


class _Asked(NamedTuple):
    """P prompts and the options behind each: one a row, or one an option where they differ."""

    prompts: list[np.ndarray]
    options: list[list[np.ndarray]]
    row_P: list[int]
    apart: list[str]  # the places of rows whose prompts differ


def _asked(rows: Pool, tasks: Sequence[Task], meter: Meter) -> _Asked:
    rendered = render(_variants(rows, tasks), meter.model.tokenizer)
    asked, start = _Asked([], [], [], []), 0
    for i, task in enumerate(tasks):
        here = range(start, start + len(task.options))
        split = [_split(rendered, m, rows.where(i)) for m in here]
        start = here.stop
        first = split[0][0].ids_T
        groups = [split]
        if not all(np.array_equal(prompt.ids_T, first) for prompt, _ in split):
            groups = [[each] for each in split]
            asked.apart.append(rows.where(i))
        for group in groups:
            asked.prompts.append(_fitting(group, meter, rows.where(i)))
            asked.options.append([option_T for _, option_T in group])
            asked.row_P.append(i)
    return asked


def _variants(rows: Pool, tasks: Sequence[Task]) -> Iterator[Example]:
    """Each row once for every option, which stands where its last learned answer was."""
    for i, (example, task) in enumerate(zip(rows, tasks, strict=True)):
        at, _ = _last(rows, i, example)
        for option in task.options:
            said = Turn("assistant", option, True)
            yield example._replace(turns=(*example.turns[:at], said, *example.turns[at + 1 :]))


def _split(rendered: Rendered, m: int, place: str) -> tuple[Tokens, np.ndarray]:
    """What stands before the last run of answer tokens, and that run."""
    if m in rendered.errors:
        raise InputError(f"{place}: cannot be rendered ({rendered.errors[m]}); leave the row out")
    ids_T, kinds_T = rendered.row(m)
    answer_M = np.flatnonzero(kinds_T == ANSWER)
    breaks_M = np.flatnonzero(np.diff(answer_M) > 1)
    start = int(answer_M[breaks_M[-1] + 1] if len(breaks_M) else answer_M[0])
    if start == 0:
        raise InputError(f"{place}: nothing stands before its answer; leave the row out")
    return Tokens(ids_T[:start], kinds_T[:start]), ids_T[start : answer_M[-1] + 1]


def _fitting(group: Sequence[tuple[Tokens, np.ndarray]], meter: Meter, place: str) -> np.ndarray:
    """The prompt of options, cut where the meter cuts rows that are too long."""
    prompt, longest = group[0][0], max(len(option_T) for _, option_T in group)
    if meter.truncate:
        prompt = shorten(prompt, meter.max_tokens - longest)
    if len(prompt.ids_T) + longest > meter.max_tokens:
        raise InputError(
            f"{place}: prompt and longest choice have {len(prompt.ids_T) + longest:,} tokens, the "
            f"limit is {meter.max_tokens:,}; leave the row out"
        )
    return prompt.ids_T


def _tell(apart: Sequence[str], ledger: Ledger) -> None:
    if apart:
        ledger.fall_back(
            f"options not behind shared prompts in {len(apart):,} rows, the first {apart[0]}: the "
            "chat template writes their prompts otherwise, so each was read behind its own"
        )


def _hash(tasks: Sequence[Task]) -> str:
    made = hashlib.blake2b(digest_size=16)
    for task in tasks:
        for part in (*task.options, str(task.right)):
            made.update(len(part.encode()).to_bytes(4, "little") + part.encode())
        made.update(b"\n")
    return made.hexdigest()
