"""What a template writes around the words of rows whose turns have the same roles.

Most templates write the same around any words. So that is found once for each order of roles, with
words that stand for all others. A row whose text, as the template writes it, is exactly this with
its own words in between has them there; any other row is written again with marks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

from modicum.pool import Turn
from modicum.render.template import (
    REFUSALS,
    Span,
    Template,
    Written,
    by_marks,
    each_once,
    written,
)

_EDGE = "\u2003"  # white space that a template trims like any other, and does not write itself

Shape = tuple[tuple[str, bool], ...]  # role and `train` of each turn


class Place(NamedTuple):
    """Where words stand, and at which ends the template leaves their white space alone."""

    turn: int
    left: bool
    right: bool


class Form(NamedTuple):
    """A text of one shape: what is always written, and the places between."""

    around: tuple[str, ...]  # one more than there are places
    places: tuple[Place, ...]


@dataclass(frozen=True)
class Forms:
    """The forms of a template that were found so far; `written` is the same with and without."""

    template: Template
    found: dict[Shape, Form | None] = field(default_factory=dict)

    def written(self, turns: Sequence[Turn]) -> Written:
        """As `template.written`, and with its errors, in one writing of the row where it can be."""
        shape = tuple((turn.role, turn.train) for turn in turns)
        if shape not in self.found:
            self.found[shape] = form_of(self.template, shape)
        form = self.found[shape]
        made = form and filled(form, self.template, turns)
        return made or written(self.template, turns)


def form_of(template: Template, shape: Shape) -> Form | None:
    """The form of all rows of a shape; None where every row must be looked at for itself."""
    probe = tuple(Turn(role, f"{_EDGE}w{i}{_EDGE}", train) for i, (role, train) in enumerate(shape))
    try:
        text = template.write(probe)
        spans = by_marks(template, probe, text)
    except REFUSALS:
        return None
    if (
        spans is None
        or not each_once(spans, probe)
        or {s.turn for s in spans} != set(range(len(probe)))
    ):
        return None
    spans.sort()
    edges = [0, *(edge for span in spans for edge in span[:2]), len(text)]
    around = tuple(text[a:b] for a, b in list(pairwise(edges))[::2])
    # White space of the words outside of their span: trimmed in one turn of a role, not in another.
    if any(_EDGE in piece for piece in around):
        return None
    places = [Place(s.turn, text[s.start] == _EDGE, text[s.end - 1] == _EDGE) for s in spans]
    return Form(around, tuple(places))


def filled(form: Form, template: Template, turns: Sequence[Turn]) -> Written | None:
    """The row by its form; None if the template writes it in another way."""
    if not all(turn.content.strip() for turn in turns):  # of blank words there is no place
        return None
    pieces, spans, at = [form.around[0]], list[Span](), len(form.around[0])
    for (i, left, right), after in zip(form.places, form.around[1:], strict=True):
        words = turns[i].content
        words = words if left else words.lstrip()
        words = words if right else words.rstrip()
        spans.append(Span(at, at + len(words), i))
        pieces += (words, after)
        at += len(words) + len(after)
    text = "".join(pieces)
    try:
        same = template.write(turns) == text
    except REFUSALS:
        return None
    return Written(text, tuple(spans), False) if same else None
