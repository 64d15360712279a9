import bz2
import gzip
import json
import lzma
import os
import socket
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from recipekit.errors import DataError
from recipekit.records import Label, Passage, Query
from recipekit.sources.pairs import PairsSpec
from recipekit.testing import check_source, context


def read(tmp_path: Path, file: Path, **keys):
    """Return the labels by text, the records, the source and its warnings."""
    built_in = context(tmp_path / "scratch")
    source = PairsSpec(file=file, **keys).build(built_in)
    records = list(source.load())
    texts = {record.id: record.text for record in records if not isinstance(record, Label)}
    pairs = {
        (texts[record.query_id], texts[record.passage_id]): record.grade
        for record in records
        if isinstance(record, Label)
    }
    return pairs, records, source, built_in.progress.warnings


def write_as(folder: Path, name: str, rows: list[dict]) -> Path:
    """Write rows in the format that the name shows."""
    path = folder / name
    plain = name.lower().removesuffix(".gz")
    if plain.endswith(".arrow"):
        sink = pa.BufferOutputStream()
        table = pa.Table.from_pylist(rows)
        with pa.ipc.new_file(sink, table.schema) as writer:
            writer.write(table)
        data = sink.getvalue().to_pybytes()
    elif plain.endswith(".parquet"):
        sink = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_pylist(rows), sink)
        data = sink.getvalue().to_pybytes()
    elif plain.endswith(".jsonl"):
        data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    else:
        delimiter = "," if plain.endswith(".csv") else "\t"
        quote = '"' if delimiter == "," else ""
        quoted = [[f"{quote}{value}{quote}" for value in row.values()] for row in rows]
        lines = [delimiter.join(fields) for fields in [list(rows[0]), *quoted]]
        data = "".join(f"{line}\n" for line in lines).encode()
    path.write_bytes(gzip.compress(data) if name.lower().endswith(".gz") else data)
    return path


@pytest.mark.parametrize(
    "ending",
    [
        *("jsonl", "csv", "tsv", "parquet", "arrow"),
        *("jsonl.gz", "csv.gz", "tsv.gz", "parquet.gz", "arrow.gz", "jsonl.GZ", "CSV.Gz"),
    ],
)
def test_every_format_is_read_by_column_names(tmp_path: Path, ending: str):
    rows = [
        {"answer": "Paris, it is.", "other": "x", "question": "Capital of France?"},
        {"answer": "Röm", "other": "", "question": "Italy?"},
    ]
    path = write_as(tmp_path, f"pairs.{ending}", rows)
    pairs, _, source, _ = read(tmp_path, path, query="question", positive="answer")
    assert pairs == {("Capital of France?", "Paris, it is."): 1.0, ("Italy?", "Röm"): 1.0}
    assert source.counts == {"rows": 2, "rows_without_query": 0}


def test_equal_texts_become_one_query_or_one_passage(tmp_path: Path):
    rows = [
        {"query": "a", "positive": "x"},
        {"query": "a", "positive": "y"},
        {"query": "b", "positive": "x"},
    ]
    pairs, records, _, _ = read(tmp_path, write_as(tmp_path, "pairs.jsonl", rows))
    assert list(pairs) == [("a", "x"), ("a", "y"), ("b", "x")]
    assert [record.text for record in records if isinstance(record, Query)] == ["a", "b"]
    assert [record.text for record in records if isinstance(record, Passage)] == ["x", "y"]


def test_positives_and_negatives_may_be_lists(tmp_path: Path):
    rows = [
        {"query": "a", "positive": ["x", "y"], "negatives": ["z", None, ""]},
        {"query": "b", "positive": "y"},
    ]
    pairs, *_ = read(tmp_path, write_as(tmp_path, "pairs.jsonl", rows), negatives="negatives")
    assert pairs == {("a", "x"): 1.0, ("a", "y"): 1.0, ("a", "z"): 0.0, ("b", "y"): 1.0}


def test_several_columns_of_negatives(tmp_path: Path):
    path = tmp_path / "pairs.csv"
    path.write_text('query,positive,negative_1,negative_2\na,x,"u\nu",v\nb,y,w,\n')
    pairs, *_ = read(tmp_path, path, negatives=["negative_1", "negative_2"])
    assert pairs == {
        ("a", "x"): 1.0,
        ("a", "u\nu"): 0.0,
        ("a", "v"): 0.0,
        ("b", "y"): 1.0,
        ("b", "w"): 0.0,
    }


@pytest.mark.parametrize(
    ("threshold", "grades"), [(None, [3.0, 1.0, 0.0, -1.0]), (2.0, [3.0, 0.0, 0.0, -1.0])]
)
def test_labels_below_the_threshold_are_negatives(tmp_path: Path, threshold, grades):
    path = tmp_path / "labels.tsv"
    path.write_text("label\tquery\tpassage\n3\ta\tx\n1\ta\ty\n0\ta\tz\n-1\tb\tx\n")
    pairs, *_ = read(
        tmp_path, path, positive="passage", label="label", min_positive_grade=threshold
    )
    assert list(pairs.values()) == grades


def test_scores_are_no_grades_unless_a_threshold_says_which_are_positives(tmp_path: Path):
    path = tmp_path / "similar.csv"
    path.write_text("query,positive,score\na,x,1.0\na,y,0.8\nb,z,0.1\n")
    message = r"similar\.csv:3: 'score' is 0\.8.*`min_positive_grade`.*`sts`"
    with pytest.raises(DataError, match=message):
        read(tmp_path, path, label="score")
    pairs, *_ = read(tmp_path, path, label="score", min_positive_grade=0.5)
    assert pairs == {("a", "x"): 1.0, ("a", "y"): 0.8, ("b", "z"): 0.0}


@pytest.mark.parametrize("name", ["pairs.csv", "pairs.jsonl", "pairs.parquet"])
def test_a_column_of_labels_that_is_not_read_is_noted(tmp_path: Path, name):
    row = {"query": "a", "positive": "x", "Gold_Label": "contradiction"}
    path = write_as(tmp_path, name, [row])
    ((key, note),) = PairsSpec(file=path).key_notes()
    assert key == "file"
    assert "the column 'Gold_Label' is not read, so every row counts as a positive" in note
    assert list(PairsSpec(file=path, label="Gold_Label").key_notes()) == []
    assert list(PairsSpec(file=path, title="Gold_Label").key_notes()) == []
    assert list(PairsSpec(file=tmp_path / "missing.csv").key_notes()) == []


def test_columns_of_ids_titles_and_splits(tmp_path: Path):
    rows = [
        {"query": "a", "positive": "x", "title": "X", "qid": 7, "pid": "p1", "split": "train"},
        {
            "query": "b",
            "positive": "y",
            "title": None,
            "qid": 8,
            "pid": "p2",
            "split": "validation",
        },
        {"query": "c", "positive": "y", "title": None, "qid": 9, "pid": "p2", "split": None},
        {"query": "a", "positive": "y", "title": None, "qid": 7, "pid": "p2", "split": "test"},
    ]
    keys = {"title": "title", "query_id": "qid", "passage_id": "pid", "split_column": "split"}
    _, records, _, _ = read(tmp_path, write_as(tmp_path, "pairs.jsonl", rows), **keys)
    # A query of two splits becomes two, so that the labels stay apart. Collect keeps one of them.
    queries = [
        Query("7", "a", "train"),
        Query("8", "b", "dev"),
        Query("9", "c", None),
        Query("7@test", "a", "test"),
    ]
    assert [record for record in records if isinstance(record, Query)] == queries
    assert [record for record in records if isinstance(record, Passage)] == [
        Passage("p1", "x", "X"),
        Passage("p2", "y"),
    ]
    assert records[-1] == Label("7@test", "p2")


def test_the_split_of_a_whole_file(tmp_path: Path):
    path = write_as(tmp_path, "pairs.jsonl", [{"query": "a", "positive": "x"}])
    assert read(tmp_path, path, split="test")[1][0].split == "test"


def test_empty_cells_are_missing_and_the_texts_nan_and_null_are_texts(tmp_path: Path):
    path = tmp_path / "pairs.jsonl"
    path.write_text(
        '{"query": "nan", "positive": "null"}\n\n'
        '{"query": null, "positive": "x"}\n'
        '{"query": " ", "positive": "x"}\n'
        '{"query": "b", "positive": NaN}\n'
    )
    pairs, records, source, warnings = read(tmp_path, path)
    assert pairs == {("nan", "null"): 1.0}
    assert [record.text for record in records if isinstance(record, Query)] == ["nan", "b"]
    assert source.counts == {"rows": 4, "rows_without_query": 2}
    assert warnings == [f"{path}: 2 rows without a query left out; the first is {path}:3"]


def test_quotes_can_be_read_as_plain_text(tmp_path: Path):
    path = tmp_path / "pairs.tsv"
    path.write_text('query\tpositive\n"ls" lists\tls -l "$HOME"\n')
    assert list(read(tmp_path, path, quoting="none")[0]) == [('"ls" lists', 'ls -l "$HOME"')]


def test_a_quote_at_the_start_of_a_field_of_a_tsv_swallows_no_rows(tmp_path: Path):
    path = tmp_path / "pairs.tsv"
    path.write_text('query\tpositive\na\t"x is\nb\ty\nc\tz is"\nd\t"w"\n')
    pairs, _, _, warnings = read(tmp_path, path)
    assert list(pairs) == [("a", '"x is'), ("b", "y"), ("c", 'z is"'), ("d", '"w"')]
    assert warnings == [
        f"{path}: 1 row has a field in quotes, which are read as part of the text; if they enclose "
        f"the field, set `quoting: minimal`. The first is {path}:5"
    ]
    assert read(tmp_path, path, quoting="none")[3] == []


def test_a_quoted_field_that_looks_like_several_rows_is_a_warning(tmp_path: Path):
    path = tmp_path / "pairs.csv"
    path.write_text('query,positive\na,"x is\nb,y\nc,z is"\nd,"a\npoem"\n')
    pairs, _, _, warnings = read(tmp_path, path)
    assert list(pairs) == [("a", "x is\nb,y\nc,z is"), ("d", "a\npoem")]
    assert warnings == [
        f"{path}: 1 row has a quoted field of several lines that look like rows of their own; if "
        f"quotes are plain text in this file, set `quoting: none`. The first is {path}:2"
    ]


READABLE: dict[str, tuple[str, bytes, dict]] = {
    "an array": (
        "a.json",
        b'[{"query": "a", "positive": "x"},\n {"query": "b", "positive": "y"}]',
        {},
    ),
    "an array over lines": (
        "a.jsonl",
        b'\n[\n{"query": "a",\n"positive": "x"}\n, {"query": "b", "positive": "y"}\n]\n',
        {},
    ),
    "JSON lines called .json": (
        "a.json",
        b'{"query": "a", "positive": "x"}\n{"query": "b", "positive": "y"}\n',
        {},
    ),
    "columns without a name": ("a.csv", b"query,positive,,\na,x,,\nb,y,1,2\n", {}),
    "CR line ends": ("a.csv", b"query,positive\ra,x\rb,y\r", {}),
    "CR line ends in JSON lines": (
        "a.jsonl",
        b'{"query": "a", "positive": "x"}\r{"query": "b", "positive": "y"}',
        {},
    ),
    "Excel's separator": ("a.csv", b"sep=;\r\nquery;positive\r\na;x\r\nb;y\r\n", {}),
    "Excel's separator and a delimiter": (
        "a.csv",
        b"sep=;\nquery;positive\na;x\nb;y\n",
        {"delimiter": ";"},
    ),
    "UTF-16 with a mark": ("a.tsv", "query\tpositive\r\na\tx\r\nb\ty\r\n".encode("utf-16"), {}),
    "big-endian UTF-16 with a mark": (
        "a.csv",
        b"\xfe\xff" + "query,positive\na,x\nb,y\n".encode("utf-16-be"),
        {},
    ),
    "a mark in JSON lines": (
        "a.jsonl",
        b'\xef\xbb\xbf{"query": "a", "positive": "x"}\n{"query": "b", "positive": "y"}\n',
        {},
    ),
    "gzip without its suffix": ("a.csv", gzip.compress(b"query,positive\na,x\nb,y\n"), {}),
    "a suffix without gzip": ("a.csv.gz", b"query,positive\na,x\nb,y\n", {}),
    "bzip2": ("a.csv.bz2", bz2.compress(b"query,positive\na,x\nb,y\n"), {}),
    "xz": ("a.csv.xz", lzma.compress(b"query,positive\na,x\nb,y\n"), {}),
    "zstandard": (
        "a.csv.zst",
        pa.compress(b"query,positive\na,x\nb,y\n", "zstd", asbytes=True),
        {},
    ),
    "a chosen encoding": (
        "a.csv",
        "query,positive\na,x\nb,y\n".encode("utf-16-le"),
        {"encoding": "utf-16-le"},
    ),
}


@pytest.mark.parametrize("name", READABLE)
def test_unusual_files_are_read(tmp_path: Path, name: str):
    file_name, data, keys = READABLE[name]
    path = tmp_path / file_name
    path.write_bytes(data)
    pairs, _, _, warnings = read(tmp_path, path, **keys)
    assert list(pairs) == [("a", "x"), ("b", "y")]
    assert warnings == []


def test_the_rows_of_an_array_have_their_lines(tmp_path: Path):
    path = tmp_path / "a.json"
    path.write_text('[\n{"query": "a",\n"positive": "x"},\n\n{"query": "b", "positive": 5}]')
    with pytest.raises(DataError, match=r"a.json:5: 'positive' is 5, which is not text"):
        read(tmp_path, path)


def test_latin_1_is_read_with_its_encoding(tmp_path: Path):
    path = tmp_path / "a.csv"
    path.write_bytes("query,positive\na,café €5\n".encode("windows-1252"))
    assert list(read(tmp_path, path, encoding="windows-1252")[0]) == [("a", "café €5")]
    with pytest.raises(ValidationError, match="'klingon' is not a text encoding"):
        PairsSpec(file=path, encoding="klingon")


@pytest.mark.parametrize("ending", ["parquet", "arrow"])
def test_two_columns_of_one_name_are_refused(tmp_path: Path, ending: str):
    table = pa.table([["a"], ["x"], ["y"]], names=["query", "positive", "positive"])
    path = tmp_path / f"a.{ending}"
    if ending == "parquet":
        pq.write_table(table, path)
    else:
        with pa.ipc.new_file(path, table.schema) as writer:
            writer.write(table)
    with pytest.raises(DataError) as caught:
        read(tmp_path, path)
    assert str(caught.value) == f"{path}: has more than one column 'positive'"


def test_the_arrow_files_that_datasets_caches_are_read(tmp_path: Path):
    table = pa.table({"query": ["a"], "positive": ["x"]})
    path = tmp_path / "a.arrow"
    with pa.ipc.new_stream(path, table.schema) as writer:
        writer.write(table)
    assert list(read(tmp_path, path)[0]) == [("a", "x")]


def test_pipes_sockets_and_devices_are_refused(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe.csv")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket.csv"))
    for path, kind in (
        (tmp_path / "pipe.csv", "a named pipe"),
        (tmp_path / "socket.csv", "a socket"),
        (Path("/dev/null"), "a device"),
    ):
        with pytest.raises(DataError, match=f"is {kind}; expected a regular file"):
            read(tmp_path, path, format="csv")


@pytest.mark.parametrize("delimiter", [";", "|", "\t", " "])
def test_the_delimiter_can_be_set(delimiter: str, tmp_path: Path):
    path = tmp_path / "pairs.csv"
    path.write_text(f'query{delimiter}positive\n"a, b"{delimiter}"x{delimiter}y"\n')
    assert list(read(tmp_path, path, delimiter=delimiter)[0]) == [("a, b", f"x{delimiter}y")]


@pytest.mark.parametrize("delimiter", ["", ";;", '"', "\n"])
def test_invalid_delimiters_are_refused(delimiter: str):
    with pytest.raises(ValidationError, match="delimiter"):
        PairsSpec(file="pairs.csv", delimiter=delimiter)


def test_long_fields_windows_line_ends_and_byte_order_marks_are_read(tmp_path: Path):
    path = tmp_path / "pairs.csv"
    path.write_bytes(b"\xef\xbb\xbfquery,positive\r\na," + b"x" * 200_000 + b"\r\n")
    [(query, passage)] = read(tmp_path, path)[0]
    assert query == "a" and len(passage) == 200_000


def test_the_format_can_be_set_if_the_name_does_not_show_it(tmp_path: Path):
    path = tmp_path / "data.txt"
    path.write_text("query,positive\na,x\n")
    assert list(read(tmp_path, path, format="csv")[0]) == [("a", "x")]
    with pytest.raises(DataError, match="the name does not show the format"):
        read(tmp_path, path)


def test_every_record_has_the_line_of_its_row(tmp_path: Path):
    path = tmp_path / "pairs.csv"
    path.write_text('query,positive\n\n"a\na",x\nb,y\n')
    source = PairsSpec(file=path).build(context(tmp_path))
    assert [
        str(location) for location, record in source.located() if isinstance(record, Query)
    ] == [
        f"{path}:3",
        f"{path}:5",
    ]


def test_the_source_conforms_to_the_protocol(tmp_path: Path):
    check_source(
        PairsSpec(file=write_as(tmp_path, "pairs.jsonl", [{"query": "a", "positive": "x"}])),
        context(tmp_path / "scratch"),
    )


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"label": "l", "negatives": "n"}, "label and negatives contradict each other"),
        ({"min_positive_grade": 2.0}, "min_positive_grade requires label"),
        ({"split": "train", "split_column": "s"}, "split and split_column contradict each other"),
        (
            {"query": "text", "positive": "text"},
            "the column 'text' is named twice: by query and by positive",
        ),
    ],
)
def test_contradictory_keys_are_refused(keys, message: str):
    with pytest.raises(ValidationError, match=message):
        PairsSpec(file="pairs.csv", **keys)


INVALID: dict[str, tuple[str, bytes, dict, str]] = {
    "a missing column": (
        "a.csv",
        b"qeury,positive\na,x\n",
        {},
        "{file}: no column 'query' for `query`; found qeury, positive. Did you mean 'qeury'?",
    ),
    "a missing key": (
        "a.jsonl",
        b'{"query": "a", "answer": "x"}\n',
        {},
        "{file}:1: no column 'positive' for `positive`; found query, answer.",
    ),
    "an optional key that no line has": (
        "a.jsonl",
        b'{"query": "a", "positive": "x", "negs": []}\n',
        {"negatives": "negatives"},
        "{file}: no column 'negatives' for `negatives`; found query, positive, negs. "
        "Did you mean 'negs'?",
    ),
    "another delimiter": (
        "a.csv",
        b"query;positive\na;x\n",
        {},
        "{file}: the header is one column, 'query;positive'; to split it at ';', set "
        """`delimiter: ";"`""",
    ),
    "too few fields": (
        "a.csv",
        b"query,positive\na,x\nb\n",
        {},
        "{file}:3: 1 field, but the header has 2",
    ),
    "too many fields": (
        "a.tsv",
        b"query\tpositive\na\tx\ty\n",
        {},
        "{file}:2: 3 fields, but the header has 2",
    ),
    "a repeated column": (
        "a.csv",
        b"query,positive,query\n",
        {},
        "{file}:1: the header names 'query' more than once",
    ),
    "an unclosed quote": (
        "a.csv",
        b'query,positive\na,"x\nb,y\n',
        {},
        "{file}:2: unexpected end of data; to read quotes as plain text, set `quoting: none`",
    ),
    "invalid JSON": (
        "a.jsonl",
        b'{"query": "a", "positive": "x"}\n{"query": \n',
        {},
        "{file}:2:10: invalid JSON: Expecting value",
    ),
    "not an object": (
        "a.jsonl",
        b'["a", "x"]\n',
        {},
        "{file}:1: expected a JSON object, found a list",
    ),
    "not text": (
        "a.jsonl",
        b'{"query": 5, "positive": "x"}\n',
        {},
        "{file}:1: 'query' is 5, which is not text",
    ),
    "not a number": (
        "a.csv",
        b"query,positive,label\na,x,1\nb,y,yes\n",
        {"label": "label"},
        "{file}:3: 'label' is 'yes', which is not a finite number",
    ),
    "a missing label": (
        "a.jsonl",
        b'{"query": "a", "positive": "x", "label": null}\n',
        {"label": "label"},
        "{file}:1: 'label' is missing",
    ),
    "a NaN label": (
        "a.jsonl",
        b'{"query": "a", "positive": "x", "label": NaN}\n',
        {"label": "label"},
        "{file}:1: 'label' is nan, which is not a finite number",
    ),
    "an unknown split": (
        "a.csv",
        b"query,positive,part\na,x,trian\n",
        {"split_column": "part"},
        "{file}:2: 'part' is 'trian', which is not a split. Did you mean 'train'?",
    ),
    "lists of different lengths": (
        "a.jsonl",
        b'{"query": "a", "positive": ["x", "y"], "ids": ["1"]}\n',
        {"passage_id": "ids"},
        "{file}:1: 'ids' has 1 values for 2 in 'positive'",
    ),
    "Latin-1": (
        "a.csv",
        b"query,positive\na,caf\xe9\n",
        {},
        "{file}:2: not UTF-8 text: byte 0xe9 at byte 6 of the line; convert the file to UTF-8, or "
        "set its `encoding`, such as windows-1252, in the source `pairs`",
    ),
    "UTF-16": (
        "a.csv",
        "query,positive\na,x\n".encode("utf-16-le"),
        {},
        "{file}:1: not UTF-8 text: a zero byte, as in binary data or UTF-16 without a "
        "byte order mark",
    ),
    "an image": (
        "a.jsonl",
        b"\x89PNG\r\n\x1a\n",
        {},
        "{file}:1: not UTF-8 text: byte 0x89 at byte 1 of the line; convert the file to UTF-8, or "
        "set its `encoding`, such as windows-1252, in the source `pairs`",
    ),
    "a key twice": (
        "a.jsonl",
        b'{"query": "a", "positive": "x", "positive": "y"}\n',
        {},
        "{file}:1: the key 'positive' is given more than once",
    ),
    "an unfinished array": (
        "a.json",
        b'[{"query": "a", "positive": "x"},\n {"query": "b", "positive": "y"}\n',
        {},
        "{file}:3: invalid JSON: expected ',' or ']'",
    ),
    "an invalid array": (
        "a.json",
        b'[{"query": "a", "positive": "x"},\n {"query": oops}]\n',
        {},
        "{file}:2:12: invalid JSON: Expecting value",
    ),
    "lines after an array": (
        "a.json",
        b'[{"query": "a", "positive": "x"}]\n{"query": "b", "positive": "y"}\n',
        {},
        "{file}:2: text after the end of the JSON array",
    ),
    "deep nesting": (
        "a.jsonl",
        b"[" * 100_000,
        {},
        "{file}:1: invalid JSON: it is nested too deeply",
    ),
    "quoted columns of a TSV": (
        "a.tsv",
        b'"query"\t"positive"\n"a"\t"x"\n',
        {},
        "{file}:1: the header's names are in quotes; remove all quotes, or, in the source `pairs`, "
        "set `quoting: minimal`",
    ),
    "a quoted field with a line break in a TSV": (
        "a.tsv",
        b'query\tpositive\na\t"x\ny"\n',
        {},
        "{file}:3: 1 field, but the header has 2; if quotes enclose fields in this file, set "
        "`quoting: minimal`",
    ),
    "quoted semicolons": (
        "a.csv",
        b'"query";"positive"\n"a";"x"\n',
        {},
        "{file}:1: ',' expected after '\"'; to split it at ';', set `delimiter: \";\"`",
    ),
    "a CR in a field": (
        "a.csv",
        b"query,positive\na,x\ry\n",
        {},
        "{file}:2: a carriage return (CR) in a field without quotes; the other lines end with LF",
    ),
    "a CR between two rows": (
        "a.tsv",
        b"query\tpositive\na\tx\rb\ty\n",
        {},
        "{file}:2: 3 fields, but the header has 2; the line contains a carriage return (CR), while "
        "others end with LF",
    ),
    "a workbook": (
        "a.csv",
        b"PK\x03\x04rest",
        {},
        "{file}: is a zip archive or an Excel workbook: extract the file in it, or save the sheet "
        "as CSV",
    ),
    "a Parquet file under another name": (
        "a.csv",
        b"PAR1rest",
        {},
        "{file}: is a Parquet file: rename it to end in .parquet, or set its `format` to parquet",
    ),
    "a pointer of Git LFS": (
        "a.csv",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
        {},
        "{file}: is a pointer of Git LFS: run `git lfs pull` to download the file",
    ),
    "an HTML page": (
        "a.jsonl",
        b"<!DOCTYPE html>\n<html>\n",
        {},
        "{file}: is an HTML page, as a failed download leaves it: download the file again",
    ),
    "an object over several lines": (
        "a.jsonl",
        b'{\n "query": "a",\n "positive": "x"\n}\n',
        {},
        "{file}:1:2: invalid JSON: Expecting property name enclosed in double quotes; "
        "expected one object per line, or one array of all objects",
    ),
    "a label that no float32 can hold": (
        "a.csv",
        b"query,positive,label\na,x,1e39\n",
        {"label": "label"},
        "{file}:2: 'label' is '1e39', which is not a finite number",
    ),
    "a truncated gzip file": (
        "a.csv.gz",
        gzip.compress(b"query,positive\na,x\n")[:-9],
        {},
        "{file}: not a complete compressed file: Compressed file ended before the "
        "end-of-stream marker was reached",
    ),
    "not Parquet": (
        "a.parquet",
        b"query,positive\na,x\n",
        {},
        "{file}: not a Parquet file: Parquet magic bytes not found in footer. Either the "
        "file is corrupted or this is not a parquet file.",
    ),
    "an empty file": ("a.csv", b"", {}, "{file}: no rows"),
    "only a header": ("a.csv", b"query,positive\n", {}, "{file}: no rows"),
}


@pytest.mark.parametrize("name", INVALID)
def test_invalid_files_are_errors_of_one_line(tmp_path: Path, name: str):
    file_name, data, keys, message = INVALID[name]
    file = tmp_path / file_name
    file.write_bytes(data)
    with pytest.raises(DataError) as caught:
        read(tmp_path, file, **keys)
    assert str(caught.value) == message.format(file=file)


def test_a_missing_file_and_a_folder_instead_of_a_file_are_errors(tmp_path: Path):
    with pytest.raises(DataError) as missing:
        read(tmp_path, tmp_path / "a.csv")
    assert str(missing.value) == f"{tmp_path}/a.csv: no such file or folder"
    (tmp_path / "b.csv").mkdir()
    with pytest.raises(DataError) as folder:
        read(tmp_path, tmp_path / "b.csv")
    assert str(folder.value) == f"{tmp_path}/b.csv: is a folder; expected a file"
