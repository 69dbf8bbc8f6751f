"""The models of a run's rounds: each tuned when its turn has come, and removed when of no use."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from modicum import durable
from modicum.meter import Meter
from modicum.render import Rendered
from modicum.store import Store
from modicum.training.options import Recipe
from modicum.training.tune import RECORD, Tuned, tune

MEASURED = "measured"  # what was measured through a model, beside it


@dataclass(frozen=True)
class Evolving:
    """Models in folders named by the round that they were tuned in, below one folder.

    A model serves `refresh` rounds. The next is tuned from the base again, or (`continue`) from
    the last; older ones are removed unless all are kept.
    """

    folder: Path
    base: Meter
    recipe: Recipe
    seed: int
    refresh: int = 1
    restart: Literal["base", "continue"] = "base"
    keep_models: Literal["last", "all"] = "last"

    def tuned_in(self, number: int) -> int:
        """The round (from 1) whose model this round looks through."""
        return number - (number - 1) % self.refresh

    def meter(self, number: int, rendered: Rendered) -> tuple[Meter, Tuned | None]:
        """The pool through a round's model; it is tuned now, on these rows, if it is due."""
        place, tuned = self._place(self.tuned_in(number)), None
        base = self.base.model
        if number == self.tuned_in(number):
            onward = self.restart == "continue" and number > self.refresh
            before = self._place(number - self.refresh)
            tuned = tune(
                rendered,
                Tuned(before, {}).model(base) if onward else base,
                place,
                self.recipe,
                seed=self.seed,
                ledger=self.base.ledger,
                what=f"round {number}: training on {len(rendered)} rows",
            )
        return self.seen_in(number), tuned

    def kept(self, number: int) -> bool:
        """Whether a round's model is still there."""
        return (self._place(self.tuned_in(number)) / RECORD).exists()

    def seen_in(self, number: int) -> Meter:
        """The pool through a round's model, which has been tuned."""
        place = self._place(self.tuned_in(number))
        return self.base.through(Tuned(place, {}).model(self.base.model), Store(place / MEASURED))

    def tidy(self, number: int) -> None:
        """Remove what no round after this one needs."""
        for earlier in range(1, self.tuned_in(number)):
            place = self._place(earlier)
            durable.remove(place / MEASURED if self.keep_models == "all" else place)

    def leftover(self, number: int) -> Path:
        """What stays after a round for the next one: of no use once there is none."""
        return self._place(self.tuned_in(number)) / MEASURED

    def _place(self, number: int) -> Path:
        return self.folder / str(number)
