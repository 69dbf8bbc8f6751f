"""InsCL: Wang et al. 2024, arXiv 2403.11435. What is unlike the new task is replayed more.

The replay budget is shared over the old tasks in proportion to how far their instructions lie
from those of the new task (1-Wasserstein, cosine). Inside a task it is shared over instructions
in proportion to InsInfo: many rare tags make an instruction worth rehearsing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar, Literal, NamedTuple

import numpy as np

from modicum.errors import InputError, OptionError
from modicum.replay.instructions import Instructions, instructions, seen, vectors_of
from modicum.replay.stage import Plan, Stage, check_floor, taken
from modicum.selection import Step, pairwise, uniform
from modicum.selection.insinfo import insinfo, share_over
from modicum.selection.rows import shown
from modicum.selection.transport import Distances
from modicum.tags import tagged
from modicum.tags.keyphrases import Keyphrases
from modicum.tags.merge import merged
from modicum.views import View
from modicum.views.encoder import Encoder
from modicum.views.hidden import Hidden

_TAGS_SHOWN = 3


class _Tagged(NamedTuple):
    """An instruction's merged tags, and its InsInfo."""

    tags: tuple[str, ...]
    info: float


@dataclass(frozen=True)
class InsCL:
    """Share the budget by Wasserstein distance to the new task; pick by InsInfo inside each.

    `how_much=size|uniform` and `which=random` take one ingredient away. `masses=uniform` gives
    all instructions of a task equal mass, where the paper's better variant counts their rows.
    `floor` rows of every old task are replayed however near it is to the new one: as published a
    task that is nearly the same gets nothing. Tags less than `eps` apart are one (DBSCAN with
    `min_samples`; the paper has 5, which leaves small groups of alike tags apart). They are
    embedded by the view's encoder if it has one, otherwise by their letters.
    """

    view: View = field(default_factory=lambda: Hidden(pooling="mean", over="instruction"))
    how_much: Literal["distance", "size", "uniform"] = "distance"
    which: Literal["insinfo", "random"] = "insinfo"
    masses: Literal["frequency", "uniform"] = "frequency"
    floor: int = 0
    eps: float = 0.1
    min_samples: int = 2
    language: str = "en"

    name: ClassVar[str] = "inscl"
    paper: ClassVar[str] = "InsCL, Wang et al. 2024, arXiv 2403.11435"
    needs: ClassVar[str] = "instructions apart from inputs (--fields instruction=COLUMN), tags"
    cost: ClassVar[str] = "1 forward pass an instruction, its tags, exact transport"
    fails: ClassVar[str] = (
        "a task unlike all others soaks up the budget, be it junk; rows without a shared "
        "instruction leave only the distance to choose by"
    )

    def __post_init__(self) -> None:
        check_floor(self.floor)
        if not 0 < self.eps < 1 or self.min_samples < 1:
            raise OptionError(
                f"eps={self.eps}, min_samples={self.min_samples}; "
                "a cosine distance above 0 and below 1, and at least 1 tag, are needed"
            )

    def __call__(self, stage: Stage) -> Plan:
        tasks = [instructions(task.pool) for task in (*stage.old, stage.new)]
        names = [task.name for task in (*stage.old, stage.new)]
        distinct = {name: len(task.texts) for name, task in zip(names, tasks, strict=True)}
        stage.facts["instructions"] = distinct
        rows = sum(len(task.pool) for task in stage.old)
        if 2 * (old := sum(len(task.texts) for task in tasks[:-1])) > rows > 1:
            stage.notes.append(
                f"{rows:,} old rows have {old:,} instructions, hardly two of one: are inputs among "
                "them? --fields instruction=COLUMN says which column holds the instruction alone"
            )
        weight_J = self._weights(stage, tasks)
        quota_J = stage.share(weight_J, floor=self.floor)
        if self.which == "random" or not quota_J.any():
            orders = [uniform(len(t.pool), stage.seed_of(j)) for j, t in enumerate(stage.old)]
            return Plan(quota_J, weight_J, taken(quota_J, orders))
        tags = self._tags(stage, tasks)
        steps = (
            tuple(_picks(int(quota), tasks[j], tags[j], stage.seed_of(j)))
            for j, quota in enumerate(quota_J)
        )
        return Plan(quota_J, weight_J, tuple(steps))

    def _weights(self, stage: Stage, tasks: list[Instructions]) -> np.ndarray:
        """α_j ∝ W_{j,new}, or what takes its place."""
        if self.how_much != "distance":
            return stage.weights(self.how_much)
        masses = [task.counts for task in tasks] if self.masses == "frequency" else None
        vectors = vectors_of(self.view, tasks, stage.meter)
        names = [task.name for task in (*stage.old, stage.new)]
        for name, vectors_KD in zip(names, vectors, strict=True):
            if not np.isfinite(vectors_KD).all(axis=1).any():
                raise InputError(
                    f"the {self.view.name} view gives no instruction of task {name} a finite "
                    "vector; use another view, or --set how_much=size"
                )
        # Outside a stream all distances are told; in one, those that decide.
        found = pairwise(vectors, masses, seeds=stage.seeds(), to_last=stage.number > 0)
        stage.facts["distances"] = {"tasks": names, **found.to_json()}
        weight_J: np.ndarray = found.value_JJ[:-1, -1]
        stage.notes.extend(_doubts(names, found, weight_J))
        return weight_J

    def _tags(self, stage: Stage, tasks: list[Instructions]) -> list[list[_Tagged]]:
        """Merged tags and InsInfo of every instruction, task by task, as all tasks so far have it.

        N and the tags' frequencies are of all distinct instructions, the new task's included.
        """
        texts = list(dict.fromkeys(text for task in tasks for text in task.texts))
        tagging = tagged(
            stage.tagger or Keyphrases(language=self.language), texts, stage.meter.ledger
        )
        # A model's states of single words lie so near to each other that all would be one.
        embed = (
            partial(seen, self.view, meter=stage.meter) if isinstance(self.view, Encoder) else None
        )
        one = merged(
            tagging.tags,
            embed,
            eps=self.eps,
            min_samples=self.min_samples,
            language=self.language,
        )
        stage.facts["tags"] = {**tagging.to_json(), **one.to_json()}
        info_N = insinfo(one.tags)
        known = {
            text: _Tagged(words, float(info))
            for text, words, info in zip(texts, one.tags, info_N, strict=True)
        }
        return [[known[text] for text in task.texts] for task in tasks]


def _doubts(names: list[str], found: Distances, weight_J: np.ndarray) -> Iterator[str]:
    """What a reader should know of distances before trusting quotas that follow from them."""
    for name, unseen in zip(names, found.unseen_J, strict=True):
        if unseen:
            yield f"{unseen} instructions of {name} have no finite vector: not in its distance"
    if not len(weight_J):
        return
    if not weight_J.any():
        yield "no old task is any distance from the new one: shared by size"
    elif len(weight_J) > 1 and (error := found.error_JJ[:-1, -1].max()) > np.ptp(weight_J) / 4:
        yield (
            f"the distances, worked out from {found.support} instructions at a time, are known to "
            f"± {error:.2g} and differ by {np.ptp(weight_J):.2g}: the quotas are partly chance"
        )


def _picks(
    quota: int, task: Instructions, tagged_K: Sequence[_Tagged], seed: int
) -> Iterator[Step]:
    """The quota shared over a task's instructions, rows of one drawn at random."""
    info_K = np.array([each.info for each in tagged_K])
    share_K = share_over(quota, info_K, task.counts)
    chance = np.random.default_rng(seed)
    for k in np.argsort(-info_K, kind="stable"):
        if not share_K[k]:
            continue
        words = ", ".join(tagged_K[k].tags[:_TAGS_SHOWN]) or "none"
        reason = f"InsInfo {shown(info_K[k])} of its instruction (tags {words}), drawn from its "
        reason += f"{len(task.rows[k])} rows at random"
        for row in chance.choice(task.rows[k], share_K[k], replace=False):
            yield Step(int(row), reason, float(info_K[k]))
