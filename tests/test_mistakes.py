"""The commonest mistakes: each ends in one line that names the thing, the value and the way out."""

from __future__ import annotations

import errno
import json
import os
import shlex
from pathlib import Path
from typing import NamedTuple

import pytest

from modicum.models import Model
from test_cli import Run, run

__all__ = ["run"]

GOOD = [{"instruction": f"Say {n}.", "output": f"It is {n}."} for n in range(12)]
FILES = {
    "pool.jsonl": GOOD,
    "bad.jsonl": [*GOOD[:3], {"instruction": "Say 3.", "output": ""}],
    "odd.jsonl": [{"q": "a", "a": "b"}, {"q": "c", "a": "d"}],
    "pairs.jsonl": [{"prompt": "a", "chosen": "b", "rejected": "c"}],
    "both.jsonl": [{"instruction": "a", "output": "b", "prompt": "a", "completion": "c"}],
}
SELECT = "select pool.jsonl -m random -k 2"


class Mistake(NamedTuple):
    """A line, and what its message must name: the thing that is wrong, and the way out."""

    line: str
    wrong: str
    way_out: str


MISTAKES = {
    "a wrong path": Mistake(
        "select pol.jsonl -m random -k 2", "pol.jsonl", "did you mean pool.jsonl?"
    ),
    "a file of another kind": Mistake("select notes.txt -m random -k 2", "notes.txt", ".jsonl"),
    "columns that are not known": Mistake(
        "select odd.jsonl -m random -k 2", "odd.jsonl has the columns q, a", "--fields instruction="
    ),
    "a column that is not there": Mistake(
        f"{SELECT} --fields output=anser", "no row has a column anser", "columns are instruction"
    ),
    "a field that is not there": Mistake(
        f"{SELECT} --fields ouput=a", "no field 'ouput'", "fields are instruction, input, output"
    ),
    "a format that is not there": Mistake(
        f"{SELECT} --format alpacca", "no format 'alpacca'", "formats are messages, sharegpt"
    ),
    "columns that contradict each other": Mistake(
        "select both.jsonl -m random -k 1", "both.jsonl:1: ", "pass --format alpaca or --format"
    ),
    "preferences": Mistake(
        "select pairs.jsonl -m random -k 1", "pairs.jsonl holds preferences", "choose a side: "
    ),
    "bad rows": Mistake(
        "select bad.jsonl -m random -k 2", "bad.jsonl:4: empty answer", "--skip-bad sets them aside"
    ),
    "a text of another encoding": Mistake(
        "select latin.csv -m random -k 1", "latin.csv is not UTF-8: byte 0xe4", "save it as UTF-8"
    ),
    "a budget over the pool": Mistake(
        "select pool.jsonl -m random -k 500", "cannot pick 500 rows", "use -k 12 or fewer"
    ),
    "a budget that cannot be read": Mistake(
        "select pool.jsonl -m random -k many", "budget 'many'", "write 500 (rows), 5%"
    ),
    "a budget that holds no row": Mistake(
        "select pool.jsonl -m random -k 3tok", "the budget is 3tok", "tok or more"
    ),
    "a method that is not there": Mistake(
        "select pool.jsonl -m kcenter -k 2", "no method 'kcenter'", "k-center"
    ),
    "an option that a method has not": Mistake(
        "select pool.jsonl -m k-center -k 2 --set veiw=lexical", "no option veiw", "it has view"
    ),
    "a method without its target": Mistake(
        "select pool.jsonl -m ltd -k 2", "ltd needs rows of the task in view", "--target FILE"
    ),
    "a target with other columns": Mistake(
        "select pool.jsonl -m ltd -k 2 --target odd.jsonl", "odd.jsonl has the columns q, a", "name"
    ),
    "a score that is not there": Mistake(
        "score pool.jsonl --with los", "no score 'los'", "choose ask-llm, complexity, entropy"
    ),
    "an option of the trainer that is not there": Mistake(
        f"{SELECT} --train learning_rat=1", "learning_rat", "did you mean learning_rate?"
    ),
    "a trainer that is not there": Mistake(
        f"{SELECT} --export trll", "--export trll", "choose axolotl, llama-factory, trl"
    ),
    "too little memory": Mistake(
        "select pool.jsonl -m kmeans -k 2 --set view=lexical --memory 10kB",
        "may take 9.766 KiB",
        "give more --memory",
    ),
    "a model file that is not there": Mistake(
        f"{SELECT} --model no.gguf", "no model file no.gguf", "takes a hub id, a folder or a .gguf"
    ),
    "a model that cannot be fetched": Mistake(
        f"{SELECT} --model org/none", "org/none is not a folder here", "HF_HUB_OFFLINE"
    ),
    "a model without weights": Mistake(
        f"{SELECT} --model bare", "bare has no weights", "reads safetensors or GGUF"
    ),
    "a folder of someone else": Mistake(
        f"{SELECT} -o mine", "mine is not empty and is no run folder", "choose another -o"
    ),
    "a folder that is a file": Mistake(
        f"{SELECT} -o pool.jsonl", "pool.jsonl is a file", "choose another -o"
    ),
    "a folder of another command": Mistake(
        f"{SELECT} --seed 1 -o theirs", "its seed was 0, here it is 1", "choose another -o"
    ),
    "an option that is not there": Mistake(f"{SELECT} --seeed 1", "--seeed", "--seed"),
    "a row that is not there": Mistake(
        "show theirs r99", "theirs has no row 'r99'", "a position from 0 to 11"
    ),
    "held-out rows that are not given": Mistake(
        "select pool.jsonl -m random -k auto", "-k auto tunes and measures", "--eval FILE"
    ),
}


@pytest.fixture
def mistaken(run: Run, tiny_model: Model, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a line, by default with the tiny model, among the files of a beginner."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for name, rows in FILES.items():
        Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    Path("notes.txt").write_text("Remember the milk.")
    Path("latin.csv").write_bytes("instruction,output\nä,b\n".encode("latin-1"))
    for name in ("mine", "bare"):
        Path(name).mkdir()
    Path("mine/precious").write_text("")
    Path("bare/config.json").write_text("{}")

    def ran(line: str) -> object:
        words = shlex.split(line)
        if words[0] in ("select", "score") and "--model" not in words:
            words += ["--model", str(tiny_model.folder)]
        return run(*words)

    return ran


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_told_in_one_line_with_the_way_out(name: str, mistaken: Run):
    mistake = MISTAKES[name]
    if "theirs" in mistake.line:
        assert mistaken(f"{SELECT} -o theirs").status == 0
    ran = mistaken(mistake.line)
    assert ran.status == 2 and ran.out == ""
    assert mistake.wrong in ran.err and mistake.way_out in ran.err, ran.err
    assert len(ran.err) < 500


@pytest.mark.parametrize("what", [errno.ENOSPC, errno.EACCES, errno.EROFS])
def test_a_disk_that_takes_nothing_is_told_in_one_line(
    what: int, mistaken: Run, monkeypatch: pytest.MonkeyPatch
):
    def refuse(path: Path, *_: object, **__: object) -> None:
        raise OSError(what, os.strerror(what), str(path))

    monkeypatch.setattr(Path, "mkdir", refuse)
    ran = mistaken(f"{SELECT} -o out")
    assert ran.status == 2
    assert f"out: {os.strerror(what)}; choose another -o" in ran.err


def test_memory_that_runs_out_is_told_in_one_line(mistaken: Run, monkeypatch: pytest.MonkeyPatch):
    def exhausted(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr("modicum.jobs.select.once", exhausted)
    ran = mistaken(f"{SELECT} -o out")
    assert ran.status == 2 and "out of memory; give --memory less" in ran.err
