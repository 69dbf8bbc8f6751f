"""What is written is whole or not there, whenever the process dies; and all of it goes one way."""

from __future__ import annotations

import ast
import os
from collections.abc import Callable
from itertools import count, takewhile
from pathlib import Path

import pytest

import modicum
from dying import dies_at
from modicum import durable
from modicum.errors import InputError

SOURCE = Path(modicum.__file__).parent
# What puts a file into its place, takes it away or flushes it; in a folder that is moved into
# place as a whole, or that nobody reads again, other modules may write.
CALLS = {"rename", "unlink", "rmdir", "write_text", "write_bytes", "touch", "fsync", "rmtree"}
CALLS |= {"copyfile", "save_file", "save_model", "save_pretrained"}
ALLOWED = {
    ("models.py", "write_text"),
    ("models.py", "save_model"),
    ("models.py", "save_pretrained"),
    ("training/saving.py", "copyfile"),
    ("training/saving.py", "save_model"),
    ("training/saving.py", "save_pretrained"),
    ("training/rehearsal.py", "save_model"),
    ("training/apart.py", "save_file"),
    ("runs.py", "rmdir"),
}


def content(folder: Path) -> dict[str, str]:
    """Every file below, but what a killed write left beside its place."""
    found = {}
    for path in sorted(folder.rglob("*")):
        parts = [folder.joinpath(*path.relative_to(folder).parts[: n + 1]) for n in range(9)]
        if path.is_file() and not any(map(durable.half_written, parts)):
            found[str(path.relative_to(folder))] = path.read_text()
    return found


def written(folder: Path) -> None:
    durable.write_text(folder / "new" / "file", "after")


def streamed(folder: Path) -> None:
    if not (folder / "rows").exists():
        with durable.new_file(folder / "rows") as file:
            file.write(b"one\n")
            file.write(b"two\n")


def filled(folder: Path) -> None:
    def fill(beside: Path) -> None:
        durable.write_text(beside / "a", "a")
        (beside / "b").write_text("b")

    if not (folder / "model").exists():
        durable.new_folder(folder / "model", fill)


def appended(folder: Path) -> None:
    durable.append(folder / "lines", b"line\n")


FIRST = {"first": "stays"}
WRITES: list[tuple[Callable[[Path], None], list[dict[str, str]]]] = [
    (written, [{}, {"new/file": "after"}]),
    (streamed, [{}, {"rows": "one\ntwo\n"}]),
    (filled, [{}, {"model/a": "a", "model/b": "b"}]),
    (appended, [{}, {"lines": ""}, {"lines": "line\n"}]),
]


@pytest.mark.parametrize(("work", "states"), WRITES, ids=lambda each: getattr(each, "__name__", ""))
def test_dying_at_any_step_leaves_nothing_or_the_whole(
    work: Callable[[Path], None], states: list[dict[str, str]], tmp_path: Path
):
    allowed = [FIRST | state for state in states]
    deaths = 0
    for number in count(1):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "first").write_text("stays")
        if not dies_at(number, lambda folder=folder: work(folder)):
            break
        deaths += 1
        assert content(folder) in allowed
        if work is not appended or "line\n" not in content(folder).values():
            work(folder)
        assert content(folder) == allowed[-1]
    assert deaths >= 3
    assert content(folder) == allowed[-1]


def test_dying_at_any_step_an_older_file_is_whole_or_replaced(tmp_path: Path):
    path = tmp_path / "file"
    path.write_text("before")

    def states() -> list[str]:
        seen = []
        for _ in takewhile(
            lambda n: dies_at(n, lambda: durable.write_text(path, "after")), count(1)
        ):
            seen.append(path.read_text())
            path.write_text("before")
        return seen

    assert states() == ["before"] * 3 + ["after"] * 3


def test_files_moved_into_a_folder_go_on_after_any_death(tmp_path: Path):
    for number in count(1):
        aside, into = tmp_path / f"{number}.aside", tmp_path / str(number)
        (aside / "sub").mkdir(parents=True)
        into.mkdir()
        (into / "a").write_text("old")
        for name in ("a", "b", "sub/c"):
            (aside / name).write_text(name)
        if not dies_at(number, lambda a=aside, i=into: durable.move_files(a, i)):
            break
        found = content(into)
        assert all(found[name] in {name, "old"} for name in found)
        assert {**content(aside), **{k: v for k, v in found.items() if v != "old"}} == {
            name: name for name in ("a", "b", "sub/c") if name in {*content(aside), *found}
        }
    assert content(into) == {name: name for name in ("a", "b", "sub/c")}
    assert not aside.exists()


def test_a_writer_that_fails_leaves_nothing(tmp_path: Path):
    def fail(beside: Path) -> None:
        beside.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        durable.write(tmp_path / "a" / "file", fail)
    assert list((tmp_path / "a").iterdir()) == []


def test_a_writer_that_fails_leaves_what_was_there(tmp_path: Path):
    (tmp_path / "file").write_text("whole")

    def fail(beside: Path) -> None:
        beside.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        durable.write(tmp_path / "file", fail)
    assert content(tmp_path) == {"file": "whole"}
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_new_file_is_none_that_exists(tmp_path: Path):
    (tmp_path / "rows").write_text("mine")
    with pytest.raises(InputError, match="already exists"), durable.new_file(tmp_path / "rows"):
        pass
    assert content(tmp_path) == {"rows": "mine"}


def test_a_folder_that_another_process_made_meanwhile_is_taken(tmp_path: Path):
    def fill(beside: Path) -> None:
        (beside / "a").write_text("slow")
        durable.write_text(tmp_path / "model" / "a", "fast")

    durable.new_folder(tmp_path / "model", fill)
    assert content(tmp_path) == {"model/a": "fast"}
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_line_follows_one_that_was_left_half_written(tmp_path: Path):
    (tmp_path / "lines").write_bytes(b"one\nha")
    durable.append(tmp_path / "lines", b"two\n")
    assert (tmp_path / "lines").read_bytes() == b"one\nha\ntwo\n"


def test_a_file_its_folder_and_every_new_folder_are_flushed_in_this_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    flushed: list[str] = []
    real = os.fsync

    def fsync(opened: int) -> None:
        flushed.append(str(Path(f"/proc/self/fd/{opened}").readlink()))
        real(opened)

    monkeypatch.setattr(os, "fsync", fsync)
    durable.write_text(tmp_path / "a" / "b" / "file", "text")
    beside = flushed.pop(2)
    assert beside.startswith(str(tmp_path / "a" / "b" / ".file."))
    assert flushed == [str(tmp_path), str(tmp_path / "a"), str(tmp_path / "a" / "b")]


def test_what_is_not_there_is_removed_without_a_word(tmp_path: Path):
    (tmp_path / "folder" / "sub").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    durable.remove(tmp_path / "nothing")
    durable.remove(tmp_path / "link")
    assert (tmp_path / "folder" / "sub").is_dir()
    durable.remove(tmp_path / "folder")
    assert list(tmp_path.iterdir()) == []


def test_only_one_module_puts_files_in_their_place_and_takes_them_away():
    elsewhere = set()
    for path in sorted(SOURCE.rglob("*.py")):
        name = path.relative_to(SOURCE).as_posix()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and (called := in_place(node)) and name != "durable.py":
                elsewhere.add((name, called))
    assert elsewhere == ALLOWED


def in_place(node: ast.Call) -> str:
    """The name of what is called, if it puts a file somewhere or takes one away."""
    if isinstance(node.func, ast.Name):
        return node.func.id if node.func.id in CALLS else ""
    if not isinstance(node.func, ast.Attribute) or ast.unparse(node.func.value) == "durable":
        return ""
    path_replaced = node.func.attr == "replace" and len(node.args) == 1 and not node.keywords
    return node.func.attr if path_replaced or node.func.attr in CALLS else ""
