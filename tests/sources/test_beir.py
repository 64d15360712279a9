import gzip
from pathlib import Path

import pytest
from pydantic import ValidationError

from recipekit.artifacts.key import FileHashes, component_identity
from recipekit.errors import DataError
from recipekit.records import Label, Passage, Query
from recipekit.sources.beir import BeirSpec
from recipekit.testing import check_source, context

DATA = Path(__file__).parents[2].parent / "shared" / "data"

CORPUS = (
    '{"_id": "d1", "title": "Seas", "text": "Salt water."}\n{"_id": 2, "text": "Rivers run."}\n'
)
QUERIES = (
    '{"_id": "q1", "text": "sea"}\n{"_id": "q2", "text": "river"}\n{"_id": "q3", "text": "lake"}\n'
)
TRAIN = "query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\t2\t0\n"
TEST = "query-id\tcorpus-id\tscore\nq2\t2\t1\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two passages and three queries: one in train, one in test, one in no split."""
    folder = tmp_path / "seas"
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_text(CORPUS)
    (folder / "queries.jsonl").write_text(QUERIES)
    (folder / "qrels/train.tsv").write_text(TRAIN)
    (folder / "qrels/test.tsv").write_text(TEST)
    return folder


def read(folder: Path, **keys) -> list[Passage | Query | Label]:
    return list(BeirSpec(folder=folder, **keys).build(context(folder / "scratch")).load())


def test_a_folder_in_beir_layout_is_read(folder: Path):
    source = BeirSpec(folder=folder).build(context(folder / "scratch"))
    assert list(source.load()) == [
        Passage("d1", "Salt water.", "Seas"),
        Passage("2", "Rivers run."),
        Query("q1", "sea", "train"),
        Query("q2", "river", "test"),
        Label("q1", "d1", 2.0),
        Label("q1", "2", 0.0),
        Label("q2", "2", 1.0),
    ]
    assert source.counts == {"queries_without_label": 1}


def test_gzipped_files_give_the_same_records(folder: Path):
    plain = read(folder)
    for path in [*folder.glob("*.jsonl"), *folder.glob("qrels/*.tsv")]:
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    assert read(folder) == plain


@pytest.mark.parametrize(
    ("name", "text", "warning"),
    [
        (
            "validation.tsv.gz",
            "query-id\tcorpus-id\tscore\nq3\td1\t1\n",
            "not read, although it has 1 query that no other file has; to read it, set "
            "`splits: {train: train.tsv, test: test.tsv, dev: validation.tsv}`",
        ),
        (
            "official_test.tsv",
            "query-id\tcorpus-id\tscore\nq3\td1\t1\nq4\td1\t1\n",
            "not read, although it has 2 queries that no other file has; to read it, name it "
            "in `splits`",
        ),
        (
            "dev_trec.tsv",
            "q3\t0\td1\t1\n",
            "not read; to read it, name it in `splits`",
        ),
        ("train_graded.tsv", TRAIN, None),
        ("notes.txt", "q9", None),
    ],
)
def test_a_file_that_is_not_read_is_warned_of_if_queries_are_left_out(
    folder: Path, name: str, text: str, warning: str | None
):
    path = folder / "qrels" / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    build_context = context(folder / "scratch")
    records = list(BeirSpec(folder=folder).build(build_context).load())
    assert build_context.progress.warnings == ([f"{path}: {warning}"] if warning else [])
    assert read(folder, splits={"train": "train.tsv", "test": "test.tsv"}) == records


def test_splits_choose_the_qrels_files(folder: Path):
    (folder / "qrels/graded.tsv").write_text(TRAIN)
    assert [
        record.split
        for record in read(folder, splits={"dev": "graded.tsv"})
        if isinstance(record, Query)
    ] == ["dev"]
    assert [
        record.split
        for record in read(folder, splits={"all": "graded.tsv"})
        if isinstance(record, Query)
    ] == [None]


def test_a_query_of_two_splits_keeps_its_labels_apart(folder: Path):
    (folder / "qrels/test.tsv").write_text(TEST + "q1\t2\t1\n")
    records = read(folder)
    queries = [record for record in records if isinstance(record, Query)]
    assert queries == [
        Query("q1", "sea", "test"),
        Query("q1@train", "sea", "train"),
        Query("q2", "river", "test"),
    ]
    assert Label("q1@train", "d1", 2.0) in records and Label("q1", "2", 1.0) in records


def test_grades_below_the_threshold_are_negatives(folder: Path):
    (folder / "qrels/train.tsv").write_text(TRAIN + "q3\t2\t1\n")
    grades = {
        (r.query_id, r.passage_id): r.grade
        for r in read(folder, min_positive_grade=2)
        if isinstance(r, Label)
    }
    assert grades == {("q1", "d1"): 2.0, ("q1", "2"): 0.0, ("q2", "2"): 0.0, ("q3", "2"): 0.0}


def test_a_threshold_for_one_split_and_lower_grades_as_unlabelled(folder: Path):
    (folder / "qrels/train.tsv").write_text(TRAIN + "q3\t2\t1\n")
    labels = [
        record
        for record in read(folder, min_positive_grade={"train": 2}, below_min_grade="unlabelled")
        if isinstance(record, Label)
    ]
    test = [
        record for record in read(folder, splits={"test": "test.tsv"}) if isinstance(record, Label)
    ]
    assert labels == [Label("q1", "d1", 2.0), *(label for label in test if label.grade > 0)]


@pytest.mark.slow
def test_nfcorpus_by_link_strength_has_the_positives_of_its_own_qrels(tmp_path: Path):
    folder = DATA / "nfcorpus"
    if not folder.is_dir():
        pytest.skip("nfcorpus is not in ../shared/data")
    strengths = BeirSpec(
        folder=folder,
        splits={"train": "train_321.tsv"},
        min_positive_grade={"train": 2},
        below_min_grade="unlabelled",
    )
    plain = BeirSpec(folder=folder, splits={"train": "train.tsv"})
    found, usual = (
        [r for r in spec.build(context(tmp_path)).load() if isinstance(r, Label)]
        for spec in (strengths, plain)
    )
    assert sorted((r.query_id, r.passage_id) for r in found) == sorted(
        (r.query_id, r.passage_id) for r in usual
    )
    assert sorted({r.grade for r in found}) == [2, 3]


def test_the_identity_is_the_content_of_the_files_that_are_read(folder: Path):
    spec = BeirSpec(folder=folder)
    assert list(spec.files()) == ["corpus.jsonl", "queries.jsonl", "qrels.train", "qrels.test"]
    before = component_identity(spec, "recipekit", "beir", FileHashes())
    (folder / "qrels/unused.tsv").write_text(TEST)
    moved = folder.rename(folder.with_name("moved"))
    assert component_identity(BeirSpec(folder=moved), "recipekit", "beir", FileHashes()) == before
    (moved / "qrels/test.tsv").write_text(TEST + "q2\td1\t1\n")
    assert component_identity(BeirSpec(folder=moved), "recipekit", "beir", FileHashes()) != before


def test_the_source_conforms_to_the_protocol(folder: Path):
    check_source(BeirSpec(folder=folder), context(folder / "scratch"))


def test_an_unknown_split_is_refused():
    with pytest.raises(ValidationError, match="'train', 'dev', 'test' or 'all'"):
        BeirSpec(folder="x", splits={"validation": "dev.tsv"})


INVALID: dict[str, tuple[str, str | None, dict, str]] = {
    "no corpus": (
        "corpus.jsonl",
        None,
        {},
        "{folder}: no corpus.jsonl, plain or compressed",
    ),
    "a missing qrels file": (
        "qrels/train.tsv",
        TRAIN,
        {"splits": {"train": "trian.tsv"}},
        "{folder}/qrels/trian.tsv: no such file; found test.tsv, train.tsv. "
        "Did you mean 'train.tsv'?",
    ),
    "a missing id": (
        "corpus.jsonl",
        '{"id": "d1", "text": "x"}\n',
        {},
        "{folder}/corpus.jsonl:1: no '_id', which the BEIR layout requires; found id, text",
    ),
    "not text": (
        "queries.jsonl",
        '{"_id": "q1", "text": ["a"]}\n',
        {},
        "{folder}/queries.jsonl:1: 'text' is ['a'], which is not text",
    ),
    "invalid JSON": (
        "corpus.jsonl",
        CORPUS + "{oops}\n",
        {},
        "{folder}/corpus.jsonl:3:2: invalid JSON: Expecting property name enclosed in "
        "double quotes",
    ),
    "no passages": ("corpus.jsonl", "", {}, "{folder}: no passages"),
    "an empty qrels file": ("qrels/train.tsv", "", {}, "{folder}/qrels/train.tsv: no rows"),
    "a qrels file without rows": (
        "qrels/train.tsv",
        "query-id\tcorpus-id\tscore\n",
        {},
        "{folder}/qrels/train.tsv: no rows",
    ),
    "a TREC file of one line": (
        "qrels/train.tsv",
        "q1\t0\td1\t1\n",
        {},
        "{folder}/qrels/train.tsv:1: no 'query-id', which the BEIR layout requires; "
        "found q1, 0, d1, 1",
    ),
    "a missing header": (
        "qrels/train.tsv",
        "q1\td1\t1\nq1\t2\t1\n",
        {},
        "{folder}/qrels/train.tsv:1: no 'query-id', which the BEIR layout requires; "
        "found q1, d1, 1",
    ),
    "semicolons as delimiters": (
        "qrels/train.tsv",
        "query-id;corpus-id;score\nq1;d1;1\n",
        {},
        "{folder}/qrels/train.tsv:1: no 'query-id', which the BEIR layout requires; found "
        "query-id;corpus-id;score as one column: separate the columns with tabs",
    ),
    "commas as delimiters": (
        "qrels/train.tsv",
        "query-id,corpus-id,score\nq1,d1,1\n",
        {},
        "{folder}/qrels/train.tsv:1: no 'query-id', which the BEIR layout requires; found "
        "query-id,corpus-id,score as one column: separate the columns with tabs",
    ),
    "not a number": (
        "qrels/train.tsv",
        "query-id\tcorpus-id\tscore\nq1\td1\thigh\n",
        {},
        "{folder}/qrels/train.tsv:2: 'score' is 'high', which is not a finite number",
    ),
}


@pytest.mark.parametrize("name", INVALID)
def test_invalid_files_are_errors_of_one_line(folder: Path, name: str):
    file, text, keys, message = INVALID[name]
    if text is None:
        (folder / file).unlink()
    else:
        (folder / file).write_text(text)
    with pytest.raises(DataError) as caught:
        read(folder, **keys)
    assert str(caught.value) == message.format(folder=folder)


def test_bytes_that_are_not_utf8_are_an_error(folder: Path):
    (folder / "corpus.jsonl").write_bytes(CORPUS.encode() + b'{"_id": "3", "text": "\xff"}\n')
    with pytest.raises(DataError) as caught:
        read(folder)
    assert (
        str(caught.value)
        == f"{folder}/corpus.jsonl:3: not UTF-8 text: byte 0xff at byte 23 of the line; convert "
        "the file to UTF-8, or set its `encoding`, such as windows-1252, in the source `pairs`"
    )


def test_a_missing_folder_a_file_and_a_folder_without_qrels_are_errors(
    folder: Path, tmp_path: Path
):
    for path, message in (
        (tmp_path / "nowhere", "no such folder"),
        (folder / "corpus.jsonl", "is a file; expected the folder that holds corpus.jsonl"),
    ):
        with pytest.raises(DataError) as caught:
            read(path)
        assert str(caught.value) == f"{path}: {message}"
    for path in folder.glob("qrels/*"):
        path.rename(path.with_name(f"official_{path.name}"))
    with pytest.raises(DataError) as caught:
        read(folder)
    assert str(caught.value) == (
        f"{folder}/qrels: no train.tsv, dev.tsv or test.tsv; found official_test.tsv, "
        "official_train.tsv. Name other files in `splits`."
    )


@pytest.mark.parametrize(
    ("name", "passages", "queries", "labels"),
    [
        ("nfcorpus", 3633, 3237, 134_294),
        ("scifact", 5183, 1109, 1258),
        ("cranfield", 1400, 225, 1837),
        ("medquad", 17_941, 14_344, 16_450),
    ],
)
def test_published_data_sets_have_their_published_sizes(
    name: str, passages: int, queries: int, labels: int, tmp_path: Path
):
    if not (DATA / name).is_dir():
        pytest.skip(f"{name} is not in ../shared/data")
    kinds = [
        type(record) for record in BeirSpec(folder=DATA / name).build(context(tmp_path)).load()
    ]
    assert [kinds.count(kind) for kind in (Passage, Query, Label)] == [passages, queries, labels]


def test_titles_and_texts_that_data_frames_left_out_are_empty(folder: Path):
    (folder / "corpus.jsonl").write_text(
        '{"_id": "d1", "title": NaN, "text": "x"}\n{"_id": "d2", "title": null, "text": NaN}\n'
    )
    passages = [record for record in read(folder) if isinstance(record, Passage)]
    assert passages == [Passage("d1", "x", ""), Passage("d2", "", "")]
