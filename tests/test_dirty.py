"""What reading makes of real dirt: every file of the dirty collection, to the row."""

import os
from collections import Counter
from pathlib import Path

import pytest

from modicum.errors import InputError
from modicum.readers import read, write_back

KEPT = {  # file: rows kept, and how many are rejected for which reason
    "01_truncated.jsonl.gz": (72, {"file ends early": 1}),
    "02_cut_last_line.jsonl": (19, {"not JSON": 1}),
    "03_nul_bytes.jsonl": (9, {"NUL bytes": 1}),
    "04_utf8_bom.jsonl": (20, {}),
    "05_crlf.jsonl": (20, {}),
    "07_invalid_utf8.jsonl": (20, {"not UTF-8": 1}),
    "08_mixed_schemas.jsonl": (22, {}),
    "09_duplicate_ids.jsonl": (22, {}),
    "10_exact_duplicates.jsonl": (40, {}),
    "11_near_duplicates.jsonl": (30, {}),
    "12_missing_assistant.jsonl": (10, {"no answer": 5, "no turns": 1, "no messages": 1}),
    "13_role_order.jsonl": (
        5,
        {
            "starts with the assistant": 1,
            "two user turns in a row": 1,
            "system turn not first": 1,
            "no user turn": 1,
            "two assistant turns in a row": 1,
        },
    ),
    "14_unknown_roles.jsonl": (2, {"tool turns are not supported": 1, "unknown role": 1}),
    "15_huge_line.jsonl.gz": (7, {}),
    "17_blank_lines.jsonl": (5, {}),
    "18_json_array.jsonl": (20, {}),
    "20_quoted_newlines.csv": (20, {}),
    "23_messages_as_string.parquet": (1, {"no messages": 1, "not a list of turns": 1}),
    "25_wrong_types.jsonl": (
        2,
        {
            "not text": 2,
            "content that is not text": 1,
            "not a list of turns": 2,
            "not an object": 3,
        },
    ),
    "26_empty_outputs_alpaca.jsonl": (0, {"empty answer": 28}),
    "27_unicode_noise.jsonl": (15, {}),
    "28_gzip_named_jsonl.jsonl": (20, {}),
    "29_double_encoded.jsonl": (0, {"encoded twice": 5}),
    "30_nan_values.jsonl": (3, {}),
    "31_duplicate_keys.jsonl": (1, {}),
    "32_deep_nesting.jsonl": (4, {"nested too deep": 1}),
    "33_template_tokens.jsonl": (4, {}),
    "35_concatenated.jsonl": (4, {}),
    "36_bomb.jsonl.gz": (4, {}),
    "37_answer_longer_than_window.jsonl": (5, {}),
    "38_no_newline_one_row.jsonl": (1, {}),
    "39_system_only.jsonl": (0, {"no user turn": 1, "empty prompt": 2}),
    "real/glaive_toolcall_en_demo.json": (37, {"tool turns are not supported": 43}),
    "real/kto_en_demo.json": (80, {}),
    "real/octopack_instruction_only.jsonl": (0, {"no answer": 200}),
    "real/sharegpt_sample.jsonl.gz": (
        927,
        {
            "no turns": 120,
            "starts with the assistant": 117,
            "two user turns in a row": 18,
            "no user turn": 15,
            "no answer": 5,
            "empty prompt": 1,
        },
    ),
    "real/v1_sft_demo.jsonl": (40, {}),
}
REFUSED = {  # file: what the message says
    "06_utf16le.jsonl": ["UTF-16", "save it as UTF-8"],
    "16_empty.jsonl": ["has no rows"],
    "19_nested.json": ["version, data", "top-level array or one object a line"],
    "21_semicolon_latin1.csv": ["not UTF-8", "offset 27", "Frage;Antwort"],
    "22_text_only.parquet": ["text, score", "instruction with output", "--fields"],
    "24_truncated.parquet": ["not a readable Parquet file"],
    "34_trailing_comma.json": ["line 4, column 1"],
    "real/dpo_en_demo.json": ["preferences", "prompt=conversations,completion=chosen"],
    "real/olora_cb_train.json": ["label, sentence", "prompt with completion"],
}


@pytest.fixture
def dirty() -> Path:
    if "MODICUM_DATA" not in os.environ:
        pytest.skip("MODICUM_DATA is not set")
    return Path(os.environ["MODICUM_DATA"]) / "dirty"


@pytest.mark.parametrize("name", KEPT)
def test_every_row_is_kept_or_rejected_for_its_reason(dirty, name):
    pool = read([str(dirty / name)])
    kept, reasons = KEPT[name]
    assert (len(pool), dict(Counter(bad.reason for bad in pool.rejected))) == (kept, reasons)
    assert pool.files[0].rows == len(pool) + len(pool.rejected)


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_at_all_is_refused_in_one_line(dirty, name):
    with pytest.raises(InputError) as refused:
        read([str(dirty / name)])
    message = str(refused.value)
    assert name in message and "\n" not in message
    assert [part for part in REFUSED[name] if part not in message] == []


def test_no_dirty_file_is_left_out_of_these_tables(dirty):
    files = {str(p.relative_to(dirty)) for p in dirty.rglob("*") if p.is_file()}
    assert files - {"MANIFEST.jsonl"} == {*KEPT, *REFUSED}


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("02_cut_last_line.jsonl", 20),
        ("03_nul_bytes.jsonl", 6),
        ("07_invalid_utf8.jsonl", 10),
        ("23_messages_as_string.parquet", 2),
        ("32_deep_nesting.jsonl", 3),
    ],
)
def test_a_rejected_row_is_named_by_its_line(dirty, name, row):
    assert read([str(dirty / name)]).rejected[0].row == row


def test_a_cut_archive_says_how_many_complete_rows_were_read(dirty):
    (cut,) = read([str(dirty / "01_truncated.jsonl.gz")]).rejected
    assert cut.detail == "72 complete rows were read"


def test_no_text_of_a_crlf_file_ends_in_a_carriage_return(dirty):
    pool = read([str(dirty / "05_crlf.jsonl")])
    assert not any("\r" in turn.content for example in pool for turn in example.turns)


def test_a_lone_surrogate_is_replaced_noted_and_written_unchanged(dirty, tmp_path):
    file = dirty / "27_unicode_noise.jsonl"
    pool = read([str(file)])
    assert pool[14].turns[0].content == "lone surrogate \ufffd here"
    assert "surrogate" in pool.files[0].notes[0] and pool.files[0].notes[0].endswith(": 1")
    (written,) = write_back(pool, range(len(pool)), tmp_path)
    assert written.read_bytes() == file.read_bytes()


def test_numbers_and_booleans_become_text_as_json_writes_them(dirty):
    pool = read([str(dirty / "25_wrong_types.jsonl")])
    assert [example.turns[1].content for example in pool] == ["4", "true"]
    assert pool[1].turns[0].content == "Is it true?\n\n0"


def test_of_a_key_given_twice_the_last_value_counts(dirty):
    (example,) = read([str(dirty / "31_duplicate_keys.jsonl")])
    assert (example.id, example.turns[1].content) == ("b", "s")


def test_repeated_ids_are_reported_and_made_unique(dirty):
    pool = read([str(dirty / "09_duplicate_ids.jsonl")])
    assert len(pool.repeated_ids) == 2 and len(set(pool.ids)) == 22


def test_objects_on_one_line_are_written_one_a_line(dirty, tmp_path):
    file = dirty / "35_concatenated.jsonl"
    pool = read([str(file)])
    (written,) = write_back(pool, range(4), tmp_path)
    assert len(written.read_bytes().splitlines()) == 4
    assert written.read_bytes().replace(b"\n", b"") == file.read_bytes().replace(b"\n", b"")


def test_preferences_can_be_read_by_choosing_a_side(dirty):
    fields = {"prompt": "conversations", "completion": "chosen"}
    pool = read([str(dirty / "real/dpo_en_demo.json")], format="prompt-completion", fields=fields)
    assert (len(pool), len(pool.rejected)) == (80, 0)
    assert all([turn.train for turn in example.turns].count(True) == 1 for example in pool)


def test_columns_can_be_mapped_where_none_fits(dirty):
    fields = {"instruction": "sentence", "output": "label"}
    pool = read([str(dirty / "real/olora_cb_train.json")], fields=fields)
    assert len(pool) == 250 and pool[0].turns[1].content == "contradiction"


def test_a_gzip_under_a_plain_name_is_written_as_gzip(dirty, tmp_path):
    pool = read([str(dirty / "28_gzip_named_jsonl.jsonl")])
    assert [path.name for path in write_back(pool, [0], tmp_path)] == ["subset.jsonl.gz"]


def test_typed_parts_and_loss_weights_are_understood(dirty):
    first = read([str(dirty / "real/v1_sft_demo.jsonl")])[0]
    assert first.turns[0] == ("user", "hi", False) and first.turns[1].train


@pytest.mark.parametrize(("name", "empty"), [("alpaca_52k", 28), ("dolly_15k", 0)])
def test_pools_in_two_formats_are_read_by_messages_and_say_so(dirty, name, empty):
    pool = read([str(dirty.parent / "pools" / f"{name}.parquet")])
    (file,) = pool.files
    assert len(pool.rejected) == empty and file.rows == len(pool) + empty
    assert file.format == "messages" and file.notes[0].endswith("say the same as messages")
