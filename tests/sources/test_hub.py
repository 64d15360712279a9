import json
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from recipekit.errors import ComponentError, DataError
from recipekit.records import Label, Passage, Query
from recipekit.sources.hub import HubSpec
from recipekit.testing import check_source, context

ROWS = [{"question": f"question {i}", "answer": f"answer {i}"} for i in range(40)]
COLUMNS = {"query": "question", "positive": "answer"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of JSON lines files."""
    folder = tmp_path / "answers"
    folder.mkdir()
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    (folder / "test.jsonl").write_text(
        json.dumps({"question": "last one", "answer": "answer 3"}) + "\n"
    )
    return folder


def read(tmp_path: Path, seed: int = 13, **keys):
    return list(HubSpec(**keys).build(context(tmp_path / "scratch", seed=seed)).load())


def queries(records) -> dict[str, str | None]:
    return {record.text: record.split for record in records if isinstance(record, Query)}


def test_a_folder_of_files_is_read(tmp_path: Path, folder: Path):
    source = HubSpec(folder=folder, **COLUMNS, splits={"train": "train", "test": "test"}).build(
        context(tmp_path / "scratch")
    )
    records = list(source.load())
    assert queries(records) == {**{row["question"]: "train" for row in ROWS}, "last one": "test"}
    assert sum(isinstance(record, Passage) for record in records) == 40
    assert source.counts == {"rows": 41, "rows_without_query": 0}


def test_a_query_of_two_splits_keeps_its_labels_apart(tmp_path: Path, folder: Path):
    (folder / "test.jsonl").write_text(
        json.dumps({"question": "question 3", "answer": "answer 0"}) + "\n"
    )
    records = read(tmp_path, folder=folder, **COLUMNS, splits={"train": "train", "test": "test"})
    found = [
        record for record in records if isinstance(record, Query) and record.text == "question 3"
    ]
    assert [(record.id.rpartition("@")[2], record.split) for record in found] == [
        (found[0].id, "train"),
        ("test", "test"),
    ]


@pytest.mark.parametrize("format", ["parquet", "saved", "saved with splits"])
def test_other_formats_give_the_same_records(tmp_path: Path, folder: Path, format: str):
    import datasets

    table = datasets.Dataset.from_list(ROWS)
    other = tmp_path / "other"
    if format == "parquet":
        other.mkdir()
        table.to_parquet(other / "data.parquet")
    elif format == "saved":
        table.save_to_disk(other)
    else:
        datasets.DatasetDict({"train": table}).save_to_disk(other)
    assert read(tmp_path, folder=other, **COLUMNS) == read(tmp_path, folder=folder, **COLUMNS)


def test_streaming_gives_the_same_records(tmp_path: Path, folder: Path):
    assert read(tmp_path, folder=folder, **COLUMNS, streaming=True) == read(
        tmp_path, folder=folder, **COLUMNS
    )


@pytest.mark.parametrize("streaming", [False, True])
def test_a_sample_depends_on_the_seed(tmp_path: Path, folder: Path, streaming: bool):
    keys = {"folder": folder, **COLUMNS, "sample_size": 10, "streaming": streaming}
    sample = queries(read(tmp_path, **keys))
    assert len(sample) == 10 and set(sample) <= {row["question"] for row in ROWS}
    assert sample == queries(read(tmp_path, **keys)) != queries(read(tmp_path, seed=14, **keys))
    assert len(queries(read(tmp_path, **{**keys, "sample_size": 1000}))) == 40


def write_beir(folder: Path, *parts: str) -> None:
    """Write a corpus, queries and two splits of qrels with numeric ids, as mteb publishes them."""
    corpus, queries, qrels = parts
    for name in parts:
        (folder / name).mkdir(parents=True)
    (folder / corpus / "corpus.jsonl").write_text(
        '{"_id": "1", "title": "Seas", "text": "Salt."}\n'
        '{"_id": "2", "title": "", "text": "Rivers."}\n'
    )
    (folder / queries / "queries.jsonl").write_text(
        '{"_id": "7", "text": "sea"}\n{"_id": "8", "text": "river"}\n'
    )
    (folder / qrels / "train.jsonl").write_text('{"query-id": 7, "corpus-id": 1, "score": 2}\n')
    (folder / qrels / "validation.jsonl").write_text(
        '{"query-id": 8, "corpus-id": 2, "score": 1.0}\n'
    )


EXPECTED = [
    Passage("1", "Salt.", "Seas"),
    Passage("2", "Rivers."),
    Query("7", "sea", "train"),
    Query("8", "river", "dev"),
    Label("7", "1", 2.0),
    Label("8", "2", 1.0),
]


def test_the_beir_layout_is_read_from_subfolders(tmp_path: Path):
    write_beir(tmp_path / "seas", "corpus", "queries", "default")
    assert read(tmp_path, folder=tmp_path / "seas", layout="beir") == EXPECTED


def test_the_beir_layout_is_read_from_the_configurations_of_a_data_card(tmp_path: Path):
    write_beir(tmp_path / "seas", "data_c", "data_q", "data_r")
    (tmp_path / "seas/README.md").write_text(
        """---
configs:
- config_name: corpus
  data_files: [{split: corpus, path: data_c/corpus.jsonl}]
- config_name: queries
  data_files: [{split: queries, path: data_q/queries.jsonl}]
- config_name: default
  data_files:
  - {split: train, path: data_r/train.jsonl}
  - {split: validation, path: data_r/validation.jsonl}
---
"""
    )
    assert read(tmp_path, folder=tmp_path / "seas", layout="beir") == EXPECTED


def test_a_folder_of_a_beir_archive_can_replace_a_data_set_on_the_hub(tmp_path: Path):
    folder = tmp_path / "seas"
    write_beir(folder, "c", "q", "qrels")
    (folder / "c/corpus.jsonl").rename(folder / "corpus.jsonl")
    (folder / "q/queries.jsonl").rename(folder / "queries.jsonl")
    (folder / "qrels/train.tsv").write_text("query-id\tcorpus-id\tscore\n7\t1\t2\n")
    (folder / "qrels/dev.tsv").write_text("query-id\tcorpus-id\tscore\n8\t2\t1\n")
    assert read(tmp_path, dataset="mteb/seas", folder=folder, layout="beir") == EXPECTED


def test_the_source_conforms_to_the_protocol(tmp_path: Path, folder: Path):
    check_source(HubSpec(folder=folder, **COLUMNS), context(tmp_path / "scratch"))


# Identity
# ------


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty Hugging Face cache."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def test_the_revision_is_pinned_or_cached(cached: Path):
    refs = cached / "datasets--mteb--seas" / "refs"
    refs.mkdir(parents=True)
    (refs / "main").write_text("a" * 40)
    (refs / "v2").write_text("b" * 40)
    assert HubSpec(dataset="mteb/seas").fingerprint() == {"dataset": "a" * 40}
    assert HubSpec(dataset="mteb/seas", revision="v2").fingerprint() == {"dataset": "b" * 40}
    assert HubSpec(dataset="mteb/seas", revision="c" * 40).fingerprint() == {"dataset": "c" * 40}
    assert HubSpec(dataset="mteb/seas", folder="seas").fingerprint() is None


OFFLINE = (
    "data set 'mteb/seas' is not in the local cache, and the Hugging Face Hub cannot be reached: "
    "run once with a network, or set `folder` to a copy on disk"
)


def test_without_a_network_the_error_is_one_line(tmp_path: Path, cached: Path):
    with pytest.raises(ComponentError) as unknown:
        HubSpec(dataset="mteb/seas").fingerprint()
    assert str(unknown.value) == OFFLINE
    with pytest.raises(DataError) as unreachable:
        read(tmp_path, dataset="mteb/seas")
    assert str(unreachable.value) == OFFLINE
    with pytest.raises(DataError) as pinned:
        read(tmp_path, dataset="mteb/seas", config_name="corpus", revision="c" * 40)
    assert str(pinned.value) == OFFLINE.replace("mteb/seas", "mteb/seas (corpus)")


def test_planning_imports_neither_torch_nor_datasets(folder: Path):
    program = f"""
import sys
from recipekit.sources.hub import HubSpec

HubSpec(folder={str(folder)!r}).files()
HubSpec(dataset="a/b", revision="c" * 40).fingerprint()
heavy = ("torch", "transformers", "datasets", "pandas")
print([name for name in heavy if name in sys.modules])
"""
    assert (
        subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True
        ).stdout
        == "[]\n"
    )


# Errors
# ------


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({}, "name a data set on the Hub"),
        ({"dataset": "a/b", "qrels_dataset": "a/c"}, "qrels_dataset belongs to the layout beir"),
        (
            {"dataset": "a/b", "layout": "beir", "sample_size": 5},
            "sample_size belongs to the layout pairs",
        ),
        ({"dataset": "a/b", "layout": "beir", "query": "q"}, "query belongs to the layout pairs"),
        (
            {"dataset": "a/b", "split_column": "s", "splits": {"train": "train"}},
            "split_column contradicts splits",
        ),
        ({"dataset": "a b"}, "String should match pattern"),
    ],
)
def test_contradictory_keys_are_refused(keys, message: str):
    with pytest.raises(ValidationError, match=message):
        HubSpec(**keys)


def test_unknown_columns_splits_folders_and_configurations_are_errors(tmp_path: Path, folder: Path):
    nowhere = tmp_path / "nowhere"
    (tmp_path / "empty").mkdir()
    for keys, message in (
        (
            {"folder": folder},
            f"{folder} [train]: no column 'query' for `query`; found question, answer.",
        ),
        (
            {"folder": folder, "splits": {"dev": "dev"}},
            f"""{folder}: Unknown split "dev". Should be one of ['train', 'test'].""",
        ),
        ({"folder": nowhere}, f"{nowhere}: no such folder"),
        (
            {"folder": folder / "test.jsonl"},
            f"{folder}/test.jsonl: is a file; expected a folder",
        ),
        (
            {"folder": folder, "config_name": "corpse"},
            f"{folder} (corpse): BuilderConfig 'corpse' not found. Available: ['default']",
        ),
    ):
        with pytest.raises(DataError) as caught:
            read(tmp_path, **keys)
        assert str(caught.value) == message


def test_a_row_that_is_no_text_is_named(tmp_path: Path):
    (tmp_path / "numbers").mkdir()
    (tmp_path / "numbers/data.jsonl").write_text('{"query": 1, "positive": "x"}\n')
    with pytest.raises(DataError) as caught:
        read(tmp_path, folder=tmp_path / "numbers")
    assert (
        str(caught.value) == f"{tmp_path}/numbers [train]: row 1: 'query' is 1, which is not text"
    )
