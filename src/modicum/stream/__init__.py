"""Streams: tasks that come one after another, a model tuned on from each to the next.

`tasks` says what is learned and what is held out, `orders` in which order, `course` has what all
arms share, `arms` runs one method under one order and seed stage by stage, `bench` measures every
model on every task once, `run` does it all, and `summary` says what it shows.
"""

from modicum.stream.arms import Arm
from modicum.stream.bench import Bench
from modicum.stream.course import Course
from modicum.stream.run import Streamed, stream
from modicum.stream.tasks import Tasks, split

__all__ = ["Arm", "Bench", "Course", "Streamed", "Tasks", "split", "stream"]
