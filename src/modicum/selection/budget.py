"""How much may be taken, and the one place where it is spent."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from modicum.errors import AlignmentError, BudgetError

_FORMS = "write 500 (rows), 5% (of the pool's rows) or 200ktok (tokens; also 1500tok, 2Mtok)"
_ROWS = re.compile(r"[1-9][0-9]*")
_PERCENT = re.compile(r"([0-9]+(?:\.[0-9]+)?)%")
_TOKENS = re.compile(r"([1-9][0-9]*)([kM]?)tok")
_SHARE = re.compile(r"0?\.[0-9]+")
_TIMES = {"": 1, "k": 1_000, "M": 1_000_000}


class Step(NamedTuple):
    """One row taken: its position, why it was taken, and what it added at that moment.

    `gain` is what the selector measures (a distance, a value, a similarity); NaN where it
    measures nothing, as in a random draw. `round` counts the times the model was consulted anew.
    """

    pick: int
    reason: str
    gain: float = math.nan
    round: int = 0


@dataclass(frozen=True)
class Budget:
    """An amount of rows, of percent of the pool's rows, or of tokens."""

    amount: float
    unit: Literal["rows", "percent", "tokens"]

    def __post_init__(self) -> None:
        if self.unit not in ("rows", "percent", "tokens"):
            raise BudgetError(f"a budget in {self.unit!r} is not known; {_FORMS}")
        whole = self.unit == "percent" or float(self.amount).is_integer()
        if not (whole and 0 < self.amount < math.inf):
            raise BudgetError(f"a budget of {self.amount} {self.unit} cannot be spent; {_FORMS}")
        if self.unit == "percent" and self.amount > 100:
            raise BudgetError(f"a budget of {self.amount}% is more than the pool; {_FORMS}")

    @staticmethod
    def parse(text: str | int) -> Budget:
        """Read `500`, `5%`, `200ktok`, `2Mtok` or `1500tok`; anything else is a `BudgetError`."""
        written = "" if isinstance(text, bool) else str(text)
        if _ROWS.fullmatch(written):
            return Budget(float(written), "rows")
        if found := _PERCENT.fullmatch(written):
            return Budget(float(found[1]), "percent")
        if found := _TOKENS.fullmatch(written):
            return Budget(float(int(found[1]) * _TIMES[found[2]]), "tokens")
        if written == "auto":
            raise BudgetError(
                "budget auto is for select alone: select -k auto --eval FILE; in Python mo.enough"
            )
        raise BudgetError(f"budget {text!r} cannot be read{_share(written)}; {_FORMS}")

    def __str__(self) -> str:
        if self.unit == "percent":
            plain = format(Decimal(repr(float(self.amount))), "f")
            return (plain.rstrip("0").rstrip(".") if "." in plain else plain) + "%"
        amount = int(self.amount)
        if self.unit == "rows":
            return str(amount)
        prefix = next(p for p in ("M", "k", "") if amount % _TIMES[p] == 0)
        return f"{amount // _TIMES[prefix]}{prefix}tok"

    def rows(self, n: int) -> int | None:
        """Rows for a pool of `n`: percent to the nearest, half up, at least 1; None for tokens."""
        if self.unit == "tokens":
            return None
        if self.unit == "rows":
            return int(self.amount)
        # Decimal, because in binary 1.15 % of 1000 falls below 11.5 and would round down.
        share = Decimal(repr(float(self.amount))) * n / 100
        return max(1, int(share.to_integral_value(ROUND_HALF_UP)))


def spend(
    steps: Iterable[Step | int],
    budget: Budget,
    *,
    pool_rows: int,
    available: int,
    tokens_N: npt.NDArray[Any] | None = None,
) -> list[Step]:
    """Take steps in order until the budget is spent.

    `available` rows of the pool's `pool_rows` can be picked. Rows and percent are met exactly or
    refused. Tokens stop before the first row that would overflow, even if a later one would fit,
    or where the steps end; a first row that does not fit is refused. No step past the last one
    needed is asked for. A plain int is a step without a reason. A pick that is repeated, out of
    range or not an int raises `BudgetError`, because a user's own method comes through here.
    """
    wanted = budget.rows(pool_rows)
    if wanted is None:
        return _spend_tokens(checked(steps, pool_rows), budget, pool_rows, tokens_N)
    if wanted > available:
        out = f"use -k {available} or fewer" if available else "there is nothing to pick from"
        raise BudgetError(f"cannot pick {wanted} rows: {available} of {pool_rows} left; {out}")
    taken: list[Step] = []
    for step in checked(steps, pool_rows):
        taken.append(step)
        if len(taken) == wanted:
            return taken
    out = f"use -k {len(taken)} or fewer, or " if taken else ""
    raise BudgetError(
        f"the method offers {len(taken)} rows, {wanted} were asked; "
        f"{out}let the method's options pass more rows"
    )


def _spend_tokens(
    steps: Iterator[Step], budget: Budget, pool_rows: int, tokens_N: npt.NDArray[Any] | None
) -> list[Step]:
    if tokens_N is None:
        raise BudgetError(f"a budget of {budget} needs the tokens of each row; none were counted")
    if tokens_N.shape != (pool_rows,):
        raise AlignmentError(f"tokens of shape {tokens_N.shape} for a pool of {pool_rows} rows")
    taken: list[Step] = []
    spent = 0.0
    for step in steps:
        tokens = float(tokens_N[step.pick])
        if not 0 <= tokens < math.inf:
            raise BudgetError(f"row {step.pick} was picked but its tokens are {tokens}")
        if spent + tokens > budget.amount:
            break
        spent += tokens
        taken.append(step)
    else:
        if not taken:
            raise BudgetError(f"the method offers no rows for a budget of {budget}")
    if not taken:
        raise BudgetError(
            f"the first row taken (row {step.pick}) has {tokens:.0f} tokens, the budget is "
            f"{budget}; use -k {tokens:.0f}tok or more, or drop rows that are too long"
        )
    return taken


def checked(steps: Iterable[Step | int], pool_rows: int) -> Iterator[Step]:
    """Steps of a method, perhaps a user's own: a pick that is no row, or repeated, is refused."""
    seen: set[int] = set()
    for offered in steps:
        step = offered if isinstance(offered, Step) else Step(offered, "")
        pick = step.pick
        if isinstance(pick, bool) or not isinstance(pick, int | np.integer):
            raise BudgetError(
                f"the method picked {pick!r}; a pick is the position of a row, an int"
            )
        if not 0 <= pick < pool_rows:
            raise BudgetError(
                f"the method picked row {pick}; the pool has rows 0 to {pool_rows - 1}"
            )
        if pick in seen:
            raise BudgetError(f"the method picked row {pick} twice; a row is offered at most once")
        seen.add(int(pick))
        yield step._replace(pick=int(pick))


def _share(written: str) -> str:
    """What 0.05 was most likely meant to be."""
    if not _SHARE.fullmatch(written) or not (percent := (Decimal(written) * 100).normalize()):
        return ""
    return f" (did you mean {percent:f}%?)"
