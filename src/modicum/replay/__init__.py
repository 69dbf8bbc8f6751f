"""Replay: which rows of old tasks to mix into the next one.

A method is called with a `Stage` and returns a `Plan`: how many rows of each old task, and which.
How many is a total shared over the tasks by weights (`Stage.share`); which is any order of a
task's rows. Any callable of this shape is a method: `-m mypackage.mymodule:MyMethod`.
"""

from typing import Protocol

from modicum.replay.stage import Plan, Stage, Task

__all__ = ["Plan", "Replay", "Stage", "Task"]


class Replay(Protocol):
    """The shape of a method."""

    def __call__(self, stage: Stage) -> Plan:
        """Rows of the old tasks, at most `stage.rows` together, each at most once."""
        ...
