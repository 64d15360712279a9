import gzip
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recipekit.component import PairBatch
from recipekit.errors import DataError
from recipekit.human_labels import weights_file
from recipekit.human_labels.dataset_labels import dataset_labels
from recipekit.human_labels.label_file import read_labels
from recipekit.judges.labels import LabelsSpec
from recipekit.records import Verdict
from recipekit.tables import write_table
from recipekit.testing import RecordingProgress, context

POSITIVE, NEGATIVE, IGNORE = Verdict.POSITIVE, Verdict.NEGATIVE, Verdict.IGNORE


def everything(n_queries=24, n_passages=36) -> PairBatch:
    query, passage = (axis.ravel().astype(np.int32) for axis in np.mgrid[:n_queries, :n_passages])
    return PairBatch(
        query,
        passage,
        np.zeros(len(query), bool),
        np.full(len(query), -1, np.int8),
        np.ones(len(query), bool),
    )


def verdicts_of(
    spec: LabelsSpec, dataset, tmp_path, seed=13, batches=None, progress=None
) -> dict[tuple[int, int], tuple[int, float]]:
    made = spec.build(
        context(tmp_path, dataset=dataset, seed=seed, progress=progress or RecordingProgress())
    )
    rows = [
        row
        for v in made.judge(batches or [everything()])
        for row in zip(v.query, v.passage, v.verdict, v.grade, strict=True)
    ]
    return {
        (int(query), int(passage)): (int(verdict), float(grade))
        for query, passage, verdict, grade in rows
    }


QRELS = "query-id\tcorpus-id\tscore\nq0\tp0\t2\nq0\tp1\t1\nq1\tp2\t0\n"
TREC = "q0 0 p0 2\nq0 0 p1 1\n\nq1\t0\tp2\t0\n"
JSONL = "\n".join(
    json.dumps({"query_id": q, "passage_id": p, "grade": g})
    for q, p, g in (("q0", "p0", 2), ("q0", "p1", 1), ("q1", "p2", 0))
)
CSV = 'note,passage_id,grade,query_id\n,p0,2,q0\n"a, b",p1,1,q0\n,p2,0,q1\n,p3,,q1\n'


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.tsv", QRELS),
        ("a.tsv.gz", QRELS),
        ("qrels.txt", TREC),
        ("a.jsonl", JSONL),
        ("a.jsonl.gz", JSONL),
        ("a.csv", CSV),
    ],
)
def test_every_form_of_a_label_file_has_the_same_labels(tmp_path, tiny_dataset, name, text):
    file = tmp_path / name
    file.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    assert verdicts_of(LabelsSpec(file=file), tiny_dataset, tmp_path) == {
        (0, 0): (POSITIVE, 2.0),
        (0, 1): (POSITIVE, 1.0),
        (1, 2): (NEGATIVE, 0.0),
    }


@pytest.mark.parametrize("form", ["parquet", "arrow"])
def test_exported_judgments_are_read_back(tmp_path, tiny_dataset, form):
    table = pa.table(
        {
            "query_id": ["q0", "q0", "q1", "q2"],
            "passage_id": ["p0", "p1", "p2", "p3"],
            "verdict": pa.array(["positive", "ignore", "negative", None]).dictionary_encode(),
            "grade": pa.array([None, None, 1.0, None], pa.float32()),
        }
    )
    file = tmp_path / f"judgments.{form}"
    if form == "parquet":
        pq.write_table(table, file)
    else:
        with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write(table)
    found = {
        pair: verdict
        for pair, (verdict, _) in verdicts_of(LabelsSpec(file=file), tiny_dataset, tmp_path).items()
    }
    assert found == {
        (0, 0): POSITIVE,
        (0, 1): IGNORE,
        (1, 2): NEGATIVE,
    }  # the verdict counts, not the grade


def test_verdicts_in_a_csv_are_read_in_any_case(tmp_path, tiny_dataset):
    file = tmp_path / "people.csv"
    file.write_text(
        "\ufeffquery_id,passage_id,verdict\nq0,p0,Positive\nq0,p1,ignore\nq0,p2,\nq1,p3,negative\n"
    )
    assert {
        pair: verdict
        for pair, (verdict, _) in verdicts_of(LabelsSpec(file=file), tiny_dataset, tmp_path).items()
    } == {
        (0, 0): POSITIVE,
        (0, 1): IGNORE,
        (1, 3): NEGATIVE,
    }


def sample(tmp_path, form, rows, weights):
    """A labelled sample of (query, passage, verdict), with the weight of each pair."""
    file = tmp_path / f"sample.{form}"
    columns = dict(
        zip(("query_id", "passage_id", "verdict"), map(list, zip(*rows, strict=True)), strict=True)
    )
    table = pa.table(columns)
    if form == "csv":
        lines = [table.column_names, *rows]
        file.write_text("\n".join(",".join(value or "" for value in row) for row in lines))
    elif form == "jsonl":
        file.write_text("\n".join(json.dumps(row) for row in table.to_pylist()))
    elif form == "parquet":
        pq.write_table(table, file)
    else:
        with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write(table)
    pairs = [{"query_id": q, "passage_id": p, "weight": w} for (q, p), w in weights.items()]
    weights_file(file).write_text(json.dumps({"format": 1, "pairs": pairs}))
    return file


FORMS = ["csv", "jsonl", "parquet", "arrow"]


@pytest.mark.parametrize("form", FORMS)
def test_the_weights_next_to_a_sample_belong_to_its_pairs(tmp_path, tiny_dataset, form):
    rows = [
        ("q2", "p0", "negative"),
        ("q0", "p5", None),
        ("q0", "p1", "positive"),
        ("q1", "p1", "ignore"),
    ]
    weights = {("q0", "p1"): 1.25, ("q1", "p1"): 1.0, ("q2", "p0"): 300.0, ("q0", "p5"): 2.0}
    file = sample(tmp_path, form, rows, weights)
    labels = read_labels(file)
    assert labels.weight.tolist() == [300.0, 1.25, 1.0] and labels.weight.dtype == np.float32
    found = dataset_labels(labels, tiny_dataset, RecordingProgress(), min_positive_grade=1)
    assert found.weight.tolist() == [1.25, 1.0, 300.0], "in the order of the keys"
    assert found.verdict.tolist() == [POSITIVE, IGNORE, NEGATIVE]


@pytest.mark.parametrize("form", FORMS)
def test_a_pair_that_is_not_in_the_weights_file_is_an_error(tmp_path, form):
    rows = [("q1", "p1", "positive"), ("12", "p0", "positive")]
    file = sample(tmp_path, form, rows, {("q1", "p1"): 1.0, ("0012", "p0"): 2.0})
    with pytest.raises(DataError) as raised:
        read_labels(file)
    line = 3 if form == "csv" else 2
    assert str(raised.value) == (
        f"{file}:{line}: query '12', passage 'p0' is not in sample.{form}.weights.json: restore "
        "its ids as `recipekit judge sample` wrote them, or remove that file to count all pairs "
        "equally"
    )
    assert raised.value.code == "RK334"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not as `recipekit judge sample` wrote it (JSONDecodeError"),
        ('{"pairs": [{"query_id": "q0"}]}', "wrote it (KeyError: 'passage_id')"),
        ('{"pairs": [{"query_id": "q0", "passage_id": "p0", "weight": 0}]}', "a number above 0"),
        ('{"pairs": [{"query_id": "q0", "passage_id": "p0", "weight": NaN}]}', "a number above 0"),
    ],
)
def test_a_malformed_weights_file_is_an_error(tmp_path, text, message):
    file = sample(tmp_path, "csv", [("q0", "p0", "positive")], {})
    weights_file(file).write_text(text)
    with pytest.raises(DataError) as raised:
        read_labels(file)
    assert str(raised.value).startswith(f"{file}.weights.json: ")
    assert message in str(raised.value)


def test_without_a_weights_file_labels_count_equally_and_ids_are_not_unescaped(tmp_path, qrels):
    assert read_labels(qrels).weight.tolist() == [1.0, 1.0, 1.0]
    file = tmp_path / "own.csv"
    file.write_text("query_id,passage_id,grade\n'=q,'-p,1\n")
    labels = read_labels(file)
    assert (labels.query_id.to_pylist(), labels.passage_id.to_pylist()) == (["'=q"], ["'-p"])


@pytest.fixture
def qrels(tmp_path):
    file = tmp_path / "qrels.tsv"
    file.write_text(QRELS)
    return file


def test_min_positive_grade_and_ignored_grades_map_grades(tmp_path, tiny_dataset, qrels):
    found = verdicts_of(
        LabelsSpec(file=qrels, min_positive_grade=2, ignored_grades=(1,)), tiny_dataset, tmp_path
    )
    assert found == {(0, 0): (POSITIVE, 2.0), (0, 1): (IGNORE, 1.0), (1, 2): (NEGATIVE, 0.0)}


def test_unlisted_pairs_are_negative_only_for_listed_queries(tmp_path, tiny_dataset, qrels):
    found = verdicts_of(LabelsSpec(file=qrels, unlisted_pairs="negative"), tiny_dataset, tmp_path)
    assert {query for query, _ in found} == {0, 1}
    assert len(found) == 2 * 36
    assert found[0, 5][0] == NEGATIVE
    assert np.isnan(found[0, 5][1])


def test_only_wanted_pairs_are_judged(tmp_path, tiny_dataset, qrels):
    batch = everything()
    wanted = PairBatch(
        batch.query,
        batch.passage,
        batch.source_positive,
        batch.previous_verdict,
        batch.passage != 0,
    )
    assert set(verdicts_of(LabelsSpec(file=qrels), tiny_dataset, tmp_path, batches=[wanted])) == {
        (0, 1),
        (1, 2),
    }


@pytest.fixture
def complete(tmp_path):
    """Labels of every pair of the tiny data set; q and p match if their numbers agree modulo 3."""
    file = tmp_path / "complete.tsv"
    lines = [f"q{q}\tp{p}\t{int(q % 3 == p % 3)}" for q in range(24) for p in range(36)]
    file.write_text("\n".join(["query-id\tcorpus-id\tscore", *lines]))
    return file


def test_coverage_and_error_rate_are_near_their_shares(tmp_path, tiny_dataset, complete):
    truth = verdicts_of(LabelsSpec(file=complete), tiny_dataset, tmp_path)
    degraded = verdicts_of(
        LabelsSpec(file=complete, coverage=0.6, error_rate=0.3), tiny_dataset, tmp_path
    )
    wrong = sum(verdict != truth[pair][0] for pair, (verdict, _) in degraded.items())
    assert len(truth) == 864
    assert len(degraded) / 864 == pytest.approx(0.6, abs=0.06)
    assert wrong / len(degraded) == pytest.approx(0.3, abs=0.07)
    assert all(
        np.isnan(grade) for pair, (verdict, grade) in degraded.items() if verdict != truth[pair][0]
    )


def test_errors_depend_on_the_seed_and_the_ids_alone(tmp_path, tiny_dataset, complete):
    spec = LabelsSpec(file=complete, coverage=0.5, error_rate=0.2)
    whole = verdicts_of(spec, tiny_dataset, tmp_path)
    batch = everything()
    order = np.random.default_rng(0).permutation(len(batch))
    shuffled = [
        PairBatch(
            *(
                getattr(batch, name)[rows]
                for name in ("query", "passage", "source_positive", "previous_verdict", "wanted")
            )
        )
        for rows in np.split(order, 8)
    ]
    assert {
        pair: v
        for pair, (v, _) in verdicts_of(spec, tiny_dataset, tmp_path, batches=shuffled).items()
    } == {p: v for p, (v, _) in whole.items()}
    assert set(verdicts_of(spec, tiny_dataset, tmp_path, seed=14)) != set(whole)
    more = verdicts_of(
        LabelsSpec(file=complete, coverage=0.8, error_rate=0.2), tiny_dataset, tmp_path
    )
    assert set(whole) < set(more)  # a larger coverage includes a smaller one


def test_the_error_rate_applies_to_unlisted_pairs_too(tmp_path, tiny_dataset, qrels):
    found = verdicts_of(
        LabelsSpec(file=qrels, unlisted_pairs="negative", error_rate=1.0), tiny_dataset, tmp_path
    )
    assert found[0, 0][0] == NEGATIVE
    assert found[0, 5][0] == POSITIVE


def test_a_few_unknown_ids_cause_a_warning_and_many_an_error(tmp_path, tiny_dataset):
    file = tmp_path / "qrels.tsv"
    file.write_text("query-id\tcorpus-id\tscore\nq0\tp0\t1\nq0\tp1\t1\nnobody\tp1\t1\n")
    progress = RecordingProgress()
    assert len(verdicts_of(LabelsSpec(file=file), tiny_dataset, tmp_path, progress=progress)) == 2
    assert progress.events == [{"event": "judge.labels", "labels": 3, "unknown_ids": 1}]
    warning = "1 of 3 labels have unknown ids and are skipped, the first: query 'nobody'"
    assert progress.warnings == [f"{file}: {warning}, passage 'p1'"]
    message = r"qrels.tsv: 1 of 3 labels have unknown ids, the first: query 'nobody', passage 'p1'"
    with pytest.raises(DataError, match=message):
        LabelsSpec(file=file, max_unknown_ids=0.1).build(context(tmp_path, dataset=tiny_dataset))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "a.tsv",
            "query-id\tcorpus-id\tscore\nq0\tp0\tmuch\n",
            "a.tsv:2: the grade 'much' is not a number",
        ),
        (
            "a.tsv",
            "query-id\tcorpus-id\tscore\nq0\tp0\n",
            "a.tsv:2: 2 fields, but the header has 3",
        ),
        ("a.tsv", "q0 p0 1\n", "a.tsv:1: 3 columns; expected TREC's four"),
        ("a.tsv", "q0 0 p0 nan\n", "a.tsv:1: the grade 'nan' is not a number"),
        (
            "a.csv",
            "query_id,text,verdict\n",
            "a.csv:1: no column passage_id; there are: query_id, text, verdict",
        ),
        ("a.csv", "", "a.csv:1: no column query_id, passage_id, verdict or grade; there are: none"),
        ("a.jsonl", '{"query_id": "q0"\n', "a.jsonl:1:18: invalid JSON"),
        ("a.jsonl", "[1]\n", "a.jsonl:1: expected a JSON object, found a list"),
        (
            "a.jsonl",
            '\n{"query_id": "q0", "passage_id": "p0", "verdict": "maybe"}\n',
            "a.jsonl:2: the verdict 'maybe' is not positive, negative or ignore",
        ),
        (
            "a.jsonl",
            '{"query_id": "q0", "passage_id": "p0", "grade": true}\n',
            "a.jsonl:1: the grade True is not a number",
        ),
        (
            "a.csv",
            "query_id,passage_id,grade\nq0,p0,1\nq0,p0,0\n",
            "a.csv: query 'q0', passage 'p0' has two different labels",
        ),
        ("a.parquet", "no parquet", "a.parquet: not a Parquet file"),
        ("a.csv", "query_id,query_id,verdict\n", "a.csv:1: no column passage_id"),
        (
            "a.csv",
            "query_id,passage_id,grade,grade\nq0,p0,1,0\n",
            "a.csv:1: the header names 'grade' more than once",
        ),
        ("a.jsonl", "[" * 100_000, "a.jsonl:1: invalid JSON: it is nested too deeply"),
        (
            "a.jsonl",
            '{"query_id": null, "passage_id": "p0", "verdict": "positive"}\n',
            "a.jsonl:1: the query id is None, which is not an id",
        ),
        (
            "a.csv",
            "query_id,query-id,passage_id,grade\nq0,q1,p0,1\n",
            "a.csv:1: the columns 'query_id' and 'query-id' mean the same; remove one of them",
        ),
        (
            "a.jsonl",
            '{"query_id": "q0", "passage_id": "p0", "grade": 1, "score": 0}\n',
            "a.jsonl:1: the columns 'grade' and 'score' mean the same; remove one of them",
        ),
        ("a.csv", "query_id,passage_id,grade\nq0,p0,1_0\n", "a.csv:2: the grade '1_0' is not"),
        ("a.csv", "query_id,passage_id,grade\nq0,p0,1e39\n", "a.csv:2: the grade '1e39' is not"),
        (
            "a.jsonl",
            f'{{"query_id": "q0", "passage_id": "p0", "grade": {"9" * 400}}}\n',
            "a.jsonl:1: the grade 9999",
        ),
        (
            "a.jsonl",
            f'{{"query_id": "q0", "passage_id": "p0", "grade": {"9" * 5000}}}\n',
            "a.jsonl:1: invalid JSON: a number has too many digits",
        ),
        ("a.csv", f"query_id,passage_id,verdict\nq0,p0,{'x' * 999}\n", "a.csv:2: the verdict 'xxx"),
        (
            "a.jsonl",
            '{"query_id": "q0", "passage_id": ["p0"], "verdict": "positive"}\n',
            "a.jsonl:1: the passage id is ['p0'], which is not an id",
        ),
    ],
)
def test_a_malformed_file_is_reported_with_its_line(tmp_path, tiny_dataset, name, text, message):
    file = tmp_path / name
    file.write_text(text)
    with pytest.raises(DataError) as raised:
        LabelsSpec(file=file).build(context(tmp_path, dataset=tiny_dataset))
    assert message in str(raised.value)
    assert len(str(raised.value)) < len(str(file)) + 200


def test_a_missing_file_and_bytes_that_are_not_utf_8_are_errors(tmp_path, tiny_dataset):
    with pytest.raises(DataError, match=r"nowhere.tsv: no such file"):
        LabelsSpec(file=tmp_path / "nowhere.tsv").build(context(tmp_path, dataset=tiny_dataset))
    (tmp_path / "latin.tsv").write_bytes(b"query-id\tcorpus-id\tscore\nq\xe9\tp0\t1\n")
    with pytest.raises(DataError, match=r"latin.tsv:2: not UTF-8 text"):
        LabelsSpec(file=tmp_path / "latin.tsv").build(context(tmp_path, dataset=tiny_dataset))


def test_ids_with_no_break_spaces_or_nul_are_read(tmp_path):
    (tmp_path / "a.qrels").write_text("q\u00a00 0 p0\t1 \n", encoding="utf-8")
    assert read_labels(tmp_path / "a.qrels").query_id.to_pylist() == ["q\u00a00"]
    pq.write_table(
        pa.table({"query_id": ["q\0"], "passage_id": ["p0"], "grade": [1]}), tmp_path / "a.parquet"
    )
    assert read_labels(tmp_path / "a.parquet").query_id.to_pylist() == ["q\ufffd"]


def test_blank_lines_before_the_header_are_skipped(tmp_path):
    (tmp_path / "a.csv").write_text("\n\nquery_id,passage_id,grade\nq0,p0,1\n")
    assert read_labels(tmp_path / "a.csv").query_id.to_pylist() == ["q0"]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"query_id": [["q0"]]}, "the column 'query_id' has the type list<"),
        ({"grade": [{"value": 1}]}, "the column 'grade' has the type struct<"),
        ({"grade": ["much"]}, "the column 'grade': Failed to parse"),
        ({"grade": [float("inf")]}, "row 1: the grade inf is not a number"),
        ({"passage_id": [None]}, "row 1: the passage id is None, which is not an id"),
        ({"passage_id": [""]}, "row 1: the passage id is '', which is not an id"),
        ({"query_id": [1.0]}, "the column 'query_id' has the type double; expected ids"),
        ({"query_id": [b"q0"]}, "the column 'query_id' has the type binary; expected ids"),
        ({"corpus-id": ["p1"]}, "the columns 'passage_id' and 'corpus-id' mean the same"),
        ({"verdict": ["maybe"]}, "the verdict 'maybe' is not positive"),
    ],
)
@pytest.mark.parametrize("form", ["parquet", "arrow"])
def test_a_malformed_table_is_an_error_of_one_line(tmp_path, form, columns, message):
    table = pa.table({"query_id": ["q0"], "passage_id": ["p0"], "grade": [1.0], **columns})
    file = tmp_path / f"a.{form}"
    if form == "parquet":
        pq.write_table(table, file)
    else:
        write_table(file, table.schema, [table])
    with pytest.raises(DataError) as raised:
        read_labels(file)
    assert message in str(raised.value) and "\n" not in str(raised.value)


def test_label_files_of_spreadsheets_long_texts_and_odd_characters_are_read(tmp_path):
    files = {
        "semicolons.csv": "query_id;passage_id;verdict\nq0;p0;positive\n",
        "excel.csv": "sep=;\r\nquery_id;passage_id;verdict\r\nq0;p0;positive\r\n",
        "tabs.csv": "\ufeffquery_id\tpassage_id\tverdict\nq0\tp0\tpositive\n",
        "mac.csv": "query_id,passage_id,verdict\rq0,p0,positive\r",
        "long.csv": f"query_id,passage_id,text,verdict\nq0,p0,{'word ' * 30_000},positive\n",
        "array.json": '[{"query_id": "q0", "passage_id": "p0", "verdict": "positive"}]',
    }
    for name, text in files.items():
        (tmp_path / name).write_bytes(text.encode())
        labels = read_labels(tmp_path / name)
        assert labels.query_id.to_pylist() == ["q0"], name
        assert labels.passage_id.to_pylist() == ["p0"], name
        assert labels.verdict.tolist() == [POSITIVE], name
    surrogate = tmp_path / "surrogate.jsonl"
    surrogate.write_text('{"query_id": "q\\ud83d", "passage_id": "p0", "grade": 1}\n')
    assert read_labels(surrogate).query_id.to_pylist() == ["q\ufffd"], "as collect cleans ids"


def test_the_spec_names_its_file(tmp_path, qrels):
    spec = LabelsSpec.model_validate({"file": "qrels.tsv"}, context={"folder": tmp_path})
    assert spec.files() == {"file": qrels}
