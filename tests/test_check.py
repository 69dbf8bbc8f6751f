"""What `check` counts, on pools small enough to count by eye."""

import io
import json
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from modicum.check import Lengths, Spread, check, print_report, spread
from modicum.errors import AlignmentError
from modicum.pool import Pool, RawRow, Rejected, SourceFile, Turn

STORY = "once upon a time a small grey donkey walked slowly over the long white bridge at night"


def raw(id: str, text: str, file: int = 0, row: int = 1, source: str = "a") -> RawRow:
    turns = (Turn("user", text, False), Turn("assistant", "yes", True))
    return RawRow(id, source, text, turns, file, row, 0, 0)


def pool_with(bad: int = 0) -> Pool:
    rows = [
        raw("r1", "one", row=1),
        raw("r2", "one", row=2),
        raw("r3", STORY, row=3),
        raw("r4", STORY.upper(), 1, 1, "b"),
        raw("r4", "two", 1, 2, "b"),
    ]
    reasons = ["empty answer"] * (bad - 1) + ["no turns"]
    rejected = [Rejected("a.jsonl", 9 + n, reasons[n], "") for n in range(bad)]
    files = [
        SourceFile("a.jsonl", "messages", ".jsonl", 3 + bad, "0" * 32, ("a note",)),
        SourceFile("[b].csv", "alpaca", ".csv", 2, "1" * 32),
    ]
    return Pool.build(rows, files, rejected)


def lengths(limit: int | None = 100, errors: dict[int, str] | None = None) -> Lengths:
    tokens_N = np.array([10, 20, 30, 40, 500], dtype=np.int64)
    return Lengths(tokens_N, np.array([1, 2, 3, 4, 5], dtype=np.int64), limit, errors or {})


def printed(pool: Pool, counted: Lengths | None = None) -> str:
    out = io.StringIO()
    print_report(check(pool, counted), Console(file=out, width=40))
    return out.getvalue()


def test_rows_are_good_plus_bad_in_every_file():
    first, second = check(pool_with(bad=3)).files
    assert (first.rows, first.good, first.bad) == (6, 3, 3)
    assert first.reasons == {"empty answer": 2, "no turns": 1}
    assert (second.rows, second.good, second.bad, second.reasons) == (2, 2, 0, {})


def test_a_file_in_json_has_the_six_promised_keys():
    made = json.loads(json.dumps(check(pool_with(bad=2), lengths()).to_json()))
    keys = {"path", "format", "rows", "good", "bad", "reasons"}
    assert [set(file) for file in made["files"]] == [keys, keys]
    assert made["notes"] == {"a.jsonl": ["a note"]}
    assert made["bad_rows"][0] == {
        "path": "a.jsonl",
        "row": 9,
        "reason": "empty answer",
        "detail": "",
    }


def test_a_pool_is_ok_until_one_row_is_bad():
    assert check(pool_with()).ok
    assert not check(pool_with(bad=1)).ok


def test_duplicates_are_counted_and_named_by_file_and_row():
    report = check(pool_with())
    assert report.exact == (1, 2, (("a.jsonl:1", "a.jsonl:2"),))
    assert report.near[:2] == (2, 4)
    assert report.near.first[1] == ("a.jsonl:3", "[b].csv:1")


def test_sources_and_repeated_ids_are_counted():
    report = check(pool_with())
    assert report.sources == {"a": 3, "b": 2}
    assert report.repeated_ids == ("r4",)
    turned = replace(report, sources={"few": 1, "most": 3, "also few": 1})
    shown = [line.split(maxsplit=1)[1] for line in turned.lines() if line.startswith("   ")][:3]
    assert shown == ["most", "also few", "few"]


def test_percentiles_are_values_of_real_rows():
    assert spread(np.arange(1, 101)) == Spread(5, 50, 90, 99, 100, 5050)
    assert spread(np.array([7, 1000])) == Spread(7, 7, 1000, 1000, 1000, 1007)
    assert spread(np.array([], dtype=np.int64)) == Spread(None, None, None, None, None, 0)


def test_rows_above_the_limit_are_named_and_are_not_bad():
    pool = pool_with()
    report = check(pool, lengths(limit=40))
    assert report.tokens is not None and report.tokens.too_long == (pool.ids[4],)
    assert report.ok
    assert check(pool, lengths(limit=None)).tokens.too_long == ()


def test_rows_without_an_answer_token_are_reported_and_not_counted():
    counted = lengths(errors={0: "the template raised: no tools"})
    counted.answer_N[4] = 0
    report = check(pool_with(), counted)
    assert list(report.tokens.unusable.values()) == [
        "the template raised: no tools",
        "no answer token",
    ]
    assert report.tokens.all == Spread(20, 30, 40, 40, 40, 90)
    assert not report.ok


def test_lengths_of_another_pool_are_refused():
    with pytest.raises(AlignmentError, match=r"tokens_N has shape \(2,\).*5 rows"):
        check(pool_with(), Lengths(np.array([1, 2]), np.array([1, 1])))


def test_the_first_five_bad_rows_are_shown_and_the_rest_counted():
    text = printed(pool_with(bad=28))
    assert "  a.jsonl:9: empty answer\n" in text and "  a.jsonl:13: empty answer\n" in text
    assert "a.jsonl:14:" not in text
    assert text.endswith("  … and 23 more\n")


def test_file_names_are_printed_as_they_are_and_lines_do_not_wrap():
    lines = printed(pool_with(), lengths()).splitlines()
    assert lines[0].startswith("a.jsonl  messages") and lines[0].endswith("0 bad")
    assert any(line.startswith("[b].csv  alpaca  ") for line in lines)
    assert lines == check(pool_with(), lengths()).lines()


def test_an_empty_pool_can_be_checked():
    report = check(Pool.build([]), Lengths(np.zeros(0, np.int64), np.zeros(0, np.int64), 10))
    assert report.ok and report.tokens.all.total == 0 and report.to_json()["files"] == []
