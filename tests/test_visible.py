"""Nothing that comes from outside is obeyed by a terminal: it is shown."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from rich.table import Table

from modicum.models import Model
from modicum.progress import progress
from modicum.visible import as_json, console
from test_cli import Run, run

__all__ = ["run"]

ESCAPE = "\x1b]0;owned\x07\x1b[2J\x9b1m"
HOSTILE = f"a{ESCAPE}b\u202ec"
SHOWN = "a␛]0;owned␇␛[2J\ufffd1mb⟨U+202E⟩c"
OBEYED = ("\x1b", "\x07", "\x9b", "\u202e")


def test_a_console_shows_what_it_is_given(capsys: pytest.CaptureFixture[str]):
    out = console(width=100)
    table = Table(HOSTILE, title=HOSTILE)
    table.add_row(HOSTILE)
    out.print(HOSTILE, markup=False)
    out.print(table)
    shown = capsys.readouterr().out
    assert shown.count(SHOWN) == 4
    assert not any(sign in shown for sign in OBEYED)


def test_json_says_the_same_in_signs_that_no_terminal_obeys():
    said = {"text": f"{HOSTILE}\x7f\ud800", "world": "世界"}
    made = as_json(said)
    assert json.loads(made) == said
    assert "世界" in made
    assert not any(sign in made for sign in (*OBEYED, "\x7f", "\ud800"))


def test_a_bar_shows_what_it_is_called(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr("modicum.progress._PATIENCE", -1)
    monkeypatch.setenv("TERM", "xterm")
    with progress(HOSTILE, 10) as advance:
        advance(5)
    drawn = capsys.readouterr().err
    assert "␛]0;owned␇" in drawn
    assert "\x1b]0;owned" not in drawn and "\u202e" not in drawn


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A pool whose names, columns, sources, tasks, rows and file name are hostile."""
    path = tmp_path / f"pool{ESCAPE}.jsonl"
    rows = [
        {"id": f"{n}{HOSTILE}", "source": f"{n % 2}{HOSTILE}", "task": HOSTILE, HOSTILE: n}
        | {"instruction": f"{HOSTILE} {n}?", "output": f"{HOSTILE} {n}."}
        for n in range(8)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in [*rows, {HOSTILE: HOSTILE}]))
    return path


REPLAY = "replay --old POOL --new POOL -m random -k 3"
LINES = [
    ["check", "POOL"],
    ["select", "POOL", "-m", "k-center", "-k", "3", "--skip-bad", "-o", "out"],
    ["select", "POOL", "-m", "random", "-k", "3"],  # a bad row: refused
    ["select", "POOL", "-m", HOSTILE, "-k", "3"],
    ["select", "POOL", "-m", "random", "-k", HOSTILE],
    ["select", "POOL", "-m", "random", "-k", "3", "--fields", f"output={HOSTILE}!"],
    ["select", f"no{HOSTILE}.jsonl", "-m", "random", "-k", "3"],
    ["score", "POOL", "--with", "length", "--skip-bad", "-o", "scores"],
    [*REPLAY.split(), "--skip-bad", "--fields", "task=task", "-o", "mix.jsonl"],
]


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize("line", LINES, ids=lambda line: "-".join(line[:1]))
def test_no_command_prints_what_a_terminal_obeys(
    line: list[str], as_json: bool, run: Run, hostile: Path, tiny_model: Model
):
    words = [str(hostile) if word == "POOL" else word for word in line]
    model = ["--model", str(tiny_model.folder)]
    ran = run(*words, *model, *["--json"] * as_json)
    assert not any(sign in ran.out + ran.err for sign in OBEYED), ran
