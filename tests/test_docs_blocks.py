"""The tutorial, the how-to pages and the pages of methods: their blocks run, their tables are true.

Each page is run from top to bottom in a folder of its own, as a reader would type it. Two things
differ from a reader's machine: the embedded model is replaced by one with random weights, and
tunings stop after a few steps, or, where a command makes dozens, are stand-ins. So what is printed
is compared only where a page shows it, and a page shows nothing that depends on a model; `...` in
it stands for anything.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from types import NoneType
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

import pytest

from fake_endpoint import Server, first_word, instruction_in, serving
from modicum import cli
from modicum.catalogue import ROOMS
from modicum.estimate import Rates
from modicum.parts import build, members
from quick_tuning import QuickTuning
from tiny_tokenizers import SHAPES, SPECIAL, dressed

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = {
    str(path.relative_to(DOCS)): path.read_text(encoding="utf-8")
    for path in sorted(DOCS.rglob("*.md"))
    if path.parent != DOCS or path.name in ("tutorial.md", "beats-random.md")
}
JUDGE = "http://localhost:8000/v1"  # of the pages; in the tests a server of their own
TUNES = ("select", "train")
FEW_STEPS = ["--train", "max_steps=2"]


class Block(NamedTuple):
    """A fenced block, and the comment or the line that stands before it."""

    language: str
    text: str
    before: str


class Command(NamedTuple):
    """What a reader types, and what the page shows of the answer."""

    line: str
    shown: list[str]


def blocks(page: str) -> list[Block]:
    found = re.findall(r"(?:^([^\n]*)\n+)?^```(\w*)\n(.*?)^```$", PAGES[page], re.M | re.S)
    return [Block(language, text, before) for before, language, text in found]


def commands(text: str) -> list[Command]:
    """The lines of a console block that begin with `$ `, each with what follows it."""
    parts = re.split(r"^\$ ", text.replace("\\\n", " "), flags=re.M)[1:]
    return [Command(line, shown) for line, *shown in (part.splitlines() for part in parts)]


# The machinery: a reader in a folder


def pool_tokenizer() -> Any:
    """Byte-level, with the pool's commonest pieces: rows are about as long as a real one's."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=3000, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    made.train([str(ROOT / "examples" / "pool.jsonl")], trainer)
    return dressed(made, *SHAPES["chatml"])


@pytest.fixture(scope="module")
def little_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of 2 layers with random weights, whose window holds every row of the example pool."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder, tokenizer = tmp_path_factory.mktemp("little-model"), pool_tokenizer()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=8192,
        initializer_range=0.3,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def reader(little_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the example pool, and a machine on which tuning takes no time."""
    rates = Rates(1000.0, 0.5, 100.0, 2.0, 2**30)
    (tmp_path / "examples").mkdir()
    shutil.copy(ROOT / "examples" / "pool.jsonl", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr("modicum.models._default", lambda: ("the embedded model", little_model))
    monkeypatch.setattr("modicum.models.multiplies_bfloat16", lambda _: False)
    for place in ("question", "tuning", "stream.foretold", "evidence.foretold"):
        monkeypatch.setattr(f"modicum.{place}.calibrate", lambda *_: rates)
    for place in ("evidence.arms", "stream.course"):  # tunings by the dozen: theirs are stand-ins
        monkeypatch.setattr(f"modicum.{place}.tune", QuickTuning())
    known = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - known:  # a page's own modules must not be another page's
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """An endpoint that scores every pair alike, and tags with an instruction's first word."""
    with serving(tmp_path_factory.mktemp("blocks-cache")) as server:
        server.about = lambda message: message
        server.reply = lambda message: (
            first_word(instruction_in(message)) if "<instruction>" in message else "7 6"
        )
        yield server


def shortened(words: list[str]) -> list[str]:
    """A command that tunes, to stop after a few steps."""
    given = " ".join(words)
    limited = "max_steps" in given or ".yaml" in given
    return words if limited or words[0] not in TUNES else [*words, *FEW_STEPS]


def typed(line: str) -> tuple[int, str]:
    """Exit status and output: modicum in this process, anything else in a shell."""
    if not line.startswith("modicum "):
        done = subprocess.run(line, shell=True, capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr
    printed, path = io.StringIO(), list(sys.path)
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(printed),
    ):
        patch.setattr(sys, "argv", ["modicum", *shortened(shlex.split(line)[1:])])
        try:
            cli.main()
        except SystemExit as left:
            return int(left.code or 0), printed.getvalue()
        finally:
            sys.path[:] = path


def as_shown(shown: list[str], printed: str) -> bool:
    """Whether the output is what the page shows, `...` standing for anything."""
    wanted = " ".join(" ".join(shown).split())
    pattern = re.escape(wanted).replace(re.escape("..."), ".*")
    return not wanted or bool(re.fullmatch(pattern, " ".join(printed.split()), re.S))


def file_of(block: Block) -> str | None:
    """The file that a block is: named by a comment before it, or by Python's first line."""
    named = re.search(r"file: (\S+)", block.before)
    if not named and block.language == "python":
        named = re.match(r"# (\w+\.py)\n", block.text)
    return named[1] if named else None


def run_console(block: Block, page: str, address: str) -> None:
    expected = int((re.search(r"exits: (\d)", block.before) or [0, "0"])[1])
    for line, shown in commands(block.text):
        status, printed = typed(line.replace(JUDGE, address))
        assert status == expected, f"{page}: {line}\n{printed}"
        assert as_shown(shown, printed), f"{page}: {line}\nprinted {printed}\nnot {shown}"


# What runs


@pytest.mark.parametrize("page", PAGES)
def test_every_block_of_a_page_runs(page: str, reader: Path, judge: Server):
    names: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks(page):
        if name := file_of(block):
            Path(name).write_text(block.text, encoding="utf-8")
        elif block.language == "python":
            with contextlib.redirect_stdout(io.StringIO()):
                exec(compile(block.text, page, "exec"), names)
        elif block.language == "console":
            run_console(block, page, judge.url)


@pytest.mark.parametrize("page", PAGES)
def test_a_block_that_cannot_run_says_why(page: str):
    for block in blocks(page):
        if block.language not in ("console", "python"):
            assert re.search(r"file: |[Nn]ot run here", block.before), block.text


def test_a_page_that_shows_something_else_is_found():
    assert as_shown(["3 rows", "..."], "3 rows\n1.2 s\n")
    assert as_shown([], "anything")
    assert not as_shown(["3 rows"], "4 rows")
    assert commands("$ a \\\n  b\nsaid\n$ c\n") == [Command("a    b", ["said"]), Command("c", [])]
    assert shortened(["train", "x"])[-1] == "max_steps=2" and shortened(["check", "x"]) == [
        "check",
        "x",
    ]


# What is generated


def takes(hint: Any) -> str:
    """The values that an option of this type takes, in words."""
    if get_origin(hint) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(hint))
    if kinds := get_args(hint):
        return " or ".join(takes(kind) for kind in sorted(kinds, key=lambda kind: kind is NoneType))
    words = {int: "a whole number", float: "a number", bool: "`true`, `false`", str: "text"}
    return words.get(hint, "`none`" if hint is NoneType else "")


def shown_value(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return str(value)


def options(part: Any) -> Iterator[tuple[str, str, str]]:
    """Name, default and values of each option; those of a view or score follow it."""
    hints = get_type_hints(type(part))
    for field in fields(part):
        value = getattr(part, field.name)
        if (room := f"modicum.{field.name}s") in ("modicum.views", "modicum.scores"):
            also = ["`none`"] if value is None else []
            names = ", ".join([*(f"`{name}`" for name in members(room)), *also])
            yield field.name, value.name if value is not None else "none", names
            yield from options(value) if value is not None and fields(value) else ()
        else:
            yield field.name, shown_value(value), takes(hints[field.name])


def table_of(kind: type) -> str:
    """The options of a method as its page has them."""
    if not (rows := list(options(build(kind, {})))):
        return "It has no options."
    lines = [f"| `{name}` | `{default}` | {values} |" for name, default, values in rows]
    return "\n".join(["| option | default | takes |", "|---|---|---|", *lines])


METHODS = [(command, name) for command, room in ROOMS.items() for name in members(room)]


@pytest.mark.parametrize(("command", "name"), METHODS)
def test_the_page_of_a_method_has_its_options_paper_and_cost(command: str, name: str):
    kind: Any = members(ROOMS[command])[name]
    page = PAGES.get(f"methods/{name}.md", "")
    table = table_of(kind)
    assert table in page, f"put this into docs/methods/{name}.md:\n{table}"
    for said in (kind.paper, kind.needs, kind.cost):
        assert said in " ".join(page.split()), said


def test_a_page_stands_for_every_method_and_names_each_of_its_options_in_words():
    named = {Path(page).stem for page in PAGES if page.startswith("methods/")}
    assert named == {name for _, name in METHODS}
    for command, name in METHODS:
        page = PAGES[f"methods/{name}.md"]
        for option, *_ in options(build(members(ROOMS[command])[name], {})):
            assert page.count(f"`{option}") >= 2, f"docs/methods/{name}.md: {option}"


# Does it beat random?


class Verdicts(NamedTuple):
    """How often a method's choice was told apart from chance."""

    better: int
    worse: int
    not_shown: int


def verdicts(results: str) -> dict[tuple[str, str, str], Verdicts]:
    """Of docs/results.md: paper, method, measure → the verdicts of its pairs with `random`."""
    counted: dict[tuple[str, str, str], list[int]] = {}
    paper = ""
    for line in results.splitlines():
        paper = line[4:].split(":")[0] if line.startswith("### ") else paper
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) != 7 or not cells[0].endswith(" − random"):
            continue
        verdict = cells[5].split(",")[0]
        key = (paper, cells[0].removesuffix(" − random"), cells[2])
        place = ("better", "worse", "not shown").index(verdict)
        counted.setdefault(key, [0, 0, 0])[place] += 1
    return {key: Verdicts(*counts) for key, counts in counted.items()}


def table_of_verdicts(results: str) -> str:
    """The table of docs/beats-random.md, and nothing that docs/results.md does not say."""
    if not (found := verdicts(results)):
        return "No comparison with chance is finished yet: there is nothing to count."
    lines = [
        "| paper | choice | measure | better | worse | not shown |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {' | '.join(key)} | {' | '.join(map(str, counts))} |" for key, counts in found.items()
    ]
    return "\n".join(lines)


def counted(table: str) -> str:
    return f"<!-- counted -->\n\n{table}\n\n<!-- /counted -->"


def write_the_table_of_verdicts() -> None:
    """Put the table into docs/beats-random.md anew, when docs/results.md has changed."""
    table = table_of_verdicts((DOCS / "results.md").read_text(encoding="utf-8"))
    old = r"<!-- counted -->.*<!-- /counted -->"
    made = re.sub(old, lambda _: counted(table), PAGES["beats-random.md"], flags=re.S)
    (DOCS / "beats-random.md").write_text(made, encoding="utf-8")


def test_the_page_on_chance_counts_the_verdicts_of_the_results():
    table = table_of_verdicts((DOCS / "results.md").read_text(encoding="utf-8"))
    again = "run python tests/test_docs_blocks.py, which writes"
    assert counted(table) in PAGES["beats-random.md"], f"{again}\n{table}"


def test_the_page_on_chance_has_no_number_that_the_results_lack():
    """Those of code, of links, of arXiv and of the counted table aside."""
    results = (DOCS / "results.md").read_text(encoding="utf-8")
    prose = PAGES["beats-random.md"].replace(table_of_verdicts(results), "")
    prose = re.sub(r"^```.*?^```$|`[^`]*`|\]\([^)]*\)|arXiv \S+", "", prose, flags=re.M | re.S)
    assert [number for number in re.findall(r"\d[\d.,]*", prose) if number not in results] == []


def test_verdicts_are_counted_by_paper_method_and_measure():
    results = (
        "### lobass: one (cpu)\n"
        "| lobass − random | 5% | loss | -0.1 | -0.2 to -0.1 | better | 0.1 |\n"
        "| lobass − random | 1% | loss | 0.1 | -1 to 1 | not shown, one seed | 1 |\n"
        "| lobass − longest | 5% | loss | 0.1 | 0.05 to 0.2 | worse | 0.1 |\n"
    )
    expected = {("lobass", "lobass", "loss"): Verdicts(1, 0, 1)}
    assert verdicts(results) == expected
    assert "| lobass | lobass | loss | 1 | 0 | 1 |" in table_of_verdicts(results)
    assert "nothing to count" in table_of_verdicts("")


# How pages hang together


def test_every_page_is_linked_from_the_index_and_stands_in_the_navigation():
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    menu = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    everything = sorted(str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md"))
    assert [page for page in PAGES if f"]({page})" not in index] == []
    assert [
        page for page in everything if not re.search(rf"[ :]{re.escape(page)}$", menu, re.M)
    ] == []


@pytest.mark.parametrize("page", PAGES)
def test_links_of_a_page_lead_somewhere(page: str):
    path = DOCS / page
    for link in re.findall(r"\]\(([^)\s]+)\)", PAGES[page]):
        file, _, heading = link.partition("#")
        target = Path(os.path.normpath(path.parent / file)) if file else path
        assert target.exists(), link
        titles = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.M)
        anchors = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
        assert not heading or heading in anchors, link


def site(folder: Path) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    quiet = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, env=quiet)


@pytest.mark.skipif(
    not (importlib.util.find_spec("mkdocs") and importlib.util.find_spec("material")),
    reason="the docs are built by mkdocs: pip install 'modicum[docs]'",
)
def test_the_docs_build_without_a_warning_and_ask_nothing_of_the_network(tmp_path: Path):
    built = site(tmp_path / "site")
    assert built.returncode == 0, built.stderr
    assert "WARNING" not in built.stderr, built.stderr
    pages = list((tmp_path / "site").rglob("*.html"))
    assert len(pages) > len(PAGES)
    loaded: Callable[[str], list[str]] = re.compile(
        r"""<(?:script|link|img|iframe)[^>]+(?:src|href)=["']?(?:https?:)?//[^\s"'>]+"""
    ).findall
    assert [found for page in pages for found in loaded(page.read_text(encoding="utf-8"))] == []


if __name__ == "__main__":
    write_the_table_of_verdicts()
