"""`modicum replay`, from the line to a file that trainers take."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import modicum.mixed
from modicum.cli import several
from modicum.models import Model
from modicum.pool import Pool
from test_cli import Ran, Run, run

__all__ = ["run"]

OWN = """
import numpy as np
from modicum.replay import Plan
from modicum.selection import Step

def first(stage):
    '''The first row of each old task.'''
    ones = np.ones(len(stage.old))
    return Plan(ones.astype(int), ones, tuple((Step(0, "it is the first"),) for _ in stage.old))
"""
TRL_SCRIPT_STEPS = 1


def save(path: Path, asked: str, rows: int, **more: Any) -> Path:
    path.parent.mkdir(exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        for n in range(rows):
            turns = [
                ("user", f"{asked} {n}"),
                ("assistant", f"{asked.split()[-1]} {n}, of course."),
            ]
            messages = [{"role": role, "content": content} for role, content in turns]
            file.write(json.dumps({"messages": messages} | more) + "\n")
    return path


@pytest.fixture
def replay(run: Run, tmp_path: Path, tiny_model: Model) -> Run:
    """`modicum replay -o mix.jsonl` with the tiny model, where two old files and a new one are."""
    save(tmp_path / "a.jsonl", "Add 1 to", 6)
    save(tmp_path / "b.jsonl", "Name something like", 4)
    save(tmp_path / "new.jsonl", "Spell", 3)

    def ran(*words: object, out: str = "mix.jsonl") -> Ran:
        model = ("--model", tiny_model.folder, "--precision", "float32")
        return run("replay", *words, *model, "-o", out)

    return ran


LINE = ("--old", "a.jsonl", "b.jsonl", "--new", "new.jsonl", "-m", "random", "-k", 5)


def manifest(path: str = "mix.jsonl") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(f"{path}.manifest.json").read_text())
    return found


def quotas() -> dict[str, int]:
    return {task["task"]: task["replayed"] for task in manifest()["tasks"]}


def test_replay_writes_a_mix_and_says_what_is_replayed_of_each_task(replay: Run) -> None:
    ran = replay(*LINE)
    assert ran.status == 0
    lines = [line.split() for line in ran.out.splitlines()]
    assert lines[0][:6] == ["3", "new", "rows", "and", "5", "replayed"]
    assert ["a", "6", "6", "60.0%", "3"] in lines and ["b", "4", "4", "40.0%", "2"] in lines
    assert lines[-1] == ["mix.jsonl"]
    assert len(Pool.read("mix.jsonl")) == 8


def test_json_has_counts_tasks_notes_and_the_file(replay: Run) -> None:
    told = replay(*LINE, "--json").json
    assert (told["new"], told["replayed"], told["rows"], told["again"]) == (3, 5, 8, False)
    assert told["file"] == "mix.jsonl" and [t["task"] for t in told["tasks"]] == ["a", "b"]
    assert told["notes"] == [] and "seconds" in told["ledger"]


def test_old_may_be_repeated_or_name_several_files(replay: Run) -> None:
    assert replay(*LINE).status == 0
    apart = ("--old", "a.jsonl", "--old", "b.jsonl", *LINE[3:])
    assert replay(*apart, out="other.jsonl").status == 0
    assert Path("other.jsonl").read_bytes() == Path("mix.jsonl").read_bytes()


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("replay --old a b --new n m -k 5", "replay --old a --old b --new n --new m -k 5"),
        ("replay --old a --old b c --json", "replay --old a --old b --old c --json"),
        ("replay -k 5 a", "replay -k 5 a"),
        ("check a b", "check a b"),
    ],
)
def test_an_option_of_several_files_is_read_as_one_given_several_times(
    given: str, read: str
) -> None:
    assert several(given.split()) == read.split()


def test_a_task_is_called_as_its_file_is_or_as_the_user_says(replay: Run) -> None:
    line = ("--old", "sums=a.jsonl", "b.jsonl", *LINE[3:])
    assert replay(*line).status == 0
    assert quotas() == {"sums": 3, "b": 2}


def test_a_column_names_the_task_of_every_row(replay: Run, tmp_path: Path) -> None:
    sums = save(tmp_path / "x.jsonl", "Add 2 to", 2, kind="sums")
    with Path("a.jsonl").open("a") as file:
        file.write(sums.read_text())
    ran = replay("--old", "x.jsonl", "a.jsonl", *LINE[3:], "--fields", "task=kind", "--skip-bad")
    assert ran.status == 2 and "have no task" in ran.err and "a.jsonl:1" in ran.err
    ran = replay("--old", "x.jsonl", *LINE[3:], "--fields", "task=kind")
    assert ran.status == 0 and quotas() == {"sums": 2}


def test_a_single_file_whose_rows_all_say_their_task_is_as_many_tasks(
    replay: Run, tmp_path: Path
) -> None:
    parts = [save(tmp_path / f"{n}.jsonl", f"Add {n} to", n, task=f"plus {n}") for n in (2, 3)]
    old = save(tmp_path / "old.jsonl", "", 0)
    old.write_text("".join(part.read_text() for part in parts))
    assert replay("--old", "old.jsonl", *LINE[3:]).status == 0
    assert quotas() == {"plus 2": 2, "plus 3": 3}
    assert replay("--old", "sums=old.jsonl", *LINE[3:], out="named.jsonl").status == 0
    assert [task["task"] for task in manifest("named.jsonl")["tasks"]] == ["sums"]
    assert replay("--old", "old.jsonl", "a.jsonl", *LINE[3:], out="two.jsonl").status == 0
    assert [task["task"] for task in manifest("two.jsonl")["tasks"]] == ["old", "a"]


def test_two_files_of_one_name_are_refused_until_they_are_named(
    replay: Run, tmp_path: Path
) -> None:
    save(tmp_path / "more" / "a.jsonl", "Add 3 to", 2)
    ran = replay("--old", "a.jsonl", "more/a.jsonl", *LINE[3:])
    assert ran.status == 2 and "two files are called 'a'; name the tasks: NAME=" in ran.err
    assert not list(tmp_path.glob("*mix*"))
    assert replay("--old", "a.jsonl", "three=more/a.jsonl", *LINE[3:]).status == 0
    assert list(quotas()) == ["a", "three"]


def test_the_same_line_again_does_nothing_and_another_is_refused(replay: Run) -> None:
    assert replay(*LINE).status == 0
    before = Path("mix.jsonl").stat().st_mtime_ns
    ran = replay(*LINE)
    assert ran.status == 0 and ran.out.startswith("finished before; nothing was done")
    assert replay(*LINE, "--json").json["again"] is True
    others = {
        "budget": (*LINE[:-1], 6),
        "seed": (*LINE, "--seed", 1),
        "settings": (*LINE, "--set", "floor=1"),
        "names": ("--old", "sums=a.jsonl", *LINE[2:]),
        "new_task": (*LINE[:4], "words=new.jsonl", *LINE[5:]),
    }
    for what, other in others.items():
        ran = replay(*other)
        assert ran.status == 2 and f"written by another command: its {what} was" in ran.err
    assert Path("mix.jsonl").stat().st_mtime_ns == before


def test_a_renamed_task_does_not_go_on_with_what_another_name_began(
    replay: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_json = modicum.mixed.write_json

    def interrupted(path: Path, content: Any) -> None:
        if path.name == "mix.jsonl.manifest.json":
            raise KeyboardInterrupt
        write_json(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(modicum.mixed, "write_json", interrupted)
        assert replay(*LINE).status == 130
    begun = Path("mix.jsonl").read_bytes()
    ran = replay("--old", "sums=a.jsonl", *LINE[2:])
    assert ran.status == 2 and "this command did not write it" in ran.err
    assert replay(*LINE).status == 0 and Path("mix.jsonl").read_bytes() == begun


def test_a_changed_input_makes_another_command(replay: Run, tmp_path: Path) -> None:
    assert replay(*LINE).status == 0
    save(tmp_path / "b.jsonl", "Name another like", 4)
    ran = replay(*LINE)
    assert ran.status == 2 and "another command" in ran.err


def test_bad_rows_stop_the_command_or_are_set_aside(replay: Run) -> None:
    with Path("a.jsonl").open("a") as file:
        file.write('{"messages": []}\n')
    ran = replay(*LINE)
    assert ran.status == 2 and "a.jsonl:7" in ran.err and "--skip-bad" in ran.err
    assert replay(*LINE, "--skip-bad").status == 0
    (told,) = Path("mix.jsonl.rejected.jsonl").read_text().splitlines()
    assert json.loads(told)["row"] == 7 and manifest()["counts"]["rejected"] == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--tagger", "http://localhost:1"), "--tagger-model NAME belong together"),
        (("--tagger-model", "m"), "--tagger URL and --tagger-model"),
        (("--set", "floor=-1"), "floor=-1"),
        (("--set", "clusters=3"), "random has no option clusters"),
        (("--set", "how_much=distance"), "how_much=distance: give size or uniform"),
        (("--too-long", "cut"), "--too-long cut: choose drop"),
        (("--max-tokens", 2), "none of the 3 new rows can be used"),
        (("--fields", "task=kind"), "kind"),
        (("--fields", "tags=labels"), "no row has a column labels"),
    ],
)
def test_a_wrong_line_is_refused_and_leaves_nothing(
    replay: Run, tmp_path: Path, words: tuple[object, ...], said: str
) -> None:
    ran = replay(*LINE, *words)
    assert ran.status == 2 and said in ran.err
    assert not list(tmp_path.glob("*mix*"))


def test_an_ending_that_cannot_hold_a_new_row_is_refused_before_the_model_is_used(
    replay: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("modicum.replay.surprise.Surprise.__call__")  # it would fail otherwise
    Path("new.jsonl").write_text(json.dumps({"instruction": "Spell", "output": "a\0"}) + "\n")
    ran = replay(*LINE[:5], "-m", "surprise", "-k", 5, out="mix.csv")
    assert ran.status == 2 and "new.jsonl:1: it holds NUL bytes" in ran.err
    assert not list(tmp_path.glob("*mix*"))


def test_unknown_methods_and_budgets_are_refused(replay: Run) -> None:
    ran = replay(*LINE[:5], "-m", "longest", "-k", 5)
    assert (
        ran.status == 2
        and "choose balanced, inscl, kpig, none, prototype, random, surprise" in ran.err
    )
    ran = replay(*LINE[:5], "-m", "random", "-k", "some")
    assert ran.status == 2 and "budget 'some' cannot be read" in ran.err
    ran = replay(*LINE, out="mix.txt")
    assert ran.status == 2 and "mix.txt" in ran.err


def test_no_input_is_overwritten(replay: Run) -> None:
    before = Path("a.jsonl").read_bytes()
    ran = replay(*LINE, out="a.jsonl")
    assert ran.status == 2 and "did not write it; choose another -o" in ran.err
    assert Path("a.jsonl").read_bytes() == before


def test_a_method_of_the_users_own(replay: Run, tmp_path: Path) -> None:
    (tmp_path / "ours.py").write_text(OWN)
    assert replay(*LINE[:5], "-m", "ours:first", "-k", 5).status == 0
    found = manifest()
    assert [each["reason"] for each in found["replayed"]] == ["it is the first"] * 2
    assert [each["where"] for each in found["replayed"]] == ["a.jsonl:1", "b.jsonl:1"]
    assert found["method"] == {"name": "ours:first"}


def test_inscl_says_what_it_measured(replay: Run) -> None:
    ran = replay(*LINE[:5], "-m", "inscl", "-k", 4)
    assert ran.status == 0 and "tags by keyphrases: " in ran.out
    found = manifest()
    assert found["distances"]["tasks"] == ["a", "b", "new"] and found["versions"]["POT"]
    assert found["tags"]["tagger"] == "keyphrases" and sum(quotas().values()) == 4
    assert found["method"]["view"]["over"] == "instruction"


def test_the_page_names_every_key_of_the_manifest(replay: Run) -> None:
    assert replay(*LINE[:5], "-m", "inscl", "-k", 4).status == 0
    found = manifest()
    page = (Path(__file__).parent.parent / "docs" / "replay.md").read_text(encoding="utf-8")
    words = {*found, *found["counts"], *found["distances"], *found["tasks"][0]}
    words |= {*found["replayed"][0], *found["inputs"]}
    assert len(words) > 35
    assert [word for word in sorted(words) if f"`{word}`" not in page] == []


def test_other_formats_take_the_new_files(replay: Run, tmp_path: Path) -> None:
    alpaca = [{"instruction": "Add", "input": str(n), "output": str(n)} for n in range(3)]
    pq.write_table(pa.Table.from_pylist(alpaca), tmp_path / "old.parquet")
    ran = replay("--old", "old.parquet", "--new", "new.jsonl", "-m", "random", "-k", 2)
    assert ran.status == 0 and Pool.read("mix.jsonl").files[0].format == "messages"
    ran = replay("--old", "a.jsonl", "--new", "old.parquet", *LINE[5:], out="mix.parquet")
    assert ran.status == 0 and Pool.read("mix.parquet").files[0].format == "alpaca"


# A mix is ready to train on


def tune_by_trl(path: str, model: Model, folder: Path) -> int:
    """What a user of TRL writes; the steps it made."""
    import datasets
    from trl import SFTConfig, SFTTrainer

    rows = datasets.load_dataset("json", data_files=path, split="train", cache_dir=str(folder))
    options = SFTConfig(
        output_dir=str(folder / "out"),
        max_steps=TRL_SCRIPT_STEPS,
        per_device_train_batch_size=2,
        use_cpu=True,
        bf16=False,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    trainer = SFTTrainer(model=str(model.folder), args=options, train_dataset=rows)
    return int(trainer.train().global_step)


def test_modicum_train_and_a_plain_trl_script_take_the_mix(
    replay: Run, run: Run, tmp_path: Path, tiny_model: Model
) -> None:
    assert replay(*LINE).status == 0
    model = ("--model", tiny_model.folder, "--precision", "float32")
    ran = run("train", "mix.jsonl", *model, "-o", "tuned", "--train", "num_train_epochs=1")
    assert ran.status == 0
    assert json.loads(Path("tuned/training.json").read_text())["rows"] == 8
    assert tune_by_trl("mix.jsonl", tiny_model, tmp_path / "trl") == TRL_SCRIPT_STEPS


def test_a_mix_of_super_naturalinstructions_is_taken_by_both(
    replay: Run, run: Run, tmp_path: Path, tiny_model: Model, data: Path
) -> None:
    names = super_ni(data, tmp_path, tasks=6, rows=20)
    line = ("--old", *(f"{name}.jsonl" for name in names[:-1]), "--new", f"{names[-1]}.jsonl")
    ran = replay(*line, "-m", "inscl", "-k", 25, "--fields", "instruction=definition", "--json")
    assert ran.status == 0, ran.err
    assert ran.json["replayed"] == 25 and len(ran.json["tasks"]) == 5
    model = ("--model", tiny_model.folder, "--precision", "float32")
    ran = run("train", "mix.jsonl", *model, "-o", "tuned", "--train", "num_train_epochs=1")
    assert ran.status == 0
    assert tune_by_trl("mix.jsonl", tiny_model, tmp_path / "trl") == TRL_SCRIPT_STEPS


def super_ni(data: Path, folder: Path, tasks: int, rows: int) -> list[str]:
    """Short rows of so many categories, a file each; their names."""
    columns = ["id", "task", "messages", "definition"]
    table = pq.read_table(data / "pools" / "superni_train" / "part-0.parquet", columns=columns)
    names: list[str] = []
    for name in sorted(pc.unique(table["task"]).to_pylist()):
        found = table.filter(pc.equal(table["task"], name)).slice(0, 3000).to_pylist()
        short = [r for r in found if sum(len(m["content"]) for m in r["messages"]) < 400]
        if len(names) < tasks and len(short) >= rows:
            text = "".join(json.dumps(r) + "\n" for r in short[:: len(short) // rows][:rows])
            (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
            names.append(name)
    return names
