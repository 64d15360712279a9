import gzip
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recipekit.component import PairBatch
from recipekit.errors import DataError
from recipekit.judges.label_files import read_labels
from recipekit.judges.labels import LabelsSpec, known_labels
from recipekit.judges.sample_rows import hidden
from recipekit.records import Verdict
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


def said(
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
def test_every_form_of_a_label_file_says_the_same(tmp_path, tiny_dataset, name, text):
    file = tmp_path / name
    file.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    assert said(LabelsSpec(file=file), tiny_dataset, tmp_path) == {
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
        for pair, (verdict, _) in said(LabelsSpec(file=file), tiny_dataset, tmp_path).items()
    }
    assert found == {
        (0, 0): POSITIVE,
        (0, 1): IGNORE,
        (1, 2): NEGATIVE,
    }  # the verdict counts, not the grade


def test_words_in_a_csv_that_people_filled_in(tmp_path, tiny_dataset):
    file = tmp_path / "people.csv"
    file.write_text(
        "\ufeffquery_id,passage_id,verdict\nq0,p0,Positive\nq0,p1,ignore\nq0,p2,\nq1,p3,negative\n"
    )
    assert {
        pair: verdict
        for pair, (verdict, _) in said(LabelsSpec(file=file), tiny_dataset, tmp_path).items()
    } == {
        (0, 0): POSITIVE,
        (0, 1): IGNORE,
        (1, 3): NEGATIVE,
    }


def drawn(tmp_path, form, rows):
    """A sample of (query, passage, verdict, draw) that people labelled, in one of its forms."""
    file = tmp_path / f"sample.{form}"
    table = pa.table(
        dict(
            zip(
                ("query_id", "passage_id", "verdict", "draw"),
                map(list, zip(*rows, strict=True)),
                strict=True,
            )
        )
    )
    if form == "csv":
        file.write_text(
            "\n".join(",".join(value or "" for value in row) for row in (table.column_names, *rows))
        )
    elif form == "jsonl":
        file.write_text("\n".join(json.dumps(row) for row in table.to_pylist()))
    elif form == "parquet":
        pq.write_table(table, file)
    else:
        with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write(table)
    return file


FORMS = ["csv", "jsonl", "parquet", "arrow"]


@pytest.mark.parametrize("form", FORMS)
def test_what_a_drawn_pair_stands_for_is_read_and_goes_with_its_pair(tmp_path, tiny_dataset, form):
    rows = [
        ("q2", "p0", "negative", hidden(300.0, "q2", "p0")),
        ("q0", "p5", None, "not labelled: not read"),
        ("q0", "p1", "positive", hidden(1.25, "q0", "p1")),
        ("q0", "p0", "negative", None),
        ("q1", "p1", "ignore", ""),
    ]
    file = drawn(tmp_path, form, rows)
    labels = read_labels(file)
    assert labels.weight.tolist() == [300.0, 1.25, 1.0, 1.0] and labels.weight.dtype == np.float32
    known = known_labels(LabelsSpec(file=file), labels, tiny_dataset, RecordingProgress())
    assert known.weight.tolist() == [1.0, 1.25, 1.0, 300.0], "in the order of the keys"
    assert known.verdict.tolist() == [NEGATIVE, POSITIVE, IGNORE, NEGATIVE]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("query_id", "draw"),
    [("12", hidden(2.0, "0012", "p0")), ("0012", "2.0"), ("0012", hidden(2.0, "0012", "p1"))],
)
def test_a_drawn_row_that_was_changed_is_named(tmp_path, form, query_id, draw):
    file = drawn(
        tmp_path,
        form,
        [("q1", "p1", "positive", hidden(1.0, "q1", "p1")), (query_id, "p0", "positive", draw)],
    )
    with pytest.raises(DataError) as raised:
        read_labels(file)
    line = 3 if form == "csv" else 2
    told = f"the cell `draw` was changed ({draw!r}), or its ids were: take both over as `recipekit judge sample` wrote them"
    assert str(raised.value) == f"{file}:{line}: {told}"
    assert raised.value.code == "RK334"


def test_without_a_draw_every_label_stands_for_itself_and_no_id_is_touched(tmp_path, qrels):
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


def test_grades_become_verdicts_as_the_recipe_says(tmp_path, tiny_dataset, qrels):
    found = said(LabelsSpec(file=qrels, min_positive_grade=2, ignore=(1,)), tiny_dataset, tmp_path)
    assert found == {(0, 0): (POSITIVE, 2.0), (0, 1): (IGNORE, 1.0), (1, 2): (NEGATIVE, 0.0)}


def test_what_the_file_does_not_hold_is_negative_only_for_the_queries_that_it_does(
    tmp_path, tiny_dataset, qrels
):
    found = said(LabelsSpec(file=qrels, missing="negative"), tiny_dataset, tmp_path)
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
    assert set(said(LabelsSpec(file=qrels), tiny_dataset, tmp_path, batches=[wanted])) == {
        (0, 1),
        (1, 2),
    }


@pytest.fixture
def complete(tmp_path):
    """Every pair of the tiny data set labelled: q's positives are p with the same number, modulo 3."""
    file = tmp_path / "complete.tsv"
    lines = [f"q{q}\tp{p}\t{int(q % 3 == p % 3)}" for q in range(24) for p in range(36)]
    file.write_text("\n".join(["query-id\tcorpus-id\tscore", *lines]))
    return file


def test_coverage_and_noise_are_near_their_shares(tmp_path, tiny_dataset, complete):
    truth = said(LabelsSpec(file=complete), tiny_dataset, tmp_path)
    spoiled = said(LabelsSpec(file=complete, coverage=0.6, noise=0.3), tiny_dataset, tmp_path)
    wrong = sum(verdict != truth[pair][0] for pair, (verdict, _) in spoiled.items())
    assert len(truth) == 864
    assert len(spoiled) / 864 == pytest.approx(0.6, abs=0.06)
    assert wrong / len(spoiled) == pytest.approx(0.3, abs=0.07)
    assert all(
        np.isnan(grade) for pair, (verdict, grade) in spoiled.items() if verdict != truth[pair][0]
    )


def test_which_pairs_are_hit_depends_on_the_seed_and_the_ids_alone(
    tmp_path, tiny_dataset, complete
):
    spec = LabelsSpec(file=complete, coverage=0.5, noise=0.2)
    whole = said(spec, tiny_dataset, tmp_path)
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
        pair: v for pair, (v, _) in said(spec, tiny_dataset, tmp_path, batches=shuffled).items()
    } == {p: v for p, (v, _) in whole.items()}
    assert set(said(spec, tiny_dataset, tmp_path, seed=14)) != set(whole)
    more = said(LabelsSpec(file=complete, coverage=0.8, noise=0.2), tiny_dataset, tmp_path)
    assert set(whole) < set(more)  # what a less able judge knows, a more able one knows too


def test_noise_reaches_the_missing_pairs_too(tmp_path, tiny_dataset, qrels):
    found = said(LabelsSpec(file=qrels, missing="negative", noise=1.0), tiny_dataset, tmp_path)
    assert found[0, 0][0] == NEGATIVE
    assert found[0, 5][0] == POSITIVE


def test_a_few_unknown_ids_are_counted_and_many_are_an_error(tmp_path, tiny_dataset):
    file = tmp_path / "qrels.tsv"
    file.write_text("query-id\tcorpus-id\tscore\nq0\tp0\t1\nq0\tp1\t1\nnobody\tp1\t1\n")
    progress = RecordingProgress()
    assert len(said(LabelsSpec(file=file), tiny_dataset, tmp_path, progress=progress)) == 2
    assert progress.events == [{"event": "judge.labels", "labels": 3, "unknown_ids": 1}]
    told = (
        "1 of 3 labels have unknown ids and are left out, the first: query 'nobody', passage 'p1'"
    )
    assert progress.warnings == [f"{file}: {told}"]
    message = r"qrels.tsv: 1 of 3 labels have unknown ids, the first: query 'nobody', passage 'p1'"
    with pytest.raises(DataError, match=message):
        LabelsSpec(file=file, max_unknown=0.1).build(context(tmp_path, dataset=tiny_dataset))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "a.tsv",
            "query-id\tcorpus-id\tscore\nq0\tp0\tmuch\n",
            "a.tsv:2: the grade 'much' is no number",
        ),
        ("a.tsv", "query-id\tcorpus-id\tscore\nq0\tp0\n", "a.tsv:2: 2 columns, the header has 3"),
        ("a.tsv", "q0 p0 1\n", "a.tsv:1: 3 columns; expected TREC's four"),
        ("a.tsv", "q0 0 p0 nan\n", "a.tsv:1: the grade 'nan' is no number"),
        (
            "a.csv",
            "query_id,text,verdict\n",
            "a.csv:1: no column passage_id; there are: query_id, text, verdict",
        ),
        ("a.csv", "", "a.csv:1: no column query_id, passage_id, verdict or grade; there are: none"),
        ("a.jsonl", '{"query_id": "q0"\n', "a.jsonl:1: is no JSON"),
        ("a.jsonl", "[1]\n", "a.jsonl:1: is no JSON object"),
        (
            "a.jsonl",
            '\n{"query_id": "q0", "passage_id": "p0", "verdict": "maybe"}\n',
            "a.jsonl:2: the verdict 'maybe' is none of positive",
        ),
        (
            "a.csv",
            "query_id,passage_id,grade\nq0,p0,1\nq0,p0,0\n",
            "a.csv: query 'q0', passage 'p0' is labelled twice, and differently",
        ),
        ("a.parquet", "no parquet", "a.parquet: cannot be read"),
        ("a.tsv.gz", "no gzip", "a.tsv.gz: cannot be read"),
    ],
)
def test_a_bad_file_is_named_with_its_line(tmp_path, tiny_dataset, name, text, message):
    file = tmp_path / name
    file.write_text(text)
    with pytest.raises(DataError) as raised:
        LabelsSpec(file=file).build(context(tmp_path, dataset=tiny_dataset))
    assert message in str(raised.value)


def test_a_missing_file_and_bytes_that_are_no_text(tmp_path, tiny_dataset):
    with pytest.raises(DataError, match=r"nowhere.tsv: no such file"):
        LabelsSpec(file=tmp_path / "nowhere.tsv").build(context(tmp_path, dataset=tiny_dataset))
    (tmp_path / "latin.tsv").write_bytes(b"query-id\tcorpus-id\tscore\nq\xe9\tp0\t1\n")
    with pytest.raises(DataError, match=r"latin.tsv: is not UTF-8 text"):
        LabelsSpec(file=tmp_path / "latin.tsv").build(context(tmp_path, dataset=tiny_dataset))


def test_the_file_counts_by_its_content(tmp_path, qrels):
    spec = LabelsSpec.model_validate({"file": "qrels.tsv"}, context={"folder": tmp_path})
    assert spec.files() == {"file": qrels}
