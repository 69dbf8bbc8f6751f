"""`modicum show` and the table that ends `modicum select`: what a run knows of its rows."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from modicum.errors import OptionError
from modicum.explain import Place, find_row, place
from modicum.show_selection import plain
from test_cli import Run, bad_file, run, select

__all__ = ["bad_file", "run", "select"]

LINE = ("-m", "longest", "-k", 4, "-o", "out")


def rows(folder: str = "out") -> list[dict[str, Any]]:
    return list(pq.read_table(f"{folder}/rows.parquet").to_pylist())


def say(position: int, text: str) -> None:
    """Let the run in `out` have kept this text of a row."""
    texts = pa.table({"position": [position], "text": [text], "answer": ["An answer."]})
    pq.write_table(texts, "out/texts.parquet")
    manifest = json.loads(Path("out/manifest.json").read_text())
    manifest["files"].pop("texts.parquet", None)
    Path("out/manifest.json").write_text(json.dumps(manifest))


@pytest.fixture
def chosen(select: Run, run: Run) -> Run:
    """`modicum show out`, of a selection of the longest four of twelve rows."""
    assert select(*LINE).status == 0
    return lambda *words: run("show", "out", *words)


def test_a_row_is_found_by_id_by_position_and_by_its_place_among_the_picks(chosen: Run):
    first = next(row for row in rows() if row["order"] == 0)
    for name in (first["id"], first["position"], "#1"):
        assert chosen(name, "--json").json["id"] == first["id"]


def test_every_score_comes_with_its_rank_and_percentile(chosen: Run):
    known, lengths = chosen("#2", "--json").json, sorted(row["length"] for row in rows())
    told = known["places"]["length"]
    assert told == {"value": lengths[-2], "rank": 2, "of": 12, "percentile": 100 * 11 / 12}
    assert known["places"]["tokens"]["of"] == 12 and known["tokens"] > 0


def test_a_pick_says_why_what_it_gained_and_what_came_before_and_after(chosen: Run):
    known, by_order = chosen("#2", "--json").json, {row["order"]: row for row in rows()}
    assert (known["picked"], known["order"], known["round"]) == (True, 1, 0)
    assert known["gain"] == by_order[1]["gain"] and known["reason"] == by_order[1]["reason"]
    assert known["before"] == {k: by_order[0][k] for k in ("id", "position", "order")}
    assert known["after"]["id"] == by_order[2]["id"]
    assert "pick 2 of 4: length" in chosen("#2").out


def test_the_first_and_the_last_pick_have_one_neighbour(chosen: Run):
    assert chosen("#1", "--json").json["before"] is None
    assert chosen("#4", "--json").json["after"] is None


def test_a_row_that_was_not_taken_says_so_and_names_the_nearest_pick(chosen: Run):
    left, first = (next(r for r in rows() if r["order"] == order) for order in (None, 0))
    spots = {"position": [left["position"]], "nearest": [first["position"]], "distance": [0.25]}
    pq.write_table(pa.table(spots), "out/map.parquet")
    known = chosen(left["id"], "--json").json
    assert "the budget of 4 was spent on 4 rows" in known["why"]
    near = {"id": first["id"], "position": first["position"], "order": 0, "distance": 0.25}
    assert known["nearest_pick"] == near and known["picked"] is False
    assert f"nearest pick  #1  {first['id']}, 0.25 away" in chosen(left["id"]).out


def test_without_a_map_there_is_no_nearest_pick(chosen: Run):
    Path("out/map.parquet").unlink(missing_ok=True)
    assert chosen(0, "--json").json["nearest_pick"] is None


def test_a_row_that_was_left_out_says_why(select: Run, run: Run):
    select("-m", "random", "-k", 2, "--max-tokens", 50, "-o", "out")
    left = json.loads(Path("out/manifest.json").read_text())["left_out"][0]
    for name in (left["id"], left["where"], f"tiny.jsonl:{left['where'].rpartition(':')[2]}"):
        assert run("show", "out", name, "--json").json["why"].startswith("left out: too long: ")


def test_a_bad_row_is_named_by_its_file_and_line(select: Run, run: Run, bad_file: Path):
    select("-m", "random", "-k", 1, "--skip-bad", "-o", "out", pool=bad_file)
    known = run("show", "out", f"{bad_file}:3", "--json").json
    assert (known["reason"], known["picked"]) == ("empty answer", False)
    assert "set aside as a bad row: empty answer" in run("show", "out", "bad.jsonl:3").out
    odd = {"file": "bad.jsonl", "row": 2, "reason": "odd", "detail": "two\u2028lines"}
    with Path("out/rejected.jsonl").open("a", encoding="utf-8") as lines:
        lines.write(json.dumps({**odd, "row": 33}, ensure_ascii=False) + "\n")
    assert run("show", "out", "bad.jsonl:33", "--json").json["detail"] == "two\u2028lines"


def test_rows_of_scores_are_explained_too(run: Run, tiny_file: Path, tiny_model: Any):
    model = ("--model", tiny_model.folder, "--precision", "float32")
    run("score", tiny_file, "--with", "length,loss", "-o", "out", *model)
    known = run("show", "out", "r3", "--json").json
    assert known["places"].keys() == {"tokens", "length", "loss"}
    assert (known["picked"], known["order"], known["nearest_pick"]) == (None, None, None)
    assert "Say hello." in run("show", "out", "r3").out
    assert "it scored" in run("show", "out", "#1").err


def test_the_text_is_what_the_run_kept_or_else_what_its_inputs_say(chosen: Run, tiny_file: Path):
    say(3, "as it was kept")
    assert chosen("r3", "--json").json["text"] == "as it was kept"
    Path("out/texts.parquet").unlink()
    known = chosen("r3", "--json").json
    assert (known["text"], known["answer"]) == ("Say hello.", "Hello there!")


def test_inputs_that_changed_are_not_quoted(select: Run, run: Run):
    Path("own.jsonl").write_text('{"id": "a", "instruction": "b", "output": "c"}\n')
    select("-m", "random", "-k", 1, "-o", "out", pool="own.jsonl")
    Path("out/texts.parquet").unlink(missing_ok=True)
    Path("own.jsonl").write_text('{"id": "a", "instruction": "b", "output": "d"}\n')
    assert run("show", "out", "a", "--json").json["text"] is None
    assert "neither kept in the run" in run("show", "out", "a").out


def test_text_is_shown_as_text(chosen: Run):
    say(3, "[bold]red[/bold] \x1b[31m\u202ered\n<script>")
    out = chosen("r3").out
    assert "[bold]red[/bold] [31m red <script>" in out and "\x1b" not in out
    assert plain("a" * 80, 60) == "a" * 59 + "…"


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("r33", "out has no row 'r33'; did you mean r3"),
        ("99", "out has no row 99: positions go from 0 to 11"),
        ("#5", "out has no pick #5; its picks are #1 to #4"),
        ("zzz", "give an id such as r0, a position from 0 to 11, or '#1'"),
    ],
)
def test_an_unknown_row_is_refused_with_what_is_close(chosen: Run, row: str, said: str):
    ran = chosen(row)
    assert (ran.status, said in ran.err) == (2, True), ran.err


def test_a_forgotten_row_is_asked_for(chosen: Run):
    assert "or '#1' in quotes, the first pick" in chosen().err


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ([], "x holds no manifest.json"),
        (["manifest.json"], "x holds no rows.parquet; show explains rows of"),
    ],
)
def test_a_folder_that_is_no_selection_is_refused(run: Run, files: list[str], said: str):
    assert "is no folder" in run("show", "x", "0").err
    Path("x").mkdir()
    for name in files:
        Path("x", name).write_text("{}")
    assert said in run("show", "x", "0").err


def test_ties_share_the_better_rank_and_rows_without_a_value_do_not_count():
    values = pa.chunked_array([[3.0, 1.0, None, 3.0, 2.0]])
    assert place(values, 0) == place(values, 3) == Place(3.0, 1, 4, 100.0)
    assert place(values, 4) == Place(2.0, 3, 4, 50.0)
    assert place(values, 2) == Place(None, None, 4, None)


def test_an_id_goes_before_a_position():
    assert find_row(pa.table({"id": ["1", "0", "x"]}), "0", "run") == 1
    with pytest.raises(OptionError, match="picked nothing"):
        find_row(pa.table({"id": ["1"]}), "#1", "run")


def cells(out: str, name: str) -> list[str]:
    """The cells of a line of a printed table."""
    (line,) = [line for line in out.splitlines() if line.strip().startswith(name)]
    return re.split(r"\s{2,}", line.strip())[1:]


def test_select_ends_with_the_chosen_rows_against_the_pool(select: Run):
    out = select(*LINE).out
    tokens = [row["tokens"] for row in rows()]
    taken = sum(row["tokens"] for row in rows() if row["picked"])
    assert cells(out, "rows") == ["12", "4", "33.3%"]
    share = f"{taken / sum(tokens):.1%}"
    assert cells(out, "tokens  ") == [f"{sum(tokens):,}", f"{taken:,}", share]
    lengths = sorted(row["length"] for row in rows())
    medians = [(lengths[5] + lengths[6]) / 2, (lengths[9] + lengths[10]) / 2]
    assert cells(out, "length, median") == [f"{value:.4g}" for value in medians]


def test_select_names_the_sources_that_gained_or_lost_most(select: Run):
    kinds = {"few": 2, "many": 10, "long": 3}
    lines = [
        {"source": kind, "instruction": f"Say {n}.", "output": "so " * (30 * (kind == "long") + 1)}
        for kind, rows in kinds.items()
        for n in range(rows)
    ]
    Path("own.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    out = select("-m", "longest", "-k", 3, pool="own.jsonl").out
    assert cells(out, "from long") == ["3", "3", "20.0% → 100.0%"]
    assert out.index("from long") < out.index("from many") < out.index("from few")


def test_select_shows_the_best_and_the_worst_pick_with_60_characters(select: Run):
    select(*LINE)
    (last,) = [row["position"] for row in rows() if row["order"] == 3]
    say(last, "x" * 100)
    out = select(*LINE).out
    assert "x" * 59 + "…" in out and "x" * 60 not in out
    assert "#1" in out and "#4" in out and "#2" not in out


@pytest.mark.parametrize("page", ["show", "export"])
def test_the_commands_of_the_page_run(run: Run, tiny_model: Any, page: str):
    root = Path(__file__).parent.parent
    Path("examples").symlink_to(root / "examples")
    text = (root / "docs" / f"{page}.md").read_text(encoding="utf-8")
    lines = re.findall(r"^modicum (.*)$", text, re.MULTILINE)
    for line in lines:
        model = ["--model", tiny_model.folder] if line.startswith("select") else []
        assert run(*shlex.split(line), *model).status == 0, line
    assert len(lines) == {"show": 4, "export": 1}[page]


def test_the_page_names_every_key(chosen: Run):
    page = (Path(__file__).parent.parent / "docs" / "show.md").read_text(encoding="utf-8")
    known = chosen("#1", "--json").json
    words = [*known, *known["places"]["tokens"], *known["after"], "distance"]
    assert [word for word in words if f"`{word}`" not in page] == []
