"""Chosen rows back out: the input's own bytes, in pool order, or not at all."""

import bz2
import gzip
import json
import lzma

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from modicum.errors import InputError
from modicum.readers import read, write_back

ROWS = [
    b'{"instruction": "a", "output": "b", "score": 1e-7}\n',
    b'{"instruction": "c",   "output": "d"}\r\n',
    b'  {"output": "\\u00e9 \xc3\xa9", "instruction": "e", "extra": [1.0]}',
]


def written(tmp_path, name, data, positions):
    (tmp_path / name).write_bytes(data)
    pool = read([str(tmp_path / name)])
    (path,) = write_back(pool, positions, tmp_path / "out")
    return path


def test_json_lines_come_back_byte_for_byte_in_pool_order(tmp_path):
    path = written(tmp_path, "x.jsonl", b"".join(ROWS), [2, 1])
    assert path.read_bytes() == ROWS[1] + ROWS[2] + b"\n"


def test_a_byte_order_mark_does_not_shift_the_rows(tmp_path):
    path = written(tmp_path, "x.jsonl", b"\xef\xbb\xbf" + b"".join(ROWS), [0])
    assert path.read_bytes() == ROWS[0]


def test_array_elements_come_back_byte_for_byte(tmp_path):
    elements = ['{"instruction": "é",\n "output": 1e-7}', '{"instruction":"c","output":"d"}']
    array = f"[ {elements[0]} ,\n{elements[1]}, {elements[1]}]"
    path = written(tmp_path, "x.json", array.encode(), [0, 2])
    assert path.read_text() == f"[\n{elements[0]},\n{elements[1]}\n]\n"


def test_an_array_and_lines_under_one_ending_become_one_array(tmp_path):
    (tmp_path / "a.json").write_bytes(b"[" + ROWS[0] + b"]")
    (tmp_path / "b.json").write_bytes(ROWS[1])
    pool = read([str(tmp_path / "a.json"), str(tmp_path / "b.json")])
    (path,) = write_back(pool, [0, 1], tmp_path / "out")
    assert json.loads(path.read_text()) == [json.loads(row) for row in ROWS[:2]]


def test_csv_comes_back_with_its_header_and_quotes(tmp_path):
    records = [b"instruction,output\r\n", b'"a\r\nb","c"\r\n', b"d,e\r\n", b'"f",g']
    path = written(tmp_path, "x.csv", b"".join(records), [0, 2])
    assert path.read_bytes() == records[0] + records[1] + records[3] + b"\n"


def test_csv_files_with_other_headers_become_two_files(tmp_path):
    (tmp_path / "a.csv").write_text("instruction,output\na,b\n")
    (tmp_path / "b.csv").write_text("output,instruction\nc,d\n")
    (tmp_path / "c.csv").write_text("instruction,output\ne,f\n")
    written = write_back(read([str(tmp_path)]), [0, 1, 2], tmp_path / "out")
    assert [path.name for path in written] == ["subset.csv", "subset-2.csv"]
    assert written[0].read_text() == "instruction,output\na,b\ne,f\n"
    assert written[1].read_text() == "output,instruction\nc,d\n"


READ = {
    ".gz": gzip.decompress,
    ".bz2": bz2.decompress,
    ".xz": lzma.decompress,
    ".zst": lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data),
}
WRITE = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstandard.ZstdCompressor().compress,
}


@pytest.mark.parametrize("kind", WRITE)
def test_compressed_rows_are_compressed_again_and_the_same_each_time(tmp_path, kind):
    data = WRITE[kind](b"".join(ROWS))
    path = written(tmp_path, f"x.jsonl{kind}", data, [1, 2])
    assert path.name == f"subset.jsonl{kind}"
    assert READ[kind](path.read_bytes()) == ROWS[1] + ROWS[2] + b"\n"
    (again,) = write_back(read([str(tmp_path / f"x.jsonl{kind}")]), [1, 2], tmp_path / "again")
    assert again.read_bytes() == path.read_bytes()


TABLE = pa.table(
    {
        "instruction": [f"{n}" for n in range(3000)],
        "output": pa.array(["x"] * 3000).dictionary_encode(),
        "when": pa.array(range(3000), pa.timestamp("ns")),
    }
).replace_schema_metadata({"made": "by hand"})


@pytest.mark.parametrize("name", ["x.parquet", "x.parquet.gz"])
def test_parquet_rows_keep_schema_metadata_and_codec(tmp_path, name):
    pq.write_table(TABLE, tmp_path / "plain", compression="zstd")
    data = (tmp_path / "plain").read_bytes()
    path = written(tmp_path, name, gzip.compress(data) if "gz" in name else data, [0, 1500, 2999])
    raw = gzip.decompress(path.read_bytes()) if "gz" in name else path.read_bytes()
    back = pq.ParquetFile(pa.BufferReader(raw))
    assert back.schema_arrow.equals(TABLE.schema, check_metadata=True)
    assert back.read().to_pydict() == TABLE.take([0, 1500, 2999]).to_pydict()
    assert back.metadata.row_group(0).column(0).compression == "ZSTD"


@pytest.mark.parametrize(
    ("make", "load"), [(pa.ipc.new_file, pa.ipc.open_file), (pa.ipc.new_stream, pa.ipc.open_stream)]
)
def test_arrow_comes_back_as_the_same_kind(tmp_path, make, load):
    with make(str(tmp_path / "plain"), TABLE.schema) as writer:
        writer.write_table(TABLE)
    path = written(tmp_path, "x.arrow", (tmp_path / "plain").read_bytes(), [0, 1500, 2999])
    back = load(path.read_bytes()).read_all()
    assert back.schema.equals(TABLE.schema, check_metadata=True)
    assert back.to_pydict() == TABLE.take([0, 1500, 2999]).to_pydict()


def test_files_of_other_schemas_become_two_files(tmp_path):
    pq.write_table(TABLE, tmp_path / "a.parquet")
    pq.write_table(TABLE.drop_columns("when"), tmp_path / "b.parquet")
    written = write_back(read([str(tmp_path)]), [0, 3001], tmp_path / "out")
    assert [path.name for path in written] == ["subset.parquet", "subset-2.parquet"]
    assert pq.read_table(written[0]).column_names == TABLE.column_names
    assert pq.read_table(written[1])["instruction"].to_pylist() == ["1"]


def test_rows_of_the_hub_come_back_as_parquet(tmp_path, monkeypatch):
    import datasets

    split = datasets.Dataset.from_list([json.loads(row) for row in ROWS])
    monkeypatch.setattr(datasets, "load_dataset", lambda *args, **options: split)
    (path,) = write_back(read(["hf://org/x"]), [0, 2], tmp_path)
    assert pq.read_table(path).to_pylist() == [split[0], split[2]]


def test_one_file_is_written_for_each_ending(tmp_path):
    for name in ("a.jsonl", "b.jsonl", "c.json"):
        (tmp_path / name).write_bytes(ROWS[0])
    pool = read([str(tmp_path / name) for name in ("a.jsonl", "c.json", "b.jsonl")])
    paths = write_back(pool, range(3), tmp_path / "out", stem="chosen")
    assert [path.name for path in paths] == ["chosen.jsonl", "chosen.json"]
    assert paths[0].read_bytes() == ROWS[0] * 2


def test_a_pool_that_was_cut_down_writes_its_own_rows(tmp_path):
    (tmp_path / "x.jsonl").write_bytes(b"".join(ROWS))
    pool = read([str(tmp_path / "x.jsonl")])
    smaller = type(pool)(pool.table.slice(1, 2), pool.files)
    (path,) = write_back(smaller, [0], tmp_path / "out")
    assert path.read_bytes() == ROWS[1]


def test_an_input_that_changed_is_refused(tmp_path):
    (tmp_path / "x.jsonl").write_bytes(b"".join(ROWS))
    pool = read([str(tmp_path / "x.jsonl")])
    (tmp_path / "x.jsonl").write_bytes(b"".join(ROWS[:2]))
    with pytest.raises(InputError, match="changed since it was read"):
        write_back(pool, [0], tmp_path / "out")


def test_nothing_is_overwritten(tmp_path):
    path = written(tmp_path, "x.jsonl", b"".join(ROWS), [0])
    with pytest.raises(InputError, match="already exists"):
        write_back(read([str(tmp_path / "x.jsonl")]), [1], path.parent)
    assert path.read_bytes() == ROWS[0]
    assert [file.name for file in path.parent.iterdir()] == ["subset.jsonl"]


def test_positions_outside_the_pool_are_refused(tmp_path):
    (tmp_path / "x.jsonl").write_bytes(ROWS[0])
    with pytest.raises(InputError, match="of a pool of 1"):
        write_back(read([str(tmp_path / "x.jsonl")]), [1], tmp_path / "out")


@pytest.mark.parametrize("positions", [[True, False, True], [0.7]])
def test_a_mask_or_a_fraction_is_no_position(tmp_path, positions):
    (tmp_path / "x.jsonl").write_bytes(b"".join(ROWS))
    pool = read([str(tmp_path / "x.jsonl")])
    with pytest.raises(InputError, match="give ints"):
        pool.take(positions)
    with pytest.raises(InputError, match="give ints"):
        write_back(pool, positions, tmp_path / "out")
    assert len(pool.take([])) == 0


TEXT = st.text(max_size=6)
GOOD = st.builds(lambda a, b: {"instruction": f"a{a}", "output": f"b{b}"}, TEXT, TEXT)
LINE = st.one_of(
    GOOD.map(lambda row: json.dumps(row).encode()),
    GOOD.map(lambda row: json.dumps(row, ensure_ascii=False).encode(errors="replace")),
    st.just(b""),
    st.binary(max_size=8).filter(lambda data: b"\n" not in data),
    st.just(b'{"instruction": "x", "output": ""}'),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(LINE, max_size=8), st.sampled_from([b"\n", b"\r\n"]))
def test_rows_in_are_kept_or_rejected_and_kept_rows_are_a_subsequence(tmp_path_factory, rows, end):
    folder = tmp_path_factory.mktemp("rows")
    first = b'{"instruction": "x", "output": "y"}'
    data = end.join([first, *rows])
    (folder / "x.jsonl").write_bytes(data)
    pool = read([str(folder / "x.jsonl")])
    full = [line for line in data.split(b"\n") if line.strip()]
    assert pool.files[0].rows == len(pool) + len(pool.rejected) == len(full)
    (path,) = write_back(pool, range(len(pool)), folder / "out")
    left = iter(data.split(b"\n"))
    assert all(line in left for line in path.read_bytes().split(b"\n")[:-1])


def test_arrow_files_whose_dictionaries_differ_are_refused_by_name(tmp_path):
    for name, colours in (("a", ["red", "blue"]), ("b", ["green", "red"])):
        table = pa.table(
            {
                "prompt": ["One?", "Two?"],
                "completion": ["Yes.", "No."],
                "colour": pa.array(colours).dictionary_encode(),
            }
        )
        with pa.ipc.new_file(tmp_path / f"{name}.arrow", table.schema) as writer:
            writer.write_table(table)
    pool = read([str(tmp_path / "a.arrow"), str(tmp_path / "b.arrow")])
    with pytest.raises(InputError, match=r"b.arrow do not fit behind those of .*a.arrow"):
        write_back(pool, [0, 3], tmp_path / "out")
