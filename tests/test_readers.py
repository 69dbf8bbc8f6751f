"""Files and data sets in: what is found, how a row is recognised, and why it is refused."""

import bz2
import gzip
import json
import lzma

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from modicum.errors import InputError, OptionError
from modicum.pool import Turn
from modicum.readers import read

ALPACA = {"instruction": "Add", "input": "2 and 2", "output": "4"}
MESSAGES = {
    "messages": [
        {"role": "user", "content": "Add\n\n2 and 2"},
        {"role": "assistant", "content": "4"},
    ]
}
ASKED = (Turn("user", "Add\n\n2 and 2", False), Turn("assistant", "4", True))


def lines(*rows):
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


@pytest.fixture
def pool_of(tmp_path):
    def made(*rows, name="pool.jsonl", **options):
        (tmp_path / name).write_bytes(lines(*rows))
        return read([str(tmp_path / name)], **options)

    return made


def reasons(pool):
    return [bad.reason for bad in pool.rejected]


def chat(*turns):
    return {"messages": [{"role": role, "content": content} for role, content in turns]}


# What a row can look like


@pytest.mark.parametrize(
    "row",
    [
        ALPACA,
        {"instruction": "Add", "context": "2 and 2", "response": "4"},
        MESSAGES,
        {"messages": json.dumps(MESSAGES["messages"])},
        {
            "conversations": [
                {"from": "human", "value": "Add\n\n2 and 2"},
                {"from": "gpt", "value": "4"},
            ]
        },
        {"prompt": "Add\n\n2 and 2", "completion": "4"},
        {"prompt": MESSAGES["messages"][:1], "completion": MESSAGES["messages"][1]},
        {"messages": [{"role": "Human", "content": [{"type": "text", "text": "Add\n\n2 and 2"}]},
                      {"from": "BOT", "value": 4}]},
    ],
)  # fmt: skip
def test_every_format_gives_the_same_turns(pool_of, row):
    assert pool_of(row)[0].turns == ASKED


def test_alpaca_history_and_system_come_before_the_question(pool_of):
    (example,) = pool_of(ALPACA | {"system": "Be brief.", "history": [["Hi", "Hello"]]})
    assert [turn.role[0] for turn in example.turns] == list("suaua")
    assert [turn.content for turn in example.turns[:3]] == ["Be brief.", "Hi", "Hello"]


def test_an_answer_inside_a_prompt_is_not_learned(pool_of):
    turns = [{"role": r, "content": r} for r in ("user", "assistant", "user")]
    (example,) = pool_of({"prompt": turns, "completion": "done"})
    assert [turn.train for turn in example.turns] == [False, False, False, True]


@pytest.mark.parametrize("flag", [{"train": False}, {"weight": 0}, {"loss_weight": 0.0}])
def test_a_turn_with_weight_0_is_not_learned(pool_of, flag):
    row = chat(("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d"))
    row["messages"][1] |= flag
    assert [turn.train for turn in pool_of(row)[0].turns] == [False, False, False, True]


@pytest.mark.parametrize(
    ("turns", "reason"),
    [
        ([], "no turns"),
        ([("user", "a")], "no answer"),
        ([("user", "a"), ("assistant", " \n")], "empty answer"),
        ([("user", "a"), ("assistant", None)], "empty answer"),
        ([("user", ""), ("assistant", "b")], "empty prompt"),
        ([("assistant", "a"), ("user", "b"), ("assistant", "c")], "starts with the assistant"),
        ([("user", "a"), ("user", "b"), ("assistant", "c")], "two user turns in a row"),
        ([("user", "a"), ("assistant", "b"), ("gpt", "c")], "two assistant turns in a row"),
        ([("user", "a"), ("system", "b"), ("assistant", "c")], "system turn not first"),
        ([("system", "a"), ("assistant", "b")], "no user turn"),
        ([("user", "a"), ("assistant", "b"), ("user", "c")], "ends with the user"),
        ([("user", "a"), ("tool", "b"), ("assistant", "c")], "tool turns are not supported"),
        ([("user", "a"), ("narrator", "b")], "unknown role"),
        ([("user", {"a": 1}), ("assistant", "b")], "not text"),
        ([("user", [{"type": "image"}]), ("assistant", "b")], "content that is not text"),
    ],
)
def test_broken_turns_are_refused_by_name(pool_of, turns, reason):
    pool = pool_of(chat(*turns))
    assert (len(pool), reasons(pool)) == (0, [reason])


@pytest.mark.parametrize(
    ("flag", "reason"),
    [
        ({"weight": 0.5}, "weight is neither 0 nor 1"),
        ({"train": "no"}, "weight is neither 0 nor 1"),
        ({"train": False}, "no answer to learn"),
        ({"tool_calls": [{"name": "f"}]}, "tool turns are not supported"),
    ],
)
def test_flags_that_leave_nothing_to_learn_are_refused(pool_of, flag, reason):
    row = chat(("user", "a"), ("assistant", "b"))
    row["messages"][1] |= flag
    assert reasons(pool_of(row)) == [reason]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (ALPACA | {"output": None}, "no answer"),
        (ALPACA | {"output": float("nan")}, "no answer"),
        ({"instruction": "Add"}, "no answer"),
        ({"instruction": None, "output": "4"}, "no instruction"),
        (ALPACA | {"history": ["Hi"]}, "history is not a list of pairs"),
        ({"messages": None}, "no messages"),
        ({"prompt": "a"}, "no answer"),
    ],
)
def test_a_row_without_its_columns_is_refused_by_name(pool_of, row, reason):
    assert reasons(pool_of(row)) == [reason]


def test_a_row_of_other_columns_is_missing_what_the_others_have(pool_of):
    assert reasons(pool_of(ALPACA, {"text": "x"})) == ["no instruction"]
    assert reasons(pool_of(ALPACA, MESSAGES, {"text": "x"})) == ["no known columns"]


# Several formats on one row


def test_messages_win_over_columns_that_say_the_same(pool_of):
    pool = pool_of(ALPACA | MESSAGES)
    assert pool.files[0].format == "messages"
    assert pool.files[0].notes == ("columns instruction, input, output say the same as messages",)


def test_a_row_whose_formats_differ_is_named(pool_of):
    with pytest.raises(InputError, match=r"pool\.jsonl:2: its messages and alpaca .* --format"):
        pool_of(ALPACA | MESSAGES, ALPACA | MESSAGES | {"output": "5"})


def test_a_row_that_is_bad_in_both_formats_is_only_bad(pool_of):
    row = ALPACA | chat(("user", "Add\n\n2 and 2"), ("assistant", "")) | {"output": ""}
    assert reasons(pool_of(row, ALPACA | MESSAGES)) == ["empty answer"]


def test_a_lone_prompt_or_instruction_column_beside_messages_is_ignored(pool_of):
    pool = pool_of({"prompt": "x", "instruction": "y"} | MESSAGES)
    assert pool[0].turns == ASKED and pool[0].instruction == "y"


def test_format_forces_one_reading(pool_of):
    pool = pool_of(ALPACA | MESSAGES | {"output": "5"}, format="alpaca")
    assert pool[0].turns[1].content == "5" and pool.files[0].format == "alpaca"


def test_preference_pairs_name_the_way_out(pool_of):
    with pytest.raises(InputError, match="prompt=prompt,completion=chosen"):
        pool_of({"prompt": "a", "chosen": "b", "rejected": "c"})


def test_a_boolean_label_is_noted(pool_of):
    assert "label" in pool_of(MESSAGES | {"label": True}).files[0].notes[0]


# Fields


def test_fields_name_the_columns(pool_of):
    row = {"q": "a", "a": "b", "key": 7, "from": "here"}
    fields = {"instruction": "q", "output": "a", "id": "key", "source": "from"}
    (example,) = pool_of(row, fields=fields)
    assert (example.id, example.source, example.instruction) == ("7", "here", "a")


def test_an_instruction_column_beside_messages_is_the_instruction(pool_of):
    pool = pool_of(MESSAGES | {"definition": "Sum up."}, fields={"instruction": "definition"})
    assert pool[0].instruction == "Sum up." and pool[0].turns == ASKED


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"format": "chatml"}, "formats are messages"),
        ({"fields": {"answer": "a"}}, "fields are instruction"),
        ({"fields": {"id": "key"}}, "no row has a column key; columns are messages, x, y"),
        ({"fields": {"messages": "chat"}}, "no column chat"),
    ],
)
def test_options_that_fit_nothing_are_refused(pool_of, options, said):
    with pytest.raises(OptionError, match=said):
        pool_of(MESSAGES | {"y": 1, "x": 2}, **options)


@pytest.mark.parametrize(("own", "id"), [(1, "1"), ("x", "x"), (True, "true")])
def test_a_rows_own_id_is_kept_as_text(pool_of, own, id):
    assert pool_of(MESSAGES | {"id": own}).ids == [id]


@pytest.mark.parametrize("own", [None, float("nan"), ""])
def test_a_missing_id_becomes_the_hash_of_the_turns(pool_of, own):
    pool = pool_of(MESSAGES | {"id": own})
    assert pool.ids == [pool.digests[0].hex()]


# Sources


def test_a_folder_is_read_in_order_and_no_file_twice(tmp_path):
    for name in ("b.jsonl", "sub/a.json", "a.jsonl.gz", ".hidden.jsonl", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(lines(ALPACA))
    pool = read([str(tmp_path), str(tmp_path / "b.jsonl"), str(tmp_path / "*.jsonl")])
    assert pool.sources == ["a", "b", "a"]
    assert [file.ending for file in pool.files] == [".jsonl", ".jsonl", ".json"]


def test_the_given_name_goes_before_the_rows_own_source(tmp_path):
    (tmp_path / "x.jsonl").write_bytes(lines(ALPACA, ALPACA | {"source": "own"}))
    assert read([f"{tmp_path}/x.jsonl"]).sources == ["x", "own"]
    assert read([f"mine={tmp_path}/x.jsonl"]).sources == ["mine", "mine"]


def test_one_file_under_two_names_is_refused(tmp_path):
    (tmp_path / "x.jsonl").write_bytes(lines(ALPACA))
    with pytest.raises(InputError, match="name it once"):
        read([f"a={tmp_path}/x.jsonl", f"b={tmp_path}/x.jsonl"])


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("missing.jsonl", "does not exist"),
        ("*.jsonl", "matches no file"),
        ("", "holds no file"),
        ("notes.txt", r"\.jsonl, \.json, \.csv, \.parquet, \.arrow"),
    ],
)
def test_a_path_with_nothing_to_read_is_refused(tmp_path, path, said):
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(InputError, match=said):
        read([str(tmp_path / path)])


# Text


@pytest.mark.parametrize(
    ("compress", "ending"),
    [
        (gzip.compress, ".gz"),
        (bz2.compress, ".bz2"),
        (lzma.compress, ".xz"),
        (zstandard.ZstdCompressor().compress, ".zst"),
    ],
)
def test_compression_is_seen_whatever_the_name_and_a_cut_file_says_so(tmp_path, compress, ending):
    rows = lines(*({"instruction": str(n), "output": str(n)} for n in range(300)))
    data = compress(rows) + compress(lines(ALPACA))
    (tmp_path / "x.jsonl").write_bytes(data)
    pool = read([str(tmp_path / "x.jsonl")])
    assert len(pool) == 301 and pool.files[0].ending == ".jsonl" + ending
    (tmp_path / "x.jsonl").write_bytes(compress(rows)[:-9])
    cut = read([str(tmp_path / "x.jsonl")])
    assert reasons(cut) == ["file ends early"] and cut.files[0].rows == len(cut) + 1


def test_a_line_over_the_limit_is_one_bad_row(tmp_path):
    (tmp_path / "x.jsonl").write_bytes(lines(ALPACA, {"x": "y" * (17 << 20)}, ALPACA))
    pool = read([str(tmp_path / "x.jsonl")])
    assert [(bad.row, bad.reason) for bad in pool.rejected] == [(2, "line too long")]
    assert pool.table["row"].to_pylist() == [1, 3]


@pytest.mark.parametrize("indent", [None, 2])
def test_an_array_is_read_whatever_its_layout(tmp_path, indent):
    rows = [ALPACA, [1], MESSAGES, {"instruction": "é\u2028", "output": "b"}]
    (tmp_path / "x.jsonl").write_text(json.dumps(rows, indent=indent, ensure_ascii=False))
    pool = read([str(tmp_path / "x.jsonl")])
    assert pool.table["row"].to_pylist() == [1, 3, 4] and reasons(pool) == ["not an object"]
    assert pool[2].turns[0].content == "é\u2028"


def test_array_elements_longer_than_a_window_are_read(tmp_path):
    rows = [{"instruction": "é" * 300_000 + str(n), "output": "x"} for n in range(4)]
    (tmp_path / "x.json").write_text(json.dumps(rows, ensure_ascii=False))
    pool = read([str(tmp_path / "x.json")])
    assert [example.instruction[-1] for example in pool] == list("0123")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[{"a": 1}', "line 1, column 10: expected"),
        ('[{"a": 1}]\n\n x', "line 3, column 2: more text"),
        ('[\n{"a": 1}\n{"b"', "line 3, column 1: expected ','"),
        ("[]", "has no rows"),
        ("\n \n", "has no rows"),
        ('{\n "data": [\n1]\n}', "object over several lines with the keys data"),
    ],
)
def test_json_that_holds_no_rows_says_where(tmp_path, text, said):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(InputError, match=said):
        read([str(tmp_path / "x.json")])


def test_a_list_on_the_first_line_does_not_make_lines_an_array(tmp_path):
    (tmp_path / "x.jsonl").write_bytes(lines([1, 2], ALPACA))
    pool = read([str(tmp_path / "x.jsonl")])
    assert (len(pool), reasons(pool)) == (1, ["not an object"])


# CSV


def test_csv_records_that_do_not_fit_the_header_are_bad_rows(tmp_path):
    text = 'instruction,output\n"a\nb","c ""d"""\n\na\na,b,c\n"a"b,c\ne,f\n'
    (tmp_path / "x.csv").write_text(text)
    pool = read([str(tmp_path / "x.csv")])
    assert [tuple(turn.content for turn in example.turns) for example in pool] == [
        ("a\nb", 'c "d"'),
        ("e", "f"),
    ]
    assert reasons(pool) == ["wrong number of fields", "wrong number of fields", "not CSV"]
    assert pool.table["row"].to_pylist() == [1, 5]


def test_blank_lines_inside_a_csv_field_are_kept_as_they_are(tmp_path):
    (tmp_path / "x.csv").write_bytes(b'instruction,output\r\n\r\n"a\r\n\r\n  \r\nb",c\r\n')
    assert read([str(tmp_path / "x.csv")])[0].turns[0].content == "a\r\n\r\n  \r\nb"


def test_a_csv_field_may_be_large(tmp_path):
    (tmp_path / "x.csv").write_text("instruction,output\n" + "a" * 1_000_000 + ",b\n")
    assert len(read([str(tmp_path / "x.csv")])[0].instruction) == 1_000_000


# Tables


def arrow_file(path, table, kind):
    make = pa.ipc.new_file if kind == "file" else pa.ipc.new_stream
    with make(str(path), table.schema) as writer:
        writer.write_table(table)


@pytest.mark.parametrize("kind", ["parquet", "file", "stream"])
def test_columnar_rows_are_read_with_their_index(tmp_path, kind):
    table = pa.Table.from_pylist([ALPACA, ALPACA | {"output": None}, ALPACA])
    path = tmp_path / ("x.parquet" if kind == "parquet" else "x.arrow")
    pq.write_table(table, path) if kind == "parquet" else arrow_file(path, table, kind)
    pool = read([str(path)])
    assert pool.table["start"].to_pylist() == [0, 2]
    assert [(bad.row, bad.reason) for bad in pool.rejected] == [(2, "no answer")]


def test_a_column_that_is_not_read_may_hold_anything(tmp_path):
    times = pa.array([1], pa.timestamp("ns"))
    table = pa.Table.from_pylist([ALPACA]).append_column("when", times)
    pq.write_table(table, tmp_path / "x.parquet")
    assert read([str(tmp_path / "x.parquet")])[0].turns == ASKED


@pytest.mark.parametrize("name", ["x.parquet", "x.arrow", "x.parquet.gz"])
def test_a_table_that_is_none_is_refused_in_one_line(tmp_path, name):
    (tmp_path / name).write_bytes(b"not a table\n" * 10)
    with pytest.raises(InputError, match="not a readable") as refused:
        read([str(tmp_path / name)])
    assert "\n" not in str(refused.value)


# The hub


def test_a_split_of_the_hub_is_read_by_its_address(monkeypatch):
    import datasets

    made, asked = datasets.Dataset.from_list([ALPACA, {**ALPACA, "output": ""}]), []

    def load(name, config, split):
        asked.append((name, config, split))
        return made

    monkeypatch.setattr(datasets, "load_dataset", load)
    pool = read(["hf://org/sums:easy@test"])
    assert asked == [("org/sums", "easy", "test")]
    assert (pool.sources, reasons(pool)) == (["sums"], ["empty answer"])
    assert (pool.files[0].path, pool.files[0].ending) == ("hf://org/sums:easy@test", ".parquet")


def test_a_data_set_that_cannot_be_loaded_is_refused_in_one_line(monkeypatch):
    import datasets

    def load(name, config, split):
        raise ValueError(f"Unknown split {split}.\nShould be one of ['test'].")

    monkeypatch.setattr(datasets, "load_dataset", load)
    with pytest.raises(InputError, match=r"hf://org/sums cannot be loaded: Unknown split train\.$"):
        read(["hf://org/sums"])


def test_questions_without_answers_can_be_read_on_request(tmp_path):
    rows = [
        {"messages": [{"role": "user", "content": "one"}, {"role": "user", "content": "two"}]},
        {"instruction": "Count to three.", "output": None},
        {"prompt": "Name a colour.", "completion": None},
        {"messages": [{"role": "user", "content": " "}]},
    ]
    path = tmp_path / "questions.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert len(read([str(path)])) == 0
    pool = read([str(path)], answers=False)
    assert [example.instruction for example in pool] == ["one", "Count to three.", "Name a colour."]
    assert [bad.reason for bad in pool.rejected] == ["empty prompt"]


def test_a_dataset_is_refused_where_it_would_teach_an_answer_marked_as_not_to_be_learned(tmp_path):
    said = [
        {"role": "user", "content": "One?"},
        {"role": "assistant", "content": "No.", "weight": 0},
        {"role": "user", "content": "And now?"},
        {"role": "assistant", "content": "Yes."},
    ]
    path = tmp_path / "marked.jsonl"
    path.write_text(json.dumps({"messages": said[2:]}) + "\n" + json.dumps({"messages": said}))
    pool = read([str(path)])
    assert pool.take([0]).to_dataset()[0]["messages"][1]["content"] == "Yes."
    with pytest.raises(InputError, match=r"marked.jsonl:2: .*not to be learned"):
        pool.to_dataset()


def test_a_source_that_is_a_number_is_text(tmp_path):
    path = tmp_path / "pool.jsonl"
    rows = [{"instruction": "Count.", "output": "1", "template": n, "source": [n]} for n in (7, 8)]
    path.write_text("\n".join(map(json.dumps, rows)))
    assert read([str(path)], fields={"source": "template"}).sources == ["7", "8"]
    assert read([str(path)]).sources == ["pool", "pool"]
