"""`modicum stream`, from the line to the folder and what is printed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from modicum.errors import OptionError
from modicum.lineup import lineup
from modicum.models import Model
from modicum.replay.chance import Nothing, RandomReplay
from modicum.replay.inscl import InsCL
from modicum.views.encoder import Encoder
from test_cli import Ran, Run, run
from test_stream import ASKED, Tunings, quick, replayed, task_files

__all__ = ["quick", "run"]


@pytest.fixture
def stream(run: Run, quick: Tunings, tiny_model: Model, tmp_path: Path) -> Run:
    """`modicum stream` on three tasks of six rows with the tiny model."""
    files = task_files(tmp_path)

    def streamed(*words: object, paths: tuple[object, ...] = files, generate: bool = False) -> Ran:
        model = ("--model", tiny_model.folder, "--precision", "float32")
        how = ("--max-new-tokens", 2) if generate else ("--no-generate",)
        return run("stream", *paths, *model, *how, *words)

    return streamed


def record(folder: str = "out") -> dict[str, Any]:
    return json.loads((Path(folder) / "stream.json").read_text())


def sizes() -> list[tuple[str, int, int]]:
    """Rows to learn and held-out rows of each task."""
    return [(each["task"], each["train"], each["test"]) for each in record()["tasks"]]


SHORT = ("-k", 2, "--holdout", 2, "-o", "out")


# What is done


def test_a_stream_prints_a_matrix_the_numbers_and_the_differences(stream: Run):
    ran = stream("-m", "inscl,random", *SHORT, generate=True)
    assert ran.status == 0
    assert "inscl-given-s0: rouge_l of each task after each stage" in ran.out
    for word in ("AP", "BWT", "F", "inscl − random", "tokens trained on", "stream.json"):
        assert word in ran.out
    assert "one seed: of the tested rows alone" in ran.out
    assert record()["measures"] == ["loss", "exact", "rouge_l"]
    assert ran.err.splitlines() == ["1 of 2 arms: inscl-given-s0", "2 of 2 arms: random-given-s0"]


def test_a_page_that_cannot_be_made_is_said(stream: Run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("modicum.report.page.html", lambda page: 1 / 0)
    ran = stream("-m", "none", *SHORT)
    assert ran.status == 0 and "note: no page, or not all of it: ZeroDivisionError" in ran.out


def test_several_orders_and_seeds_are_an_arm_each(stream: Run):
    ran = stream("-m", "none", "--order", "given, hard-easy", "--seed", 3, "--seeds", 2, *SHORT)
    assert ran.status == 0 and "all" in ran.out
    assert [arm["name"] for arm in record()["arms"]] == [
        "none-given-s3",
        "none-given-s4",
        "none-hard-easy-s3",
        "none-hard-easy-s4",
    ]
    assert record()["measures"] == ["loss"] and record()["pairs"] == []


def test_json_has_the_record_without_the_stages(stream: Run):
    found = stream("-m", "random,none", "--json", *SHORT).json
    whole = record()
    assert found["summary"] == whole["summary"] and found["pairs"] == whole["pairs"]
    assert [arm["matrix"] for arm in found["arms"]] == [arm["matrix"] for arm in whole["arms"]]
    assert "stages" not in found["arms"][0] and found["again"] is False
    assert found["folder"] == "out" and found["ledger"]["trainings"] == 3 + 2 * 2


def test_a_line_can_give_a_method_twice_with_other_options(stream: Run):
    methods = "inscl,inscl(which=random),inscl(how_much=uniform, which=random)"
    assert stream("-m", methods, "--set", "floor=1", *SHORT).status == 0
    arms = {arm["method"]: arm for arm in record()["arms"]}
    assert list(arms) == [
        "inscl",
        "inscl(which=random)",
        "inscl(how_much=uniform,which=random)",
    ]
    chosen = [arm["options"] for arm in arms.values()]
    assert [(each["how_much"], each["which"]) for each in chosen] == [
        ("distance", "insinfo"),
        ("distance", "random"),
        ("uniform", "random"),
    ]
    assert [each["floor"] for each in chosen] == [1, 1, 1]
    assert arms["inscl(which=random)"]["name"] == "inscl_which=random-given-s0"
    assert all((Path("out/arms") / arm["name"] / "2.json").exists() for arm in arms.values())


@pytest.mark.parametrize(("share", "held_out"), [("5", 5), ("30%", 2), ("50%", 3)])
def test_so_much_is_held_out_of_each_task(stream: Run, share: str, held_out: int):
    assert stream("-m", "none", "-k", 2, "--holdout", share, "-o", "out").status == 0
    assert sizes() == [(task, 6 - held_out, held_out) for task in ASKED]


def test_what_is_tested_on_can_be_given(stream: Run, tmp_path: Path):
    words = [w for file in task_files(tmp_path / "eval", first=4) for w in ("--eval", file)]
    ran = stream("-m", "none", "-k", 2, *words, "-o", "out")
    assert ran.status == 0
    assert sizes() == [(task, 4, 6) for task in ASKED]
    assert record()["tasks"][0]["held_out"] == [f"sums{i}" for i in range(4, 10)]
    manifest = json.loads(Path("out/manifest.json").read_text())
    assert manifest["counts"]["left_out"] == {"held out as well": 6}
    told = [(each["id"], each["reason"]) for each in manifest["left_out"]]
    assert told[:2] == [("sums4", "held out as well"), ("sums5", "held out as well")]


def test_one_file_with_a_task_column_is_a_stream(stream: Run, tmp_path: Path):
    lines = []
    for file in task_files(tmp_path):
        for line in Path(file).read_text().splitlines():
            lines.append(json.dumps(json.loads(line) | {"task": Path(file).stem[:3]}))
    Path("all.jsonl").write_text("\n".join(lines))
    assert stream("-m", "none", *SHORT, paths=("all.jsonl",)).status == 0
    assert [task["task"] for task in record()["tasks"]] == ["sum", "col", "riv"]


def test_a_folder_is_a_task_for_each_of_its_files(stream: Run, tmp_path: Path):
    task_files(tmp_path / "tasks")
    assert stream("-m", "none", *SHORT, paths=("tasks",)).status == 0
    assert [task["task"] for task in record()["tasks"]] == sorted(ASKED)


def test_a_share_of_the_old_rows_is_replayed(stream: Run):
    assert stream("-m", "random", "-k", "50%", "--holdout", 2, "-o", "out").status == 0
    stages = record()["arms"][0]["stages"]
    assert [len(replayed(stage)) for stage in stages[1:]] == [2, 4]


def test_bad_rows_are_set_aside_when_asked(stream: Run, tmp_path: Path):
    with (tmp_path / "sums.jsonl").open("a") as file:
        file.write('{"instruction": "a", "output": ""}\n')
    assert stream("-m", "none", *SHORT).status == 2
    assert stream("-m", "none", "--skip-bad", *SHORT).status == 0
    assert len(Path("out/rejected.jsonl").read_text().splitlines()) == 1
    assert json.loads(Path("out/manifest.json").read_text())["counts"]["rejected"] == 1


def test_bad_rows_of_what_is_tested_on_are_set_aside_and_counted_too(stream: Run, tmp_path: Path):
    files = task_files(tmp_path / "eval", first=10)
    for path in (tmp_path / "sums.jsonl", Path(files[0])):
        with path.open("a") as file:
            file.write('{"instruction": "a", "output": ""}\n')
    words = ("-m", "none", "-k", 2, *(w for file in files for w in ("--eval", file)), "-o", "out")
    ran = stream(*words)
    assert ran.status == 2 and "1 of 19 rows cannot be used" in ran.err
    assert stream("--skip-bad", *words).status == 0
    rejected = [json.loads(line) for line in Path("out/rejected.jsonl").read_text().splitlines()]
    assert [row["file"] for row in rejected] == [str(tmp_path / "sums.jsonl"), files[0]]
    counts = json.loads(Path("out/manifest.json").read_text())["counts"]
    assert (counts["rejected"], counts["kept"]) == (2, 18 + 18)


# The same line, and another


def test_the_same_line_again_does_nothing_and_another_is_refused(stream: Run, quick: Tunings):
    line = ("-m", "random,none", *SHORT)
    assert stream(*line).status == 0
    trained, before = len(quick.trained), Path("out/stream.json").stat().st_mtime_ns
    again = stream(*line)
    assert again.status == 0 and "finished before; nothing was done" in again.out
    assert stream(*line, "--json").json["again"] is True
    assert len(quick.trained) == trained
    assert Path("out/stream.json").stat().st_mtime_ns == before
    for other in (("--seeds", 2), ("--order", "random"), ("--train", "learning_rate=1e-3")):
        ran = stream(*line, *other)
        assert ran.status == 2 and "belongs to another command" in ran.err


@pytest.mark.parametrize("finished", [True, False])
def test_a_renamed_task_makes_another_command(
    stream: Run, quick: Tunings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, finished: bool
):
    def interrupted(*how: Any, **more: Any):
        raise KeyboardInterrupt

    if not finished:
        monkeypatch.setattr("modicum.stream.course.tune", interrupted)
    assert stream("-m", "none", *SHORT).status == (0 if finished else 130)
    monkeypatch.setattr("modicum.stream.course.tune", quick)
    assert Path("out/manifest.json").exists() == finished
    sums, *others = task_files(tmp_path)
    ran = stream("-m", "none", *SHORT, paths=(f"adding={sums}", *others))
    assert ran.status == 2 and "belongs to another command: its names was" in ran.err
    assert stream("-m", "none", *SHORT).status == 0
    assert [task["task"] for task in record()["tasks"]] == list(ASKED)


def test_a_renamed_task_of_what_is_tested_on_makes_another_command(stream: Run, tmp_path: Path):
    sums, *others = task_files(tmp_path / "eval", first=10)
    rows = (tmp_path / "sums.jsonl").read_text()
    (tmp_path / "also.jsonl").write_text(rows.replace("sums", "also"))
    learned = ("also.jsonl", "colours.jsonl", "rivers.jsonl")

    def tested(name: str) -> Ran:
        files = (f"{name}={sums}", *others)
        words = (w for file in files for w in ("--eval", file))
        return stream("-m", "none", "-k", 2, *words, "-o", "out", paths=learned)

    assert tested("also").status == 0
    ran = tested("sums")
    assert ran.status == 2 and "belongs to another command: its holdout changed" in ran.err


def test_without_o_the_line_finds_its_folder_again(stream: Run):
    line = ("-m", "none", "-k", 2, "--holdout", 2, "--json")
    first, again = stream(*line).json, stream(*line).json
    assert Path(first["folder"]).name.startswith("sums-stream-2-")
    assert again["again"] and again["folder"] == first["folder"]


# What is refused: in one line, and before anything is tuned


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("-m", "nope"), "there is no replay method 'nope': choose balanced"),
        (("-m", "random,random"), "-m random is given twice"),
        (("-m", "inscl(which=best)"), "which=best: give insinfo or random"),
        (("-m", "inscl(which)"), "which="),
        (("-m", "none(floor=1)"), "none has no option floor"),
        (("-m", "inscl(which=random"), "a bracket is not closed"),
        (("-m", "random;none"), "no replay method 'random;none'"),
        (("-m", "random,,none"), "write METHOD,METHOD(option=value)"),
        (("-m", ""), "write METHOD,METHOD(option=value)"),
        (("-m", "random,none", "--set", "which=random"), "--set which: none of random, none has"),
        (("-m", "none", "--order", "given,upwards"), "--order upwards: choose given, random"),
        (("-m", "none", "--order", "given,given"), "--order given,given: name every order once"),
        (("-m", "none", "--holdout", "half"), "--holdout half: give rows of each task, or a share"),
        (("-m", "none", "--holdout", "2ktok"), "--holdout 2ktok: give rows of each task, or a"),
        (("-m", "none", "--holdout", "100%"), "or a share below 100%"),
        (("-m", "none", "--holdout", "2", "--eval", "sums.jsonl"), "leave one of them out"),
        (("-m", "none", "--holdout", "6"), "task sums has 0 rows to learn and 6 held out"),
        (("-m", "none", "--keep-models", "some"), "--keep-models some: choose none, last, all"),
        (("-m", "none", "--seed", "-1"), "seed -1: give a whole number"),
        (("-m", "none", "--train", "learning_rat=1"), "did you mean learning_rate?"),
        (("-m", "none", "--tagger", "http://x"), "belong together"),
        (("-m", "none", "--max-tokens", "5"), "has 0 rows to learn"),
        (("-m", "none", "--eval", "sums.jsonl"), "--eval has no rows of colours, rivers"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    stream: Run, quick: Tunings, words: tuple[str, ...], said: str
):
    held_out = () if {"--holdout", "--eval"} & set(words) else ("--holdout", 2)
    ran = stream("-k", 2, "-o", "out", *held_out, *words)
    assert ran.status == 2 and said in ran.err
    assert quick.trained == []
    assert not list(Path().glob("out/*"))  # another line may have the folder


def test_one_task_is_no_stream(stream: Run):
    ran = stream("-m", "none", *SHORT, paths=("sums.jsonl",))
    assert ran.status == 2 and "sums is the only task" in ran.err


def test_two_files_of_one_name_need_names(stream: Run, tmp_path: Path):
    task_files(tmp_path / "more")
    paths = ("sums.jsonl", "more/sums.jsonl")
    ran = stream("-m", "none", *SHORT, paths=paths)
    assert ran.status == 2 and "two files are called 'sums'; name the tasks: NAME=" in ran.err
    named = ("one=sums.jsonl", "two=more/colours.jsonl")
    assert stream("-m", "none", *SHORT, paths=named).status == 0
    assert [task["task"] for task in record()["tasks"]] == ["one", "two"]


def test_what_a_method_cannot_do_is_said_before_anything_is_tuned(
    stream: Run, quick: Tunings, tmp_path: Path
):
    rows = [{"instruction": f"Do {i}.", "output": f"Done {i}."} for i in range(6)]
    rows[0]["tags"] = "numbers"  # and no other row has any
    for name in ("one", "two"):
        told = [row | {"output": f"{name} {row['output']}"} for row in rows]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, told)))
    words = ("-m", "random,inscl", "--fields", "tags=tags", *SHORT)
    ran = stream(*words, paths=("one.jsonl", "two.jsonl"))
    assert ran.status == 2 and "tag" in ran.err
    assert quick.trained == []
    assert stream("-m", "random", *SHORT, paths=("one.jsonl", "two.jsonl")).status == 0


# Methods as they are written


def test_methods_are_read_with_their_own_options_and_those_of_the_line():
    made = lineup(
        "modicum.replay", "inscl, random ( floor = 2 ),none", {"floor": "1", "eps": "0.2"}
    )
    assert list(made) == ["inscl", "random(floor=2)", "none"]
    assert made["inscl"] == InsCL(floor=1, eps=0.2)
    assert made["random(floor=2)"] == RandomReplay(floor=2)
    assert made["none"] == Nothing()


def test_the_options_of_a_part_that_the_line_chooses_are_taken_by_those_that_have_it():
    made = lineup("modicum.replay", "inscl,random", {"view": "encoder", "encoder": "a/folder"})
    assert made["inscl"].view == Encoder("a/folder")
    assert made["random"] == RandomReplay()
    own = lineup(
        "modicum.replay", "inscl(view=encoder,encoder=a/folder),inscl", {"pooling": "last"}
    )
    assert own["inscl"].view.pooling == "last"
    assert own["inscl(view=encoder,encoder=a/folder)"].view == Encoder("a/folder")


def test_an_option_that_no_method_has_is_refused():
    with pytest.raises(OptionError, match="--set clusters: none of random, none has this option"):
        lineup("modicum.replay", "random,none", {"floor": "1", "clusters": "3"})


# What is written about it


def keys(facts: Any) -> set[str]:
    """The keys of an object and of those in it, but not those that other pages explain."""
    if isinstance(facts, list):
        return set().union(*map(keys, facts))
    if not isinstance(facts, dict):
        return set()
    others = ("ledger", "shared_ledger", "rehearsed", "options", "seconds", "distances", "tags")
    # By task or measure.
    more = (*others, "base", "experts", "scores", "matrix", "cut", "forgotten", "instructions")
    named = {key for key in facts if key not in ("loss", "exact", "rouge_l")}
    return named.union(*(keys(value) for key, value in facts.items() if key not in more))


def test_the_page_names_every_key_of_stream_json(stream: Run):
    assert stream("-m", "inscl,none", "--order", "given,random", *SHORT, generate=True).status == 0
    page = (Path(__file__).parent.parent / "docs" / "streams.md").read_text(encoding="utf-8")
    found = keys(record())
    assert len(found) > 40
    assert [key for key in sorted(found) if f"`{key}`" not in page] == []
