"""RDS+: Ivison et al. 2025, arXiv 2503.01807."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from modicum.context import Context
from modicum.plan import width_of
from modicum.selection import Step, near_groups, near_target
from modicum.selection.memory import Need
from modicum.selection.nearest import needs as nearest_needs
from modicum.selection.turns import needs as turns_needs
from modicum.views import View
from modicum.views.hidden import Hidden


@dataclass(frozen=True)
class Rds:
    """Each target row in turn takes the row most like it that is still there.

    By cosine of the states of the model that is to be tuned, weighted by position. With `turns` of
    tasks, each task of the target takes the row most like any of its own; `auto` is tasks where
    the target names several. The public code's states of a batch count padding; these do not.
    """

    view: View = field(default_factory=Hidden)
    turns: Literal["auto", "rows", "tasks"] = "auto"

    name: ClassVar[str] = "rds"
    aims: ClassVar[bool] = True
    nested: ClassVar[bool] = True
    paper: ClassVar[str] = "Large-Scale Data Selection (RDS+), 2025, arXiv 2503.01807"
    needs: ClassVar[str] = "a view, and rows of the tasks in view (--target)"
    cost: ClassVar[str] = "1 forward pass a row, of the pool and of the target"
    fails: ClassVar[str] = "without target rows like the task's: it takes what looks like them"

    def selectors(self, context: Context) -> list[Need]:
        """What the search near the target will take beside the vectors."""
        if (width := width_of(self.view, context.meter)) is None or context.target is None:
            return []
        rows, targets, memory = len(context.pool), len(context.target), context.memory
        if groups := self._tasks(context):
            beside = turns_needs(rows, width, targets, groups=len(set(groups)), memory=memory)
            return [context.need("near_groups", beside, width)]
        beside = nearest_needs(rows, width, targets=targets, memory=memory)
        return [context.need("near_target", beside, width)]

    def __call__(self, context: Context) -> Iterator[Step]:
        vectors_ND = context.vectors(self.view)
        target_MD = context.target_vectors(self.view)
        if groups := self._tasks(context):
            return near_groups(vectors_ND, target_MD, groups, memory=context.memory)
        return near_target(vectors_ND, target_MD, memory=context.memory, over=context.over)

    def _tasks(self, context: Context) -> list[str]:
        """The task of each target row, or nothing where rows take turns."""
        if context.target is None or self.turns == "rows":
            return []
        tasks = [task or "no task" for task in context.target.tasks]
        return tasks if self.turns == "tasks" or len(set(tasks)) > 1 else []
