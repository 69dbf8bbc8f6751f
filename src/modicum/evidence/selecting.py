"""A method's rows: chosen once for each seed, and for several budgets where its picks nest."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from modicum import durable
from modicum.choose import answer
from modicum.errors import BudgetError
from modicum.evidence.contest import Contest
from modicum.ledger import Ledger
from modicum.question import Question, ask
from modicum.selection.budget import Budget
from modicum.usable import kinds

if TYPE_CHECKING:
    from modicum.methods import Method


_LONGEST = 100  # characters of a folder's name


def chosen(
    contest: Contest, label: str, part: Method, budget: str, seed: int
) -> tuple[np.ndarray, dict[str, Any]]:
    """Positions in the contest's pool in the order taken, and what is known of the selection."""
    widest, seed = reach(contest, part, budget), seed_of(contest, label, seed)
    name = plain(f"{label}-{widest}-s{seed}")
    ledger = Ledger()
    kept = contest.rounds(f"selections/{name}", ledger)
    facts = kept.once("picks", lambda: _picked(contest, part, widest, seed, name, ledger))
    picks_K = np.array(facts["picks"], dtype=np.int64)
    return picks_K[: _within(contest, picks_K, contest.budgets[budget])], {**facts, "name": name}


def seed_of(contest: Contest, label: str, seed: int) -> int:
    """The seed that a method chooses under in an arm of this seed."""
    chance = label.partition("(")[0] == "random"
    return seed if chance or contest.chosen_under is None else contest.chosen_under


def reach(contest: Contest, part: Method, budget: str) -> str:
    """The budget that the picks are chosen for: the largest, where picks for it begin with those
    for any smaller one."""
    units = {each.unit for each in contest.budgets.values()}
    if not getattr(part, "nested", False) or len(units) > 1:
        return budget
    return max(contest.budgets, key=lambda name: contest.budgets[name].amount)


def question(contest: Contest, part: Method, budget: str, seed: int, ledger: Ledger) -> Question:
    """What the method is asked."""
    aims = getattr(part, "aims", True)
    return ask(
        contest.pool,
        part,
        contest.budgets[budget],
        contest.meter(ledger),
        seed,
        target=contest.target if aims else None,
        train=contest.recipe,
        memory=contest.memory,
    )


def _picked(
    contest: Contest, part: Method, budget: str, seed: int, name: str, ledger: Ledger
) -> dict[str, Any]:
    work = contest.folder / "selections" / name / "work"
    work.mkdir(parents=True, exist_ok=True)
    made = answer(question(contest, part, budget, seed, ledger), work, foretell=False)
    contest.base.model.release()
    if contest.keep_models == "none" and not contest.keep_work:
        durable.remove(work)
    return {
        "budget": budget,
        "options": made.method,
        "picks": made.picks.tolist(),
        "ids": [contest.pool.ids[i] for i in made.picks],
        "left_out": kinds(made.left_out.values()),
        "notes": list(made.notes),
    }


def _within(contest: Contest, picks_K: np.ndarray, budget: Budget) -> int:
    """How many of the picks the budget holds."""
    if (rows := budget.rows(len(contest.pool))) is not None:
        return rows
    spent_K = np.cumsum(contest.lengths_N[picks_K])
    if spent_K[0] > budget.amount:
        raise BudgetError(
            f"the first row taken has {spent_K[0]:,} tokens, the budget is {budget}; use "
            f"-k {spent_K[0]}tok or more, or drop rows that are too long"
        )
    return int(np.searchsorted(spent_K, budget.amount, side="right"))


def plain(name: str) -> str:
    """A name as a folder has it; a long one ends with a hash of it."""
    made = re.sub(r"[^\w.=%-]+", "_", name).strip("_")
    if len(made) <= _LONGEST:
        return made
    end = hashlib.blake2b(name.encode(), digest_size=6).hexdigest()
    return f"{made[: _LONGEST - len(end) - 1]}-{end}"
