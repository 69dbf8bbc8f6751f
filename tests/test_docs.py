"""The documentation says what the program does: its commands run and print what it shows."""

from __future__ import annotations

import ast
import contextlib
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq
import pytest
import typer

from modicum import cli
from modicum.catalogue import ROOMS, told
from modicum.estimate import Rates
from modicum.ledger import Ledger
from modicum.models import Model
from modicum.parts import members

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "modicum"
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "docs").glob("*.md")}
EVERYTHING = "\n".join([README, *PAGES.values()])
COMMANDS: dict[str, Any] = typer.main.get_command(cli.app).commands  # type: ignore[attr-defined]


class Block(NamedTuple):
    """A fenced block of the README."""

    language: str
    text: str


class Shown(NamedTuple):
    """A command of the README and the output that stands below it."""

    command: str
    output: list[str]


class Ran(NamedTuple):
    """What a command of the README did."""

    shown: Shown
    status: int
    printed: list[str]


BLOCKS = [Block(*found) for found in re.findall(r"^```(\w*)\n(.*?)^```$", README, re.M | re.S)]


def console() -> list[Shown]:
    """The commands of the README that can be run here, in order."""
    every: list[Shown] = []
    for block in BLOCKS:
        if block.language == "console":
            for part in re.split(r"^\$ ", block.text, flags=re.M)[1:]:
                command, *output = part.splitlines()
                every.append(Shown(command, output))
    return every


def comparable(lines: list[str]) -> list[str]:
    """Lines without what differs from run to run: seconds, and the white space around."""
    return [re.sub(r"\d+\.\d s\b", "… s", line.strip()) for line in lines if line.strip()]


@pytest.fixture(scope="module")
def ran(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Ran]]:
    """Every block of the README run in order in one folder, with a store of its own."""
    folder = tmp_path_factory.mktemp("reader")
    (folder / "examples").mkdir()
    shutil.copy(ROOT / "examples" / "pool.jsonl", folder / "examples")
    (own := tmp_path_factory.mktemp("readme-cache")).joinpath("measured").mkdir()
    for shared in ("models", "hashes"):  # the converted model is that of the other tests
        (cache / shared).mkdir(exist_ok=True)
        (own / shared).symlink_to(cache / shared)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("MODICUM_CACHE", str(own))
        for block in BLOCKS:
            if block.language == "python" and block.text.startswith("# "):
                Path(block.text.partition("\n")[0][2:]).write_text(block.text, encoding="utf-8")
        yield {shown.command: run(shown) for shown in console()}


def run(shown: Shown) -> Ran:
    """Modicum in this process, where the model's libraries are loaded; anything else in a shell."""
    if not shown.command.startswith("modicum "):
        done = subprocess.run(shown.command, shell=True, capture_output=True, text=True)
        return Ran(shown, done.returncode, done.stdout.splitlines())
    printed, path = io.StringIO(), list(sys.path)
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.setattr(sys, "argv", shlex.split(shown.command))
        try:
            cli.main()
        except SystemExit as left:
            status = int(left.code or 0)
        finally:
            sys.path[:] = path
    return Ran(shown, status, printed.getvalue().splitlines())


@pytest.mark.real
@pytest.mark.parametrize("command", [shown.command for shown in console()])
def test_a_command_of_the_readme_prints_what_the_readme_shows(command: str, ran: dict[str, Ran]):
    shown, status, printed = ran[command]
    assert status == 0
    assert comparable(printed) == comparable(shown.output)


@pytest.mark.real
def test_the_python_of_the_readme_runs(ran: dict[str, Ran], capsys: pytest.CaptureFixture[str]):
    blocks = [b.text for b in BLOCKS if b.language == "python" and not b.text.startswith("# ")]
    for text in blocks:
        exec(compile(text, "README.md", "exec"), {})
    assert len(blocks) == 1 and len(blocks[0].splitlines()) == 10
    assert "nearest earlier pick" in capsys.readouterr().out
    assert Path("runs/python/subset.jsonl").exists()


@pytest.mark.real
def test_output_md_names_every_file_key_and_column_of_a_run(ran: dict[str, Ran]):
    words: set[str] = set()
    for folder in (Path("runs/spread"), Path("runs/scores")):
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        words |= {path.name.replace("subset.jsonl", "subset.*") for path in folder.iterdir()}
        words |= manifest.keys() | manifest["model"].keys() | manifest["counts"].keys()
        words |= manifest["inputs"][0].keys() | set(
            pq.read_table(folder / "rows.parquet").schema.names
        )
    assert len(words) > 35
    assert [word for word in sorted(words) if f"`{word}`" not in PAGES["output.md"]] == []


def test_readers_md_gives_every_reason_for_a_bad_row():
    calls = [
        node.args[0].value
        for path in (SOURCE / "readers").glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and getattr(node.func, "id", "") in ("BadRow", "Fault")
        and isinstance(node.args[0], ast.Constant)
    ]
    assert len(set(calls)) > 20
    assert [reason for reason in calls if f"`{reason}`" not in PAGES["readers.md"]] == []


def test_measuring_md_explains_every_figure_of_the_ledger():
    figures = [figure.name for figure in fields(Ledger) if not figure.name.startswith("_")]
    assert [name for name in figures if f"| `{name}` |" not in PAGES["measuring.md"]] == []


@pytest.fixture(scope="module")
def trained(
    tiny_file: Path, tiny_model: Model, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """Run folders of what trains, made with the tiny model."""
    folder, rates = tmp_path_factory.mktemp("trained"), Rates(1000.0, 0.5, 100.0, 2.0, 2**30)
    lines = {
        "evolved": "select {} -m diverse-evol -k 4 --set initial=2 --set rounds=1",
        "tuned": "train {} --lora",
    }
    short = f"--model {tiny_model.folder} --precision float32 --train num_train_epochs=1"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("modicum.question.calibrate", lambda *_: rates)  # takes longer than the rest
        for name, line in lines.items():
            command = f"modicum {line.format(tiny_file)} {short} -o {folder / name}"
            assert run(Shown(command, [])).status == 0
    return {name: folder / name for name in lines}


def keys(facts: object) -> set[str]:
    """The keys of an object and those in it; not the trainer's, the adapter's, names of files."""
    if isinstance(facts, list):
        return set().union(*map(keys, facts))
    if not isinstance(facts, dict):
        return set()
    own = ("given", "options", "lora", "versions", "ledger", "method", "files")
    return set(facts).union(*(keys(value) for key, value in facts.items() if key not in own))


@pytest.mark.parametrize(
    ("run", "file", "part", "page"),
    [
        ("tuned", "training.json", None, "training.md"),
        ("tuned", "manifest.json", "counts", "output.md"),
        ("evolved", "rounds.json", None, "methods.md"),
        ("evolved", "manifest.json", "predicted", "output.md"),
        ("evolved", "manifest.json", "cost", "output.md"),
        ("evolved", "plan.json", None, "output.md"),
    ],
)
def test_a_page_names_every_key_of_what_training_leaves(
    run: str, file: str, part: str | None, page: str, trained: dict[str, Path]
):
    facts = json.loads((trained[run] / file).read_text(encoding="utf-8"))
    found = keys(facts if part is None else facts[part])
    assert len(found) >= 7
    assert [key for key in sorted(found) if f"`{key}`" not in PAGES[page]] == []


def test_output_md_names_every_key_and_file_of_a_run_that_trains(trained: dict[str, Path]):
    words = {"adapter/", "reference/"}
    for path in trained["evolved"].iterdir():
        words.add(f"{path.name}/" if path.is_dir() else path.name.replace(".jsonl", ".*"))
    for folder in trained.values():
        words |= json.loads((folder / "manifest.json").read_text(encoding="utf-8")).keys()
    assert [word for word in sorted(words) if f"`{word}`" not in PAGES["output.md"]] == []


def test_training_md_gives_every_option_that_is_refused_and_every_default_of_ours():
    from modicum.training.given import _REFUSED
    from modicum.training.options import _ours

    place = {"lora": False, "bfloat16": False, "longest": 10, "cpu": True}
    silent = {"disable_tqdm", "bf16", "use_cpu", "dataloader_pin_memory"}  # follow the machine
    ours = {name for name in _ours({}, **place) if not name.endswith("_checkpointing")} - silent
    words = sorted({*_REFUSED, *ours})
    assert len(words) > 40
    assert [word for word in words if f"`{word}`" not in PAGES["training.md"]] == []


def table_of_methods(room: str) -> str:
    """A table of docs/methods.md, as the methods say it of themselves."""
    lines = ["| method | options | paper | needs | cost | fails |", "|---|---|---|---|---|---|"]
    for each in (told(name, kind) for name, kind in members(room).items()):
        options = "<br>".join(f"`{key}={value}`" for key, value in flat(each["options"])) or "none"
        cells = [
            f"`{each['name']}`",
            options,
            *(each[k] for k in ("paper", "needs", "cost", "fails")),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def flat(options: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Options as `--set` takes them, those of a view or score after the one that chooses it."""
    for key, value in options.items():
        if isinstance(value, dict):
            yield key, value["name"]
            yield from flat({k: v for k, v in value.items() if k != "name"})
        else:
            yield key, json.dumps(value).strip('"').replace("null", "none")


@pytest.mark.parametrize("room", ROOMS.values())
def test_methods_md_has_the_tables_that_the_program_prints(room: str):
    table = table_of_methods(room)
    assert table in PAGES["methods.md"], f"put this into docs/methods.md:\n{table}"


@pytest.mark.parametrize("room", ["methods", "views", "scores", "filters"])
def test_the_page_of_a_room_names_every_member_and_its_options(room: str):
    page = PAGES[f"{room}.md"]
    for name, kind in members(f"modicum.{room}").items():
        assert f"`{name}`" in page, name
        assert [f.name for f in fields(kind) if f"`{f.name}" not in page] == [], name


def test_the_readme_names_every_method_and_every_command():
    for room in ROOMS.values():
        assert [name for name in members(room) if f"| `{name}` |" not in README] == []
    assert [name for name in COMMANDS if f"modicum {name} " not in README] == []
    assert [name for name in COMMANDS if f"modicum {name} " not in PAGES["index.md"]] == []


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_option_of_a_command_is_explained(command: str):
    options = [option for param in COMMANDS[command].params for option in param.opts]
    assert len(options) > 1
    named = [option for option in options if option.startswith("-")]
    assert [o for o in named if not re.search(rf"`{o}(?![\w-])", EVERYTHING)] == []


def test_every_page_is_linked_from_the_index():
    assert [
        name for name in PAGES if name != "index.md" and f"]({name})" not in PAGES["index.md"]
    ] == []


@pytest.mark.parametrize(
    "page", ["README.md", "CONTRIBUTING.md", *(f"docs/{name}" for name in PAGES)]
)
def test_relative_links_lead_somewhere(page: str):
    path = ROOT / page
    for link in re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8")):
        file, _, heading = link.partition("#")
        target = Path(os.path.normpath(path.parent / file)) if file else path
        assert target.exists(), link
        titles = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.M)
        anchors = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
        assert not heading or heading in anchors, link


def test_the_tree_of_the_source_names_every_module():
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    tree = page.partition("```\nsrc/modicum/\n")[2].partition("```")[0]
    modules = {
        p.name for p in SOURCE.rglob("*.py") if p.name != "__init__.py" or p.parent == SOURCE
    }
    assert set(re.findall(r"\b\w+\.py\b", tree)) == modules


def test_the_changelog_says_each_thing_in_at_most_25_words():
    entries = re.findall(r"^- (.*)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)
    assert len(entries) > 5
    assert [entry for entry in entries if len(entry.split()) > 25] == []
