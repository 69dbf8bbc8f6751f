"""The command line, from `sys.argv` to exit status, output and folders."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq
import pytest
import torch

import modicum
from modicum.cli import main
from modicum.models import Model

OWN_METHODS = """
from dataclasses import dataclass

@dataclass(frozen=True)
class Last:
    '''Rows from the end.'''
    skip: int = 0
    def __call__(self, context):
        return [*reversed(range(len(context.pool) - self.skip))]

def first(context):
    return range(len(context.pool))
"""
# Measures with small batches, writes each to the store at once, and is killed after the third.
KILLED = """
import os, signal, sys
import modicum.measure as measure
from modicum.cli import main

measure.FLUSH_SECONDS, measure.BATCH_TOKENS = 0, 200
flush, done = measure._flush, []

def flush_and_die(blocks, pending):
    flush(blocks, pending)
    done.append(1)
    if len(done) == 3:
        os.kill(os.getpid(), signal.SIGKILL)

measure._flush = flush_and_die
main()
"""
METHOD_KEYS = ("name", "paper", "needs", "cost", "fails")
FILE_KEYS = {"path", "format", "rows", "good", "bad", "reasons"}


class Ran(NamedTuple):
    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Ran]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a line in a folder of its own. Errors are one line without a traceback."""
    monkeypatch.chdir(tmp_path)

    def ran(*words: object) -> Ran:
        monkeypatch.setattr(sys, "path", list(sys.path))
        monkeypatch.setattr(sys, "argv", ["modicum", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main()
        status, (out, err) = stopped.value.code or 0, capsys.readouterr()
        said = [line for line in err.splitlines() if line.startswith("modicum: ")]
        assert len(said) == (status in (2, 130)), err
        assert "Traceback" not in err
        told = [line for line in err.splitlines() if re.match(r"modicum: |note: |\d+ of ", line)]
        return Ran(int(status), out, "\n".join(told))

    return ran


@pytest.fixture
def select(run: Run, tiny_file: Path, tiny_model: Model) -> Run:
    """`modicum select` on the tiny pool with the tiny model."""

    def selected(*words: object, pool: object = tiny_file) -> Ran:
        model = ("--model", tiny_model.folder, "--precision", "float32")
        return run("select", pool, *model, *words)

    return selected


@pytest.fixture
def bad_file(tmp_path: Path) -> Path:
    """Five rows: the first and the last are good."""
    rows = ['{"instruction": "a", "output": "b"}', "{", '{"instruction": "a", "output": ""}', "3"]
    path = tmp_path / "bad.jsonl"
    path.write_text("\n".join([*rows, '{"instruction": "c", "output": "d"}']) + "\n")
    return path


def test_select_writes_the_folder_and_says_what_it_picked(select: Run, tiny_file: Path):
    ran = select("-m", "longest", "-k", 3, "-o", "out")
    assert ran.status == 0
    assert "12 rows; 3 picked" in ran.out
    assert re.search(r"length \d+, number 1 from the top", ran.out)
    files = {path.name for path in Path("out").iterdir()}
    measured = {"rows.parquet", "texts.parquet", "report.html", "report.json"}
    assert files == {"subset.jsonl", "manifest.json", "command.json"} | measured


def test_select_json_counts_rows(select: Run):
    found = select("-m", "random", "-k", "25%", "-o", "out", "--json").json
    assert (found["kept"], found["rejected"], found["picked"]) == (12, 0, 3)
    assert found["subset"] == [str(Path("out") / "subset.jsonl")]


def test_a_budget_in_tokens_is_not_exceeded(select: Run):
    found = select("-m", "random", "-k", "300tok", "--json").json
    assert 0 < found["tokens_picked"] <= 300


def test_without_o_the_same_line_finds_its_folder_again(select: Run):
    line = ("-m", "random", "-k", 2, "--json")
    first, again, other = select(*line).json, select(*line).json, select(*line, "--seed", 1).json
    assert Path(first["folder"]).parent == Path("runs")
    assert Path(first["folder"]).name.startswith("tiny-random-2-s0-")
    assert (first["again"], again["again"]) == (False, True)
    assert again["folder"] == first["folder"] != other["folder"]


def test_the_same_line_on_a_finished_folder_does_nothing_and_says_so(select: Run):
    line = ("-m", "k-center", "-k", 3, "-o", "out")
    assert select(*line).status == 0
    before = {path: path.stat().st_mtime_ns for path in Path("out").iterdir()}
    ran = select(*line)
    assert ran.status == 0
    assert "finished before; nothing was done" in ran.out
    assert {path: path.stat().st_mtime_ns for path in Path("out").iterdir()} == before


def test_an_unfinished_folder_goes_on_over_what_a_killed_run_left(select: Run):
    line = ("-m", "longest", "-k", 3, "-o", "out", "--json")
    select(*line)
    whole = Path("out/subset.jsonl").read_bytes()
    Path("out/manifest.json").unlink()
    Path("out/subset.jsonl").write_bytes(whole[:10])
    Path("out/.rows.parquet.0a.part").write_bytes(b"half")
    ran = select(*line)
    assert (ran.status, ran.json["again"], ran.json["picked"]) == (0, False, 3)
    assert Path("out/subset.jsonl").read_bytes() == whole
    assert not list(Path("out").glob(".*"))


def test_another_command_on_a_folder_is_refused(select: Run):
    select("-m", "random", "-k", 2, "-o", "out")
    ran = select("-m", "random", "-k", 3, "-o", "out")
    assert ran.status == 2
    assert ran.err.endswith('its budget was "2", here it is "3"; choose another -o')


def test_a_line_that_was_refused_can_be_put_right_in_the_same_folder(select: Run):
    assert select("-m", "random", "-k", 13, "-o", "out").status == 2
    assert select("-m", "random", "-k", 12, "-o", "out").status == 0


def test_a_folder_of_someone_else_is_refused(select: Run):
    Path("mine").mkdir()
    Path("mine/thesis.tex").write_text("x")
    ran = select("-m", "random", "-k", 2, "-o", "mine")
    assert (ran.status, "mine is not empty and is no run folder" in ran.err) == (2, True)
    ran = select("-m", "random", "-k", 2, "-o", "mine/thesis.tex")
    assert (ran.status, "is a file, not a folder" in ran.err) == (2, True)


def test_settings_reach_the_method_and_its_view(select: Run):
    options = ("--set", "view=lexical", "--set", "dimensions=64")
    select("-m", "k-center", "-k", 2, "-o", "out", *options)
    method = json.loads(Path("out/manifest.json").read_text())["method"]
    assert (method["view"]["name"], method["view"]["dimensions"]) == ("lexical", 64)


def test_options_in_brackets_are_the_methods_as_in_compare(select: Run):
    ran = select(
        "-m", "kmeans(view=lexical, clusters=3)", "-k", 2, "-o", "out", "--set", "clusters=9"
    )
    assert ran.status == 0, ran.err
    found = json.loads(Path("out/manifest.json").read_text())["method"]
    assert (found["name"], found["view"]["name"], found["clusters"]) == ("kmeans", "lexical", 3)


def test_a_subset_of_named_columns_says_how_its_line_named_them(select: Run):
    rows = [{"q": f"Spell {word}.", "a": "-".join(word)} for word in ("dog", "cow", "hen")]
    Path("p.jsonl").write_text("\n".join(map(json.dumps, rows)))
    line, fields = ("-m", "random", "-k", 2), "--fields instruction=q,output=a"
    assert select(*line, *fields.split(), "-o", "run", pool="p.jsonl").status == 0
    refused = select(*line, "-o", "again", pool="run/subset.jsonl")
    assert f"as in the line that wrote it: {fields}" in refused.err


def test_a_refused_line_leaves_no_folder_but_the_users(select: Run):
    Path("mine").mkdir()
    for out in ("mine", "new"):
        assert select("-m", "random", "-k", 13, "-o", out).status == 2
    assert Path("mine").is_dir() and not Path("new").exists()


def test_without_a_method_rows_are_drawn(select: Run):
    assert select("-k", 3, "-o", "out").status == 0
    assert json.loads(Path("out/manifest.json").read_text())["method"]["name"] == "random"


def test_the_version_is_told(run: Run):
    assert run("--version").out == f"modicum {modicum.__version__}\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("-m nope -k 2", "there is no method 'nope': choose ask-llm, deita,"),
        ("-m k_center -k 2", "there is no method 'k_center' (did you mean k-center?): choose"),
        ("-m random -k 0.05", "budget '0.05' cannot be read (did you mean 5%?); write 500"),
        ("-m longest(depth=3) -k 2", "longest has no option depth; it has cap"),
        ("-m random -k 0", "budget '0' cannot be read; write 500 (rows), 5%"),
        ("-m random -k 13", "cannot pick 13 rows: the pool has 12; use -k 12 or fewer"),
        ("-m longest -k 2 --set depth=3", "longest has no option depth; it has cap"),
        ("-m longest -k 2 --set cap=x", "cap=x: give a whole number or none"),
        ("-m longest -k 2 --set cap", "--set cap: write KEY=VALUE"),
        ("-m longest -k 2 --set cap=1 --set cap=2", "--set cap is given twice"),
        ("-m longest -k 2 --set seed=2", "longest has no option seed; it has cap"),
        ("-m random -k 2 --seed -1", "seed -1: give a whole number from 0 to 4294967295"),
        ("-m random -k 2 --too-long cut", "--too-long cut: choose drop, truncate-prompt, error"),
        ("-m random -k 2 --max-tokens 0", "Invalid value for '--max-tokens'"),
        ("-m random -k 2 --precision int8", "--precision int8: choose auto, bfloat16, float32"),
        ("-m random -k 2 --fields a", "--fields a: write KEY=VALUE"),
        ("-m random -k 2 --format csv", "csv"),
        ("-m random -k 2 --target nope.jsonl", "nope.jsonl does not exist"),
        ("-m ltd -k 2", "ltd needs rows of the task in view: --target FILE"),
        ("-m random", "Missing option '-k'"),
        ("-m random -k 2 --depth 3", "No such option: --depth"),
        ("-m no.module:Method -k 2", "no.module:Method cannot be imported: No module named 'no'"),
        ("-m random -k 2 --model nope.gguf", "no model file nope.gguf"),
    ],
)
def test_a_wrong_command_is_one_line_and_status_two(select: Run, words: str, said: str):
    ran = select(*words.split())
    assert ran.status == 2
    assert said in ran.err
    assert not Path("runs").exists() or not list(Path("runs").rglob("manifest.json"))


def test_bad_rows_stop_the_command_with_their_count_and_the_first(select: Run, bad_file: Path):
    ran = select("-m", "random", "-k", 1, pool=bad_file)
    assert ran.status == 2
    assert "3 of 5 rows cannot be used: " in ran.err
    assert f"{bad_file}:2: not JSON" in ran.err
    assert f"{bad_file}:4: not an object (3)" in ran.err
    assert "--skip-bad sets them aside" in ran.err


def test_bad_rows_are_set_aside_if_asked(select: Run, bad_file: Path):
    found = select("-m", "random", "-k", 1, "-o", "out", "--skip-bad", "--json", pool=bad_file).json
    assert (found["rows"], found["kept"], found["rejected"]) == (5, 2, 3)
    rejected = [json.loads(line) for line in Path("out/rejected.jsonl").read_text().splitlines()]
    assert [(row["file"], row["row"]) for row in rejected] == [
        (str(bad_file), n) for n in (2, 3, 4)
    ]
    assert all(row["reason"] for row in rejected)


def test_a_file_of_bad_rows_only_is_refused_even_so(select: Run):
    Path("all.jsonl").write_text('{"instruction": "a", "output": ""}\n' * 2)
    ran = select("-m", "random", "-k", 1, "--skip-bad", pool="all.jsonl")
    assert (ran.status, "none of the 2 rows can be used; the first: all.jsonl:1:" in ran.err) == (
        2,
        True,
    )


def test_long_rows_are_dropped_cut_or_an_error(select: Run):
    line = ("-m", "random", "-k", 2, "--max-tokens", 50, "--json")
    dropped = select(*line).json
    assert dropped["left_out"] == {"too long": 5}
    cut = select(*line, "--too-long", "truncate-prompt").json
    assert cut["left_out"].get("too long", 0) < 5
    ran = select(*line, "--too-long", "error")
    assert (ran.status, "tiny.jsonl:6: 79 tokens, the limit is 50" in ran.err) == (2, True)


def test_chosen_rows_and_evaluation_rows_are_left_out(select: Run):
    Path("chosen.jsonl").write_text('{"instruction": "Spell cat.", "output": "c-a-t"}\n')
    Path("asked.jsonl").write_text('{"instruction": "Say hello."}\n')
    beside = ("--chosen", "chosen.jsonl", "--decontaminate", "asked.jsonl")
    found = select("-m", "random", "-k", 10, "-o", "out", "--json", *beside).json
    assert found["left_out"] == {"already chosen": 1, "in the evaluation rows": 1}
    rows = pq.read_table("out/rows.parquet").to_pylist()
    reasons = {row["id"]: row["reason"] for row in rows if not row["picked"]}
    assert reasons["r6"] == "already chosen: chosen.jsonl:1"
    assert reasons["r3"].startswith("in the evaluation rows: exact match with asked.jsonl:1")


def test_a_target_that_changed_is_another_command(select: Run):
    line = ("-m", "ltd", "-k", 2, "--target", "task.jsonl", "-o", "out", "--set", "clusters=2")
    Path("task.jsonl").write_text('{"instruction": "Spell dog.", "output": "d-o-g"}\n')
    assert select(*line).status == 0
    Path("task.jsonl").write_text('{"instruction": "Spell cow.", "output": "c-o-w"}\n')
    ran = select(*line)
    assert (ran.status, "its target changed" in ran.err) == (2, True)


def test_other_rows_are_read_as_the_pool_where_they_have_its_columns(select: Run):
    rows = [{"q": f"Spell {n}.", "a": "-".join(n)} for n in ("dog", "cow", "hen", "owl")]
    Path("asked.jsonl").write_text("\n".join(map(json.dumps, rows)))
    Path("alike.jsonl").write_text(json.dumps(rows[0]))
    Path("known.jsonl").write_text('{"instruction": "Spell cow.", "output": "c-o-w"}\n')
    Path("else.jsonl").write_text('{"x": 1}\n{"x": 2}\n')
    Path("bad.jsonl").write_text(json.dumps({**rows[0], "a": ""}))
    line = ("-m", "random", "-k", 1, "--fields", "instruction=q,output=a")
    for other in ("alike.jsonl", "known.jsonl"):
        ran = select(*line, "--chosen", other, "-o", other[:5], pool="asked.jsonl")
        assert ran.status == 0, ran.err
        found = json.loads(Path(f"{other[:5]}/manifest.json").read_text())["counts"]["left_out"]
        assert found == {"already chosen": 1}
    assert (
        "call its columns as the pool's are called, or instruction and output"
        in select(*line, "--chosen", "else.jsonl", pool="asked.jsonl").err
    )
    assert (
        "bad.jsonl:1: empty answer"
        in select(*line, "--chosen", "bad.jsonl", pool="asked.jsonl").err
    )


def test_a_method_of_the_users_own_is_found_in_the_current_folder(select: Run):
    Path("own_methods_here.py").write_text(OWN_METHODS)
    line = ("-k", 2, "--json", "-o")
    select("-m", "own_methods_here:Last", "--set", "skip=1", *line, "a")
    select("-m", "own_methods_here:first", *line, "b")
    picked = [
        [
            row["position"]
            for row in pq.read_table(f"{out}/rows.parquet").to_pylist()
            if row["picked"]
        ]
        for out in "ab"
    ]
    assert picked == [[9, 10], [0, 1]]
    method = json.loads(Path("a/manifest.json").read_text())["method"]
    assert method == {"name": "own_methods_here:Last", "skip": 1}


def test_score_writes_a_column_for_each_score(run: Run, tiny_file: Path, tiny_model: Model):
    line = ("score", tiny_file, "--model", tiny_model.folder, "--precision", "float32", "-o", "out")
    ran = run(*line, "--with", "length, ifd")
    assert (ran.status, "ifd" in ran.out) == (0, True)
    names = pq.read_table("out/rows.parquet").column_names
    assert names == ["id", "source", "position", "tokens", "length", "ifd", "reason"]
    assert "finished before" in run(*line, "--with", "length,ifd").out
    assert "its scores was" in run(*line, "--with", "length").err
    assert "there is no score 'nope'" in run(*line, "--with", "nope").err
    assert "write SCORE,SCORE(option=value)" in run(*line, "--with", ",").err


def test_check_says_no_where_rows_are_bad(run: Run, bad_file: Path, tiny_model: Model):
    ran = run("check", bad_file, "--model", tiny_model.folder, "--json")
    assert ran.status == 1
    (file,) = ran.json["files"]
    assert set(file) == FILE_KEYS
    assert (file["format"], file["rows"], file["good"], file["bad"]) == ("alpaca", 5, 2, 3)
    assert sum(file["reasons"].values()) == 3
    assert run("check", bad_file, "--model", tiny_model.folder).status == 1


def test_check_goes_on_behind_a_file_that_cannot_be_read(
    run: Run, tiny_file: Path, tiny_model: Model
):
    Path("pools").mkdir()
    Path("pools/a.jsonl").write_text(tiny_file.read_text(), encoding="utf-16")
    Path("pools/b.jsonl").write_bytes(tiny_file.read_bytes())
    line = ("check", "pools", "--model", tiny_model.folder)
    ran = run(*line, "--json")
    (why,) = ran.json["unreadable_files"]
    assert (ran.status, ran.json["ok"]) == (1, False)
    assert why.startswith("pools/a.jsonl is UTF-16")
    assert [file["path"] for file in ran.json["files"]] == ["pools/b.jsonl"]
    assert f"unreadable files  1\n  {why}" in run(*line).out
    ran = run(*line, "--fields", "messages=q")
    assert ran.status == 2
    assert "a.jsonl is UTF-16" in ran.err and "b.jsonl has no column q" in ran.err
    Path("pools/b.jsonl").unlink()
    assert run(*line).status == 2


def test_check_says_yes_where_all_rows_are_good(run: Run, tiny_file: Path, tiny_model: Model):
    line = ("check", tiny_file, "--model", tiny_model.folder, "--max-tokens", 50)
    ran = run(*line, "--json")
    assert (ran.status, ran.json["ok"]) == (0, True)
    assert (ran.json["tokens"]["limit"], len(ran.json["tokens"]["too_long"])) == (50, 5)
    assert "12 good" in run(*line).out


def test_methods_are_listed_for_people_and_machines(run: Run):
    listed = run("methods", "--json").json
    assert {"random", "longest", "k-center", "kmeans", "ifd", "ifd-ppl", "ltd"} <= {
        each["name"] for each in listed
    }
    for each in listed:
        assert all(
            isinstance(each[key], str) for key in ("name", "paper", "needs", "cost", "fails")
        )
    assert all(each["name"] in run("methods").out for each in listed)
    assert "options  cap=None" in run("methods", "longest").out
    assert run("methods", "nope").status == 2
    assert "did you mean k-center?" in run("methods", "k_center").err
    assert "--filter NAME: band, between, duplicates, semdedup" in run("methods").out


def test_interrupted_work_is_status_130(select: Run, monkeypatch: pytest.MonkeyPatch):
    def interrupt(*args: Any, **more: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("modicum.choose.spend", interrupt)
        ran = select("-m", "random", "-k", 2, "-o", "out")
    assert (ran.status, ran.err) == (
        130,
        "modicum: interrupted; run the same line again to go on",
    )
    assert select("-m", "random", "-k", 2, "-o", "out").status == 0


def test_a_folder_that_cannot_be_made_is_one_line(select: Run):
    Path("file").write_text("x")
    ran = select("-m", "random", "-k", 1, "-o", "file/below")
    assert (ran.status, "file" in ran.err) == (2, True)


def test_no_command_shows_the_help(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(sys, "argv", ["modicum"])
    with pytest.raises(SystemExit):
        main()
    out, err = capsys.readouterr()
    assert "Usage: modicum" in out + err
    assert "modicum: " not in err.replace("Usage: modicum", "")


def test_dirty_files_are_read_or_refused_in_one_line(select: Run, data: Path):
    files = [json.loads(line)["file"] for line in (data / "dirty/MANIFEST.jsonl").open()]
    slow = {"15_huge_line.jsonl.gz", "36_bomb.jsonl.gz"}
    for n, name in enumerate(file for file in files if file not in slow):
        line = ("-m", "random", "-k", 1, "--skip-bad", "-o", f"out-{n}", "--json")
        ran = select(*line, pool=data / "dirty" / name)
        if ran.status == 0:
            assert ran.json["rows"] == ran.json["kept"] + ran.json["rejected"], name
            assert Path(f"out-{n}/rejected.jsonl").exists() == bool(ran.json["rejected"]), name
        else:
            assert name in ran.err, ran.err


def command(*words: object, folder: Path) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, *map(str, words)]
    return subprocess.run(line, cwd=folder, capture_output=True, text=True, check=False)


def test_the_module_runs_as_a_program(tmp_path: Path):
    ran = command("-m", "modicum", "methods", "random", "--json", folder=tmp_path)
    assert (ran.returncode, json.loads(ran.stdout)[0]["name"]) == (0, "random")
    ran = command("-m", "modicum", "methods", "nope", folder=tmp_path)
    assert (ran.returncode, ran.stdout, ran.stderr.count("\n")) == (2, "", 1)


def test_a_killed_run_goes_on_to_the_same_bytes(
    select: Run, tiny_model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    rows = [{"instruction": f"Count to {n}.", "output": "one " * (n % 17 + 1)} for n in range(60)]
    Path("pool.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ("-m", "ifd", "-k", 5, "--set", "drop_above_one=false", "-o", "out")
    model = ("--model", tiny_model.folder, "--precision", "float32")
    monkeypatch.setenv("MODICUM_CACHE", str(tmp_path / "cache"))
    # As many threads as this process has: how sums are shared out may show in the last bit.
    monkeypatch.setenv("OMP_NUM_THREADS", str(torch.get_num_threads()))
    killed = command("-c", KILLED, "select", "pool.jsonl", *model, *words, folder=tmp_path)
    assert killed.returncode == -9
    assert [path.name for path in Path("out").iterdir()] == ["command.json"]

    monkeypatch.setattr("modicum.measure.BATCH_TOKENS", 200)
    assert select(*words, pool="pool.jsonl").status == 0
    reused = json.loads(Path("out/manifest.json").read_text())["ledger"]["rows_reused"]
    assert 0 < reused < 60
    finished = Path("out/rows.parquet").read_bytes()
    os.rename("out", "killed")  # noqa: PTH104
    monkeypatch.setenv("MODICUM_CACHE", str(tmp_path / "another-cache"))
    assert select(*words, pool="pool.jsonl").status == 0
    assert Path("out/rows.parquet").read_bytes() == finished


def test_files_given_twice_are_all_read(select: Run, tiny_file: Path, tmp_path: Path):
    lines = tiny_file.read_text().splitlines(keepends=True)
    for name, part in (("a.jsonl", lines[:3]), ("b.jsonl", lines[5:7])):
        (tmp_path / name).write_text("".join(part))
    twice = ("-m", "random", "-k", 2, "--json")
    chosen = select(*twice, "--chosen", "a.jsonl", "--chosen", "b.jsonl").json
    assert chosen["left_out"] == {"already chosen": 6}  # row 4 says the same as row 1
    tested = select(*twice, "--decontaminate", "a.jsonl", "--decontaminate", "b.jsonl").json
    assert tested["left_out"] == {"in the evaluation rows": 6}


def test_scores_may_be_named_in_several_words(run: Run, tiny_file: Path, tiny_model: Model):
    words = ("--with", "length", "--with", "loss", "--model", tiny_model.folder, "-o", "out")
    assert run("score", tiny_file, *words, "--precision", "float32").status == 0
    assert {"length", "loss"} <= set(pq.read_schema("out/rows.parquet").names)


def test_a_score_takes_options_in_brackets(run: Run, tiny_file: Path, tiny_model: Model):
    line = ("score", tiny_file, "--model", tiny_model.folder, "--precision", "float32", "-o", "out")
    Path("own.txt").write_text("{instruction} {answer}: is it any good, Yes or No?")
    asked = (*line, "--with", "length,ask-llm(prompt=own.txt)")
    assert run(*asked).status == 0
    told = json.loads(Path("out/manifest.json").read_text())
    assert told["scores"] == ["length", "ask-llm"]
    assert told["options"]["ask-llm"]["prompt"] == "own.txt"
    assert "finished before" in run(*asked).out
    Path("own.txt").write_text("{instruction} {answer}: is it bad, Yes or No?")
    assert "another command" in run(*asked).err
    assert "ask-llm is given twice" in run(*asked, "--with", "ask-llm").err


def test_a_changed_method_is_another_command(select: Run, tmp_path: Path):
    own = tmp_path / "changing.py"
    own.write_text("def f(context):\n    return [0, 1]\n")
    assert select("-m", "changing:f", "-k", 1, "-o", "out").status == 0
    assert "finished before" in select("-m", "changing:f", "-k", 1, "-o", "out").out
    own.write_text("def f(context):\n    return [1, 0]  # the other way round\n")
    ran = select("-m", "changing:f", "-k", 1, "-o", "out")
    assert (ran.status, "code was" in ran.err) == (2, True)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("def f(context)", "cannot be imported: "),
        ("def f(context): pass", "returned NoneType"),
        ("import random as f", "f is module, which cannot be called"),
    ],
)
def test_a_method_that_is_none_is_one_line(select: Run, tmp_path: Path, code: str, said: str):
    name = f"broken{abs(hash(code))}"
    (tmp_path / f"{name}.py").write_text(code + "\n")
    ran = select("-m", f"{name}:f", "-k", 1)
    assert (ran.status, said in ran.err) == (2, True), ran.err


def test_results_inside_the_input_folder_are_not_read(select: Run, tiny_file: Path):
    Path("pool").mkdir()
    Path("pool/rows.jsonl").write_bytes(tiny_file.read_bytes())
    line = ("-m", "random", "-k", 2, "-o", "pool/out")
    assert select(*line, pool="pool").status == 0
    assert "finished before" in select(*line, pool="pool").out
    left = select("-m", "random", "-k", 2, "--chosen", "pool/out", "--json", pool="pool").json
    assert left["left_out"]["already chosen"] >= 2  # a run folder stands for its subset


def test_a_finished_run_without_its_subset_is_not_called_finished(select: Run):
    assert select("-m", "random", "-k", 2, "-o", "out").status == 0
    Path("out/subset.jsonl").unlink()
    ran = select("-m", "random", "-k", 2, "-o", "out")
    assert (ran.status, "subset.jsonl is missing" in ran.err) == (2, True)


def test_copies_among_the_picks_are_said(select: Run):
    assert "picks that say the same as another pick: 1;" in select("-m", "random", "-k", 12).out
    assert "holds all rows" in select("-m", "random", "-k", "9ktok").out


@pytest.mark.parametrize("twice", ["-m random -m longest", "-k 2 --budget 3", "--plan a --plan b"])
def test_what_seems_to_add_up_but_would_replace_is_refused_twice(run: Run, twice: str):
    more = "" if "plan" in twice else "-k 2" if "-m" in twice else "-m random"
    ran = run("select", "pool.jsonl", *twice.split(), *more.split())
    assert ran.status == 2
    assert "is given twice; give it once" in ran.err


def test_too_little_memory_is_refused_in_one_line_before_anything_is_measured(select: Run):
    ran = select("-m", "kmeans", "-k", 2, "--memory", "10kB", "-o", "out")
    assert ran.status == 2
    assert "kmeans needs" in ran.err and "may take 9.766 KiB" in ran.err
    assert not list(Path("out").glob("*"))
    assert select("-m", "k-center", "-k", 2, "--memory", "much").status == 2


def test_memory_changes_no_pick_and_makes_no_other_command(select: Run):
    line = ("-m", "k-center", "-k", 4, "--precision", "float32", "-o", "out")
    assert select(*line).status == 0
    assert "finished before" in select(*line, "--memory", "1GiB").out


def test_a_dry_run_says_what_the_selector_will_take(select: Run):
    line = ("-m", "kmeans", "-k", 2, "--set", "view=lexical", "--memory", "1GiB", "--dry-run")
    assert "kmeans will take at most" in select(*line).out
    assert "it may take 1 GiB" in select(*line).out
    plan = select(*line, "--json").json
    assert plan["memory_limit_bytes"] == 2**30
    assert [need["selector"] for need in plan["selectors"]] == ["kmeans"]
