"""The page as a file: its numbers are those of the folder, and text of rows is never markup."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer
from typer.testing import CliRunner

from modicum.cli.reporting import report_command
from modicum.errors import RunError
from modicum.report import write_report
from modicum.report.charts import _tick, _ticks, curves, heats, histogram
from modicum.report.counted import distribution, sources
from modicum.report.listed import best_left, fitting
from modicum.report.page import _asset
from modicum.report.printed import Num, cut, data_block, figure, read, visible
from report_runs import ATTACKS, comparison_run, put, score_run, selection_run, stream_run

RUNS: dict[str, Callable[[Path], Path]] = {
    "select": lambda folder: selection_run(folder, rounds=2),
    "score": score_run,
    "compare": comparison_run,
    "stream": stream_run,
}


class Reader(HTMLParser):
    """Every start tag with its attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def page_of(folder: Path) -> str:
    return write_report(folder).read_text(encoding="utf-8")


def numbers(content: Any) -> Iterator[float]:
    if isinstance(content, dict):
        content = list(content.values())
    if isinstance(content, list):
        for each in content:
            yield from numbers(each)
    elif isinstance(content, int | float):
        yield float(content)


def numbers_of(folder: Path) -> set[float]:
    """Every number in the folder's JSON and Parquet files."""
    found: set[float] = set()
    for path in folder.glob("*.json"):
        found |= set(numbers(json.loads(path.read_text(encoding="utf-8"))))
    for path in folder.glob("*.parquet"):
        for column in pq.read_table(path).to_pydict().values():
            found |= set(numbers(column))
    return found


def block(page: str, name: str) -> Any:
    found = re.search(
        rf'<script type="application/json" id="data-{name}">(.*?)</script>', page, re.S
    )
    assert found is not None
    return json.loads(found[1])


@pytest.mark.parametrize("kind", RUNS)
def test_every_number_on_the_page_is_in_a_file_of_the_run(kind: str, tmp_path: Path) -> None:
    page = page_of(RUNS[kind](tmp_path / "run"))
    shown = [attrs["data-value"] for _, attrs in Reader(page).tags if "data-value" in attrs]
    assert len(shown) > 30
    known = numbers_of(tmp_path / "run")
    assert [value for value in shown if float(value or "nan") not in known] == []


def test_every_number_of_a_listed_row_is_in_a_file_of_the_run(tmp_path: Path) -> None:
    page, known = page_of(selection_run(tmp_path / "run")), numbers_of(tmp_path / "run")
    for name in ("picks", "others"):
        data = block(page, name)
        places = [i for i, c in enumerate(data["columns"]) if c["kind"] in ("number", "row")]
        listed = {row[i] for row in data["rows"] for i in places if row[i] is not None}
        numbered = {n + 1.0 for n in range(12)} if name == "picks" else set()
        assert len(listed) > 12
        assert {float(value) for value in listed} <= known | numbered


@pytest.mark.parametrize("kind", RUNS)
def test_the_same_files_make_the_same_page(kind: str, tmp_path: Path) -> None:
    folder = RUNS[kind](tmp_path / "run")
    assert page_of(folder) == page_of(folder)


@pytest.mark.parametrize("kind", RUNS)
def test_the_page_names_nothing_outside_itself(kind: str, tmp_path: Path) -> None:
    tags = Reader(page_of(RUNS[kind](tmp_path / "run"))).tags
    named = [v for _, a in tags for k, v in a.items() if k in ("src", "href", "action", "style")]
    assert [each for each in named if not (each or "").startswith("#")] == []
    assert not [key for _, attrs in tags for key in attrs if key.startswith("on")]


@pytest.mark.parametrize("kind", RUNS)
def test_every_table_has_a_caption_and_headed_columns(kind: str, tmp_path: Path) -> None:
    page = page_of(RUNS[kind](tmp_path / "run"))
    tables = re.findall(r"<table.*?</table>", page, re.S)
    assert len(tables) > 3
    for table in tables:
        assert table.count("<caption>") == 1
        heads = re.findall(r"<thead>.*?</thead>", table, re.S)[0]
        assert heads.count("<th ") == heads.count('scope="col"') > 1
        assert table.count("<tr>") - 1 == table.count('scope="row"')


@pytest.mark.parametrize("kind", RUNS)
def test_ids_of_a_page_are_unique_and_links_lead_to_them(kind: str, tmp_path: Path) -> None:
    tags = Reader(page_of(RUNS[kind](tmp_path / "run"))).tags
    ids = [attrs["id"] for _, attrs in tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert {str(attrs["href"])[1:] for tag, attrs in tags if tag == "a"} <= set(ids)


def test_text_of_rows_is_never_markup(tmp_path: Path) -> None:
    page = page_of(selection_run(tmp_path / "run", texts=ATTACKS))
    tags = Reader(page).tags
    assert [tag for tag, _ in tags if tag in ("img", "iframe", "b", "link")] == []
    assert sum(tag == "script" for tag, _ in tags) == 4  # three blocks of data and our own script
    assert sum(tag == "style" for tag, _ in tags) == 1
    picks = re.search(r'id="data-picks">(.*?)</script>', page, re.S)
    assert picks is not None and "<" not in picks[1] and "\\u003cscript\\u003e" in picks[1]
    assert "&lt;script&gt;window.hurt = 1&lt;/script&gt;" in page
    assert len(page.encode()) < 2_000_000


@pytest.mark.parametrize("attack", ATTACKS[:-1])
def test_names_of_arms_and_tasks_are_never_markup(attack: str, tmp_path: Path) -> None:
    for made in (comparison_run(tmp_path / "c", attack), stream_run(tmp_path / "s", attack)):
        tags = Reader(page_of(made)).tags
        assert sum(tag in ("script", "style") for tag, _ in tags) == 2
        assert not {"img", "iframe", "b", "link"} & {tag for tag, _ in tags}
        assert not [key for _, attrs in tags for key in attrs if key.startswith("on")]


def test_what_a_reader_would_not_see_is_shown() -> None:
    assert visible("a\x00b\x1bc\x7fd\r\n\te") == "a␀b␛c␡d\n\te"
    assert visible("x\u202ey\u2066z") == "x⟨U+202E⟩y⟨U+2066⟩z"
    assert visible("\ud800\x85") == "\ufffd\ufffd"
    assert visible("سلام 世界 🙂") == "سلام 世界 🙂"


def test_a_data_block_cannot_be_left() -> None:
    made = data_block("x", {"</script>": ["<!--", "&amp;", "\u2028", float("nan"), "\ud800"]})
    inner = made.removeprefix('<script type="application/json" id="x">').removesuffix("</script>")
    assert not set("<>&\u2028") & set(inner)
    assert json.loads(inner) == {"</script>": ["<!--", "&amp;", "\u2028", None, "\ufffd"]}


def test_numbers_are_read_short_and_kept_whole() -> None:
    assert figure(Num(0.1 + 0.2)) == '<span data-value="0.30000000000000004">0.3</span>'
    assert figure(Num(1234567)) == '<span data-value="1234567">1,234,567</span>'
    assert "data-value" not in figure(Num(None)) and "data-value" not in figure(Num(float("nan")))
    assert [read(Num(v, "%")) for v in (0.0625, 1.0)] == ["6.2 %", "100.0 %"]
    assert [read(Num(v, "+")) for v in (0.5, -0.5)] == ["+0.5", "-0.5"]
    assert cut("abcdef", 4) == "abc…"


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="nowhere is no folder"):
        write_report(tmp_path / "nowhere")
    with pytest.raises(RunError, match=r"manifest\.json is missing"):
        write_report(tmp_path)
    put(tmp_path, "manifest.json", {"training": {}})
    with pytest.raises(RunError, match=r"none of rows\.parquet, compare\.json, stream\.json"):
        write_report(tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_an_unfinished_run_is_said_to_be_one(tmp_path: Path) -> None:
    put(tmp_path, "command.json", {"command": "select"})
    with pytest.raises(RunError, match="run the line that made it again"):
        write_report(tmp_path)


def test_the_manifest_may_be_given_before_it_is_written(tmp_path: Path) -> None:
    folder = selection_run(tmp_path / "run")
    before = page_of(folder)
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    (folder / "manifest.json").unlink()
    assert write_report(folder, manifest).read_text(encoding="utf-8") == before


def test_a_column_that_is_missing_is_named(tmp_path: Path) -> None:
    folder = selection_run(tmp_path / "run")
    rows = pq.read_table(folder / "rows.parquet").drop_columns(["order"])
    pq.write_table(rows, folder / "rows.parquet")
    with pytest.raises(RunError, match=r"column order of rows\.parquet is missing"):
        write_report(folder)


def test_tables_of_different_pools_are_refused(tmp_path: Path) -> None:
    folder = selection_run(tmp_path / "run")
    texts = pq.read_table(folder / "texts.parquet").slice(0, 5)
    pq.write_table(texts, folder / "texts.parquet")
    with pytest.raises(RunError, match=r"texts\.parquet has 5 rows and rows\.parquet 60"):
        write_report(folder)


def test_a_run_without_a_view_has_no_map(tmp_path: Path) -> None:
    folder = selection_run(tmp_path / "run", view=False, scores=())
    (folder / "texts.parquet").unlink()
    page = page_of(folder)
    assert "<canvas" not in page and "No map: this run looked through no view" in page
    assert "this folder has no texts.parquet" in page
    assert "no score, no view" in page


def test_what_an_older_stream_lacks_is_said(tmp_path: Path) -> None:
    folder = stream_run(tmp_path / "run")
    record = json.loads((folder / "stream.json").read_text(encoding="utf-8"))
    for arm in record["arms"]:
        del arm["metrics"]["loss"]["forgotten"]
    for pair in record["pairs"]:
        pair["repetitions"] = pair.pop("seeds")
    put(folder, "stream.json", record)
    assert "stream.json does not say what each task lost" in page_of(folder)


def test_notes_and_rows_set_aside_are_shown(tmp_path: Path) -> None:
    folder = selection_run(tmp_path / "run")
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    manifest["counts"]["rejected"] = 1
    put(folder, "manifest.json", manifest)
    bad = {"file": "pool.jsonl", "row": 7, "reason": "no answer", "detail": "a\u2028b"}
    line = json.dumps(bad, ensure_ascii=False) + "\n"
    (folder / "rejected.jsonl").write_text(line, encoding="utf-8")
    page = page_of(folder)
    assert "fewer clusters were made than asked" in page
    assert "pool.jsonl:7" in page and "no answer" in page


@pytest.mark.parametrize("letter", ["世", "<"])
def test_a_page_of_fifty_two_thousand_rows_is_below_two_megabytes(
    letter: str, tmp_path: Path
) -> None:
    texts = [letter * 300 + str(i) for i in range(7)]
    folder = selection_run(tmp_path / "run", 52_002, 2_600, texts=texts if letter == "世" else None)
    said = {"text": [letter * 300] * 52_002, "answer": [letter * 300] * 52_002}
    table = pa.table({"position": np.arange(52_002), **said})
    pq.write_table(table, folder / "texts.parquet")
    page = page_of(folder)
    assert len(page.encode("utf-8")) < 2_000_000
    assert "the first 2,000 of 2,600" in page
    assert len(block(page, "picks")["rows"]) == 2000
    assert len(block(page, "others")["rows"]) == 500
    assert len(block(page, "points")["picks"]) == 2600


def test_of_a_large_pool_the_picks_and_some_others_are_drawn(tmp_path: Path) -> None:
    folder = selection_run(tmp_path / "run", 150_000, 50_000, texts=("\u202e" * 300, "short"))
    page = page_of(folder)
    assert len(page.encode("utf-8")) < 2_000_000
    points = block(page, "points")
    kind = f"<u{points['rows']['bytes']}"
    drawn = np.frombuffer(base64.b64decode(points["rows"]["data"]), kind)
    assert points["drawn"] == len(drawn) == 60_000
    assert (np.diff(drawn.astype(int)) > 0).all()
    taken = drawn[points["picks"]].tolist()
    order = pq.read_table(folder / "rows.parquet", columns=["order"])["order"].to_pylist()
    assert [order[row] for row in taken] == list(range(20_000))
    assert not any((order[row] or 0) >= 20_000 for row in drawn.tolist())
    listed = block(page, "others")
    at = [column["kind"] for column in listed["columns"]].index("row")
    assert {row[at] for row in listed["rows"]} <= set(drawn.tolist())
    assert "60,000</span> of" in page and "others by chance" in page


def test_distances_of_a_part_are_said_to_be_of_a_part(tmp_path: Path) -> None:
    folder = selection_run(tmp_path / "run")
    assert "drawn by chance" not in page_of(folder)
    where = pq.read_table(folder / "map.parquet").to_pydict()
    where["distance"][2] = None
    pq.write_table(pa.table(where), folder / "map.parquet")
    assert "Measured for" in page_of(folder)


def test_texts_are_shortened_until_they_fit() -> None:
    columns = [{"label": "text", "kind": "text"}]
    one = {"columns": columns, "rows": [[["x" * 300, None]] for _ in range(10)]}
    made, length = fitting({"picks": one}, 2500)
    assert length == 180 and len(made["picks"]["rows"][0][0][0]) == 180
    made, length = fitting({"picks": one}, 120)
    assert length == 0 and 0 < len(made["picks"]["rows"]) < 10


def rows_of(**columns: Any) -> pa.Table:
    picked_N = np.array([True, False, False, True])
    gains = {"gain": pa.array([0.9, 0, 0, 0.8], mask=~picked_N)}
    order = pa.array([0 if i == 0 else 1 if i == 3 else None for i in range(4)])
    return pa.table({"picked": picked_N, "order": order, **gains, **columns})


def test_the_best_left_are_by_the_score_that_decided() -> None:
    rows = rows_of(loss=[0.1, 0.2, 0.3, 0.4], ifd=[0.9, 0.1, 0.2, 0.8])
    found = best_left(rows, np.array([0.0, 1.0, 2.0, 0.0]))
    assert found is not None and (found.name, found.highest_first) == ("ifd", True)


def test_without_a_score_that_decided_the_farthest_are_the_best_left() -> None:
    found = best_left(rows_of(loss=[0.1, 0.2, 0.3, 0.4]), np.array([0.0, 1.0, 2.0, 0.0]))
    assert found is not None and (found.name, found.highest_first) == ("distance", True)
    assert best_left(rows_of(), None) is None


def test_a_histogram_counts_every_row_once() -> None:
    values_N = np.array([1.0, 2.0, 2.0, 5000.0, np.nan, 3.0])
    found = distribution(values_N, np.array([True, False, True, False, True, False]))
    assert found is not None
    assert sum(found["pool"]["counts"]) == 5 and sum(found["chosen"]["counts"]) == 2
    assert found["log"] and found["missing"] == 1
    assert found["pool"]["quantiles"]["50"] == 2.0
    assert distribution(np.array([np.nan]), np.array([True])) is None


@pytest.mark.parametrize(
    ("ends", "said"),
    [
        ((0.0, 4e12), ["0", "1e12", "2e12", "3e12", "4e12"]),
        ((0.0, 4e9), ["0", "1G", "2G", "3G", "4G"]),
        ((0.0, 40_000.0), ["0", "10k", "20k", "30k", "40k"]),
        ((0.0, 4000.0), ["0", "1,000", "2,000", "3,000", "4,000"]),
        ((1.8231, 1.8235), ["1.8231", "1.8232", "1.8233", "1.8234", "1.8235"]),
        ((0.0, 4e-13), ["0", "1e-13", "2e-13", "3e-13", "4e-13"]),
        ((-0.2, 0.2), ["-0.2", "-0.1", "0", "0.1", "0.2"]),
    ],
)
def test_ticks_are_round_and_told_apart(ends: tuple[float, float], said: list[str]) -> None:
    assert [_tick(value) for value in _ticks(*ends)] == said


def test_one_value_has_one_bar() -> None:
    found = distribution(np.full(3, 7.0), np.zeros(3, dtype=bool))
    assert found is not None and found["pool"]["counts"] == [3]
    assert found["chosen"]["quantiles"]["50"] is None


def test_small_sources_are_counted_together() -> None:
    names = [f"s{i}" for i in range(40)]
    table = {"source": names, "tokens": [10] * 40, "picked": [True] + [False] * 39}
    found = sources(pa.table(table))
    assert [line["source"] for line in found[:2]] == ["s0", "s1"]
    assert (found[-1]["source"], found[-1]["sources"], found[-1]["rows"]) == (None, 10, 10)
    assert sum(line["rows"] for line in found) == 40
    assert found[0]["picked_share"] == 1.0 and found[0]["rows_share"] == 1 / 40


def test_drawings_have_a_label_and_no_number_that_is_none() -> None:
    drawn = histogram([0, 1, 2], [0.5, 0.5], None, x_label="<b>")
    assert 'aria-label="share of rows by &lt;b&gt;"' in drawn and "<b>" not in drawn
    assert "nan" not in curves([], x_label="x", y_label="y")
    assert heats([1.0, None, 3.0]) == [0, None, 9] and heats([2.0, 2.0]) == [None, None]


def luminance(colour: str) -> float:
    parts = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", [r":root", r':root\[data-theme="dark"\]'])
def test_colours_have_enough_contrast(theme: str) -> None:
    found = re.search(rf"^{theme} {{(.*?)}}", _asset("page.css"), re.S | re.M)
    assert found is not None
    of = dict(re.findall(r"--(\w+): (#\w{6})", found[1]))
    for ground in (of["paper"], of["raised"]):
        for words in ("ink", "muted", "link"):
            assert contrast(of[words], ground) >= 4.5, (words, ground)
        for drawn in ("chosen", "pool", "focus", "now", "s1", "s2", "s3", "s4", "s5"):
            assert contrast(of[drawn], ground) >= 3, (drawn, ground)


def test_both_ways_to_the_dark_theme_have_the_same_colours() -> None:
    blocks = re.findall(r"--paper: #14171a.*?(?=\s*})", _asset("page.css"), re.S)
    assert len(blocks) == 2 and blocks[0].split() == blocks[1].split()


def test_the_command_prints_where_the_page_is(tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(report_command)
    folder = score_run(tmp_path / "run")
    told = CliRunner().invoke(app, [str(folder), "--json"])
    assert json.loads(told.stdout) == {"report": str(folder / "report.html")}
    assert CliRunner().invoke(app, [str(folder)]).stdout.strip() == str(folder / "report.html")
