"""Rows of old files among those of a new one: as they are, or with the very turns."""

import csv
import itertools
import json
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modicum.errors import InputError
from modicum.pool import Pool
from modicum.readers.mix import unfit, write_mix

FORMATS = ("messages", "sharegpt", "alpaca", "prompt-completion")
ENDINGS = (".jsonl", ".json", ".csv", ".parquet", ".arrow")
PAIRS = [("Add 2 and 2.", "4"), ('Say "é,\r\n\u2028 hi"', "é\nhi"), ("Name a colour.", " Red ")]
ASKED = [[("user", asked), ("assistant", answer)] for asked, answer in PAIRS]
LONG = [("user", "Hi"), ("assistant", "Hello"), ("user", "Name a fruit."), ("assistant", "Fig")]
TOLD = [("system", "Be brief."), ("user", "Why?"), ("assistant", "So.")]


def row(turns, format, **more):
    """One conversation as a row of a format; alpaca and prompt-completion hold two turns."""
    names = {"user": "human", "assistant": "gpt", "system": "system"}
    if format == "messages":
        return {"messages": [{"role": r, "content": c} for r, c in turns]} | more
    if format == "sharegpt":
        return {"conversations": [{"from": names[r], "value": c} for r, c in turns]} | more
    asked, answer = (content for _, content in turns)
    if format == "alpaca":
        return {"instruction": asked, "input": "", "output": answer} | more
    return {"prompt": asked, "completion": answer} | more


def save(path, rows):
    """The rows as a file of the kind that its ending says."""
    ending = path.name.removesuffix(".gz").rpartition(".")[2]
    if ending == "csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            for one in rows:
                texts = {k: v if isinstance(v, str) else json.dumps(v) for k, v in one.items()}
                writer.writerow(texts)
    elif ending == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif ending == "arrow":
        table = pa.Table.from_pylist(rows)
        with pa.ipc.new_file(str(path), table.schema) as writer:
            writer.write_table(table)
    elif ending == "json":
        path.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    else:
        path.write_text("".join(json.dumps(one) + "\n" for one in rows), encoding="utf-8")
    return path


def pool(path, *rows, **options):
    return Pool.read(save(path, list(rows)), **options)


def said(pool):
    return [example.turns for example in pool]


def mixed(new, old, path, picks=None, seed=0):
    """Mix, read back, and compare with the turns that the order asks for."""
    picks = np.arange(len(old)) if picks is None else np.asarray(picks)
    order = np.random.default_rng(seed).permutation(len(new) + len(picks))
    write_mix(new, old, picks, path, order)
    back = Pool.read(path)
    every = said(new) + [said(old)[pick] for pick in picks]
    assert said(back) == [every[place] for place in order]
    assert not back.rejected
    return order


@pytest.fixture(scope="module")
def of_every_kind(tmp_path_factory):
    """A pool of two rows of every format in every kind of file."""
    folder = tmp_path_factory.mktemp("old")
    for format, ending in itertools.product(FORMATS, ENDINGS):
        save(folder / f"{format}{ending}", [row(turns, format) for turns in ASKED[1:]])
    return Pool.read(folder)


@pytest.mark.parametrize("into", ENDINGS)
@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("format", FORMATS)
def test_every_format_takes_every_other_in_every_kind_of_file(
    tmp_path, of_every_kind, format, ending, into
):
    new = pool(tmp_path / f"new{ending}", *(row(turns, format) for turns in ASKED[:2]))
    assert len(of_every_kind) == 40 and unfit(of_every_kind, new, into) == {}
    mixed(new, of_every_kind, tmp_path / f"mix{into}", np.arange(39, 0, -1))
    assert Pool.read(tmp_path / f"mix{into}").files[0].format == format


@pytest.mark.parametrize("ending", [".jsonl.gz", ".csv.xz", ".parquet.zst", ".json.bz2"])
def test_a_mix_is_compressed_as_its_name_says_and_the_same_each_time(tmp_path, ending):
    new = pool(tmp_path / "new.jsonl", *(row(turns, "alpaca") for turns in ASKED))
    old = pool(tmp_path / "old.csv", *(row(turns, "messages") for turns in ASKED))
    mixed(new, old, tmp_path / f"a{ending}")
    mixed(new, old, tmp_path / f"b{ending}")
    assert (tmp_path / f"a{ending}").read_bytes() == (tmp_path / f"b{ending}").read_bytes()


# As they are


def test_json_rows_of_the_same_columns_keep_their_bytes(tmp_path):
    rows = [
        b'{"instruction": "a", "output": "b", "score": 1e-7}\n',
        b'{"output":"d",  "instruction":"c"}\r\n',
        b'{"instruction": "\\u00e9", "output": "f"}',
    ]
    (tmp_path / "new.jsonl").write_bytes(rows[0])
    (tmp_path / "old.jsonl").write_bytes(b"not a row\n" + rows[1] + rows[2])
    new, old = Pool.read(tmp_path / "new.jsonl"), Pool.read(tmp_path / "old.jsonl")
    write_mix(new, old, np.array([1, 0]), tmp_path / "mix.jsonl", np.array([1, 2, 0]))
    assert (tmp_path / "mix.jsonl").read_bytes() == rows[2] + b"\n" + rows[1] + rows[0]


def test_elements_of_an_array_become_lines_without_another_change(tmp_path):
    (tmp_path / "new.jsonl").write_text('{"instruction": "a", "output": "b"}\n')
    (tmp_path / "old.json").write_text('[{"instruction": "c",\n"output": "d",\r\n"x": 1e-7}]')
    new, old = Pool.read(tmp_path / "new.jsonl"), Pool.read(tmp_path / "old.json")
    write_mix(new, old, np.array([0]), tmp_path / "mix.jsonl", np.array([1, 0]))
    first, _ = (tmp_path / "mix.jsonl").read_text().split("\n")[:-1]
    assert first == '{"instruction": "c", "output": "d",  "x": 1e-7}'


def test_csv_records_under_the_same_header_keep_their_bytes(tmp_path):
    (tmp_path / "new.csv").write_bytes(b'instruction,n,output\r\n"a",1.0,b\r\n')
    (tmp_path / "same.csv").write_bytes(b'instruction,n,output\n"c",1e-7,"d"\n')
    (tmp_path / "other.csv").write_bytes(b"output,instruction\nf,e\n")
    new = Pool.read(tmp_path / "new.csv")
    old = Pool.read(tmp_path / "same.csv", tmp_path / "other.csv")
    write_mix(new, old, np.array([0, 1]), tmp_path / "mix.csv", np.array([2, 1, 0]))
    expected = b'instruction,n,output\r\ne,,f\n"c",1e-7,"d"\n"a",1.0,b\r\n'
    assert (tmp_path / "mix.csv").read_bytes() == expected


def test_table_rows_keep_the_columns_that_the_new_table_has_and_its_schema(tmp_path):
    schema = pa.schema(
        [
            ("output", pa.string()),
            ("when", pa.timestamp("ns")),
            ("instruction", pa.dictionary(pa.int32(), pa.string())),
        ],
        {"made": "by hand"},
    )
    rows = [{"instruction": "a", "output": "b", "when": 1}]
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), tmp_path / "new.parquet")
    rows = [{"instruction": "c", "output": "d", "when": 2, "x": 3}]
    old = schema.append(pa.field("x", pa.int8()))
    pq.write_table(pa.Table.from_pylist(rows, schema=old), tmp_path / "same.parquet")
    save(tmp_path / "other.jsonl", [row(ASKED[0], "messages")])
    old = Pool.read(tmp_path / "same.parquet", tmp_path / "other.jsonl")
    mixed(Pool.read(tmp_path / "new.parquet"), old, tmp_path / "mix.parquet")
    table = pq.read_table(tmp_path / "mix.parquet")
    assert table.schema.equals(schema, check_metadata=True)
    when = zip(table["output"].to_pylist(), table["when"].cast(pa.int64()).to_pylist(), strict=True)
    assert dict(when) == {"b": 1, "d": 2, "4": None}


def test_rows_whose_columns_are_called_otherwise_are_written_anew(tmp_path):
    new = pool(tmp_path / "new.jsonl", {"instruction": "a", "context": "b", "response": "c"})
    old = pool(tmp_path / "old.jsonl", {"instruction": "d", "input": "e", "output": "f", "x": 1})
    write_mix(new, old, np.array([0]), tmp_path / "mix.jsonl", np.array([1, 0]))
    first = json.loads((tmp_path / "mix.jsonl").read_text().split("\n")[:-1][0])
    assert first == {"instruction": "d", "context": "e", "response": "f"}


def test_the_columns_that_the_user_named_are_those_of_the_mix(tmp_path):
    fields = {"instruction": "q", "output": "a"}
    new = pool(tmp_path / "new.jsonl", {"q": "Why?", "a": "So."}, **fields)
    old = pool(tmp_path / "old.csv", row(ASKED[0], "prompt-completion"))
    write_mix(new, old, np.array([0]), tmp_path / "mix.jsonl", np.array([0, 1]))
    lines = (tmp_path / "mix.jsonl").read_text().split("\n")[:-1]
    assert json.loads(lines[1]) == {"q": "Add 2 and 2.", "a": "4"}
    assert said(Pool.read(tmp_path / "mix.jsonl", **fields)) == said(new) + said(old)


def test_a_row_that_also_holds_another_format_does_not_bring_it_along(tmp_path):
    new = pool(tmp_path / "new.jsonl", row(ASKED[0], "messages"))
    both = row(ASKED[1], "messages") | {"prompt": "x", "completion": "y"}
    old = pool(tmp_path / "old.jsonl", both, format="messages")
    mixed(new, old, tmp_path / "mix.jsonl")


# Written anew


def test_turns_are_written_as_the_first_new_row_writes_them(tmp_path):
    turns = [
        {"from": "Human", "value": [{"type": "text", "text": "a"}]},
        {"from": "BOT", "value": [{"type": "text", "text": "b"}]},
    ]
    new = pool(tmp_path / "new.jsonl", {"messages": turns})
    old = pool(tmp_path / "old.jsonl", row(ASKED[0], "alpaca"))
    mixed(new, old, tmp_path / "mix.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "mix.jsonl").read_text().split("\n")[:-1]]
    (made,) = (line["messages"] for line in lines if line["messages"] != turns)
    assert made[0] == {"from": "Human", "value": [{"type": "text", "text": "Add 2 and 2."}]}
    assert made[1]["from"] == "BOT"


def test_messages_held_as_text_stay_text(tmp_path):
    held = json.dumps(row(LONG, "messages")["messages"])
    new = pool(tmp_path / "new.parquet", {"messages": held})
    old = pool(tmp_path / "old.jsonl", row(TOLD, "sharegpt"))
    mixed(new, old, tmp_path / "mix.parquet")
    assert pq.read_schema(tmp_path / "mix.parquet").field("messages").type == pa.string()


def test_prompts_that_are_lists_of_turns_take_lists_of_turns(tmp_path):
    asked = [{"role": "user", "content": "a"}]
    answer = [{"role": "assistant", "content": "b"}]
    new = pool(tmp_path / "new.jsonl", {"prompt": asked, "completion": answer})
    old = pool(tmp_path / "old.jsonl", row(TOLD, "messages"), row(LONG, "messages"))
    assert "one answer" in unfit(old, new, ".jsonl")[1]
    order = mixed(new, old, tmp_path / "mix.jsonl", [0])
    lines = (tmp_path / "mix.jsonl").read_text().split("\n")[:-1]
    made = json.loads(lines[order.tolist().index(1)])
    assert [turn["role"] for turn in made["prompt"]] == ["system", "user"]


def test_earlier_turns_become_history_and_a_system_turn_its_column(tmp_path):
    whole = row(ASKED[0], "alpaca", system="Be kind.", history=[["a", "b"]])
    old = pool(tmp_path / "old.jsonl", row(LONG, "messages"), row(TOLD, "sharegpt"))
    for ending in (".jsonl", ".parquet", ".arrow"):
        new = pool(tmp_path / f"new{ending}", whole)
        assert unfit(old, new, ending) == {}
        mixed(new, old, tmp_path / f"mix{ending}")
        assert sorted(unfit(old, new, ".csv")) == [0]  # which has no lists


@pytest.mark.parametrize(("id", "written"), [("a-1", ["new", "a-1"]), (7, [1, None])])
def test_an_id_is_written_where_the_new_file_has_one_of_its_type(tmp_path, id, written):
    new = pool(tmp_path / "new.jsonl", row(ASKED[0], "alpaca", id=written[0]))
    old = pool(tmp_path / "old.csv", row(ASKED[1], "alpaca", id="a-1"))
    write_mix(new, old, np.array([0]), tmp_path / "mix.jsonl", np.array([0, 1]))
    lines = (tmp_path / "mix.jsonl").read_text().split("\n")[:-1]
    assert [json.loads(line)["id"] for line in lines] == written


# What does not fit


def test_turns_that_the_new_format_cannot_hold_are_named_and_refused(tmp_path):
    marked = row(LONG, "messages")
    marked["messages"][1]["weight"] = 0
    rows = [row(LONG, "messages"), row(TOLD, "messages"), marked, row(ASKED[0], "messages")]
    old = pool(tmp_path / "old.csv", *rows)
    new = pool(tmp_path / "new.jsonl", row(ASKED[0], "alpaca"))
    found = unfit(old, new, ".jsonl")
    assert sorted(found) == [0, 1, 2]
    assert "no history column" in found[0] and "system turn" in found[1]
    assert "not to be learned" in found[2]
    with pytest.raises(InputError, match=r"old\.csv:2: a system turn"):
        write_mix(new, old, np.array([1]), tmp_path / "mix.jsonl", np.array([0, 1]))
    assert not list(tmp_path.glob("*mix*"))


@pytest.mark.parametrize("format", ["messages", "sharegpt"])
def test_an_answer_not_to_be_learned_fits_only_where_it_stands_as_it_is(tmp_path, format):
    marked = row(LONG, "messages")
    marked["messages"][1]["train"] = False
    old = pool(tmp_path / "old.jsonl", marked)
    new = pool(tmp_path / "new.jsonl", row(ASKED[0], format))
    assert list(unfit(old, new, ".jsonl")) == ([] if format == "messages" else [0])
    assert list(unfit(old, new, ".csv")) == [0]


def test_a_column_that_may_not_be_null_and_one_of_another_type_refuse_a_row(tmp_path):
    score = pa.field("score", pa.float64(), nullable=False)
    text, number = pa.field("output", pa.string()), pa.field("output", pa.int64())
    old = pool(tmp_path / "old.jsonl", row(ASKED[0], "messages"))
    for fields, values, reason in [
        ([score, text], {"score": 1.0, "output": "b"}, "column score of .* cannot be null"),
        ([number], {"output": 1}, "column output of .* holds int64"),
    ]:
        schema = pa.schema([("instruction", pa.string()), *fields])
        table = pa.Table.from_pylist([{"instruction": "a"} | values], schema=schema)
        pq.write_table(table, tmp_path / "new.parquet")
        found = unfit(old, Pool.read(tmp_path / "new.parquet"), ".parquet")
        assert list(found) == [0] and re.search(reason, found[0])


def test_a_folder_is_read_without_the_mixes_that_lie_in_it(tmp_path):
    new = pool(tmp_path / "new.jsonl", row(ASKED[0], "alpaca"))
    mixed(new, pool(tmp_path / "old.csv", row(ASKED[1], "alpaca")), tmp_path / "mix.jsonl.gz")
    for name in ("mix.jsonl.gz.manifest.json", "mix.jsonl.gz.rejected.jsonl", "x.manifest.json"):
        save(tmp_path / name, [row(ASKED[2], "alpaca")])
    read = [file.path.rpartition("/")[2] for file in Pool.read(tmp_path).files]
    assert read == ["new.jsonl", "old.csv", "x.manifest.json"]
    assert len(Pool.read(tmp_path / "mix.jsonl.gz")) == 2
    (tmp_path / "mix.jsonl.gz").unlink()
    assert len(Pool.read(tmp_path).files) == 3


def test_new_files_that_are_not_alike_are_named(tmp_path):
    save(tmp_path / "a.jsonl", [row(ASKED[0], "alpaca")])
    save(tmp_path / "b.jsonl", [row(ASKED[1], "messages")])
    new = Pool.read(tmp_path / "a.jsonl", tmp_path / "b.jsonl")
    with pytest.raises(InputError, match=r"a\.jsonl and .*b\.jsonl are not alike"):
        unfit(new, new, ".jsonl")


def test_new_files_that_are_alike_are_one(tmp_path):
    for name, turns in zip("ab", ASKED[:2], strict=True):
        save(tmp_path / f"{name}.csv", [row(turns, "alpaca")])
    new = Pool.read(tmp_path / "a.csv", tmp_path / "b.csv")
    mixed(new, pool(tmp_path / "old.jsonl", row(ASKED[2], "messages")), tmp_path / "mix.csv")


def test_a_file_of_two_formats_is_refused_as_new_and_welcome_as_old(tmp_path):
    both = pool(tmp_path / "a.jsonl", row(ASKED[0], "alpaca"), row(ASKED[1], "messages"))
    new = pool(tmp_path / "new.jsonl", row(ASKED[2], "messages"))
    mixed(new, both, tmp_path / "mix.jsonl")
    with pytest.raises(InputError, match=r"messages\+alpaca"):
        unfit(new, both, ".jsonl")


def test_a_mix_never_replaces_a_file_and_an_input_that_changed_is_refused(tmp_path):
    new = pool(tmp_path / "new.jsonl", row(ASKED[0], "alpaca"))
    none = np.array([], dtype=np.int64)
    with pytest.raises(InputError, match="already exists"):
        write_mix(new, new, none, tmp_path / "new.jsonl", np.array([0]))
    with pytest.raises(InputError, match=r"files read end in"):
        write_mix(new, new, none, tmp_path / "mix.txt", np.array([0]))
    save(tmp_path / "new.jsonl", [row(ASKED[1], "alpaca")])
    with pytest.raises(InputError, match="changed since it was read"):
        write_mix(new, new, none, tmp_path / "mix.jsonl", np.array([0]))


@pytest.mark.parametrize("order", [[0], [0, 0], [0, 2], [0, 1, 2]])
def test_an_order_that_is_no_permutation_is_refused(tmp_path, order):
    new = pool(tmp_path / "new.jsonl", row(ASKED[0], "alpaca"))
    with pytest.raises(InputError, match="2 rows once each"):
        write_mix(new, new, np.array([0]), tmp_path / "mix.jsonl", np.array(order))


def test_a_pool_without_files_can_be_old_but_not_new(tmp_path):
    new = pool(tmp_path / "new.jsonl", row(ASKED[0], "alpaca"))
    built = Pool(new.table)
    mixed(new, built, tmp_path / "mix.jsonl")
    with pytest.raises(InputError, match="nothing to mix into"):
        unfit(new, built, ".jsonl")


# Any text


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
WORDS = TEXT.filter(lambda text: text.strip() != "")
SYSTEM = st.lists(st.tuples(st.just("system"), TEXT), max_size=1)
TURNS = st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=3)


@settings(max_examples=60, deadline=None)
@given(system=SYSTEM, pairs=TURNS, format=st.sampled_from(FORMATS), ending=st.sampled_from(ENDINGS))
def test_whatever_fits_gives_the_very_turns(tmp_path_factory, system, pairs, format, ending):
    folder = tmp_path_factory.mktemp("any")
    more = {"system": "", "history": []} if format == "alpaca" else {}
    new = pool(folder / "new.jsonl", row(ASKED[0], format, **more))
    turns = [turn for asked, answer in pairs for turn in (("user", asked), ("assistant", answer))]
    old = pool(folder / "old.jsonl", row([*system, *turns], "messages"))
    fits = not unfit(old, new, ending)
    if fits:
        mixed(new, old, folder / f"mix{ending}")
    plain = format in ("messages", "sharegpt") or (len(pairs) == 1 and not system)
    assert fits or not plain or (ending == ".csv" and "\0" in "".join(map("".join, pairs)))
