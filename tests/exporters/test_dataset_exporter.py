"""The exported data set and its card."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from recipekit.errors import DataError
from recipekit.exporters.dataset import DatasetExporterSpec
from recipekit.judges.labels import LabelsSpec
from recipekit.records import Label, Passage, Query, Verdict
from recipekit.report.blocks import ReportSection, Table, Text
from recipekit.sources.beir import BeirSpec
from recipekit.tables import CANDIDATES, JUDGMENTS, read_table, write_table
from recipekit.testing import context

NEGATIVE, POSITIVE, IGNORE = Verdict.NEGATIVE, Verdict.POSITIVE, Verdict.IGNORE
CARD = {
    "name": "demo",
    "description": "Words.",
    "recipe": "recipe: 1\nname: demo\n",
    "command": "recipekit run demo.yaml",
    "judging": {
        "unjudged": 3,
        "verdicts": {"positive": 3, "negative": 5, "ignore": 1},
        "judges": {"llm": {"judged": 6, "verdicts": {"positive": 1, "negative": 4, "ignore": 1}}},
    },
}


@pytest.fixture
def judged(tmp_path, tiny_dataset):
    """What judge and mine wrote.

    Query 0: p0 is a source positive, p1 found, p2 to p4 negative, p5 ignored. Query 1: p1 is a
    source positive, p9 a source negative. Query 2: p2 is a refuted source positive.
    """
    rows = [
        (0, 0, POSITIVE, 1.0, None, None, "source"),
        (0, 1, POSITIVE, 3.0, 0.75, "answers it", "llm"),
        *((0, passage, NEGATIVE, None, None, None, "llm") for passage in (2, 3, 4)),
        (0, 5, IGNORE, None, None, None, "llm"),
        (1, 1, POSITIVE, 1.0, None, None, "source"),
        (1, 9, NEGATIVE, 0.0, None, None, "source"),
        (2, 2, NEGATIVE, None, None, None, "llm"),
    ]
    candidates = [
        (0, 4, False, 0.9),
        (0, 1, False, 0.8),
        (0, 2, False, 0.7),
        (0, 3, False, 0.6),
        (0, 0, True, None),
        (1, 1, True, None),
    ]
    files = {name: tmp_path / f"{name}.arrow" for name in ("judgments", "candidates")}
    # The stage writes a dictionary with all judges, more than the rows name.
    columns = [
        pa.array(column, field.type)
        for column, field in zip(zip(*rows, strict=True), JUDGMENTS, strict=True)
    ]
    write_table(files["judgments"], JUDGMENTS, [pa.table(columns, schema=JUDGMENTS)])
    write_table(
        files["candidates"],
        CANDIDATES,
        [pa.table(list(zip(*candidates, strict=True)), schema=CANDIDATES)],
    )
    return files


def export(spec, inputs, dataset, tmp_path, card=CARD):
    folder = tmp_path / "exported"
    folder.mkdir()
    exporter = spec.build(context(tmp_path / "scratch", dataset=dataset))
    return folder, exporter.export(inputs, card, folder)["rows"]


def test_the_folder_reads_back_as_beir(judged, tiny_dataset, tmp_path):
    folder, rows = export(DatasetExporterSpec(), judged, tiny_dataset, tmp_path)
    records = list(BeirSpec(folder=folder).build(context(tmp_path / "source")).load())
    passages = {record.id: record.text for record in records if isinstance(record, Passage)}
    queries = {
        record.id: (record.text, record.split) for record in records if isinstance(record, Query)
    }
    labels = {
        (record.query_id, record.passage_id): record.grade
        for record in records
        if isinstance(record, Label)
    }
    assert passages == dict(
        zip(tiny_dataset.passages.ids, tiny_dataset.passages.texts(range(36)), strict=True)
    )
    assert queries["q0"] == (tiny_dataset.queries.texts([0])[0], "train")
    assert queries["q13"][1] == "dev"
    assert (labels["q0", "p1"], labels["q1", "p9"], labels["q13", "p13"]) == (1.0, 0.0, 1.0)
    assert ("q2", "p2") not in labels, "a source positive that a judge refuted"
    assert len(labels) == 4 + 9 + 12
    assert rows == {
        "corpus.jsonl": 36,
        "queries.jsonl": 24,
        "qrels/train.tsv": 4 + 9,
        "qrels/dev.tsv": 6,
        "qrels/test.tsv": 6,
        "judgments.parquet": 9,
        "triplets.parquet": 0,
    }


def test_qrels_have_integer_scores_and_beirs_header(judged, tiny_dataset, tmp_path):
    folder, _ = export(DatasetExporterSpec(), judged, tiny_dataset, tmp_path)
    assert (folder / "qrels" / "train.tsv").read_text().splitlines()[:5] == [
        "query-id\tcorpus-id\tscore", "q0\tp0\t1", "q0\tp1\t1", "q1\tp1\t1", "q1\tp9\t0",
    ]  # fmt: skip
    assert json.loads((folder / "queries.jsonl").read_text().splitlines()[0]) == {
        "_id": "q0",
        "text": tiny_dataset.queries.texts([0])[0],
    }


def test_judgments_keep_three_states_and_their_judge(judged, tiny_dataset, tmp_path):
    folder, _ = export(DatasetExporterSpec(), judged, tiny_dataset, tmp_path)
    rows = {
        (row["query_id"], row["passage_id"]): row
        for row in pq.read_table(folder / "judgments.parquet").to_pylist()
    }
    assert rows["q0", "p1"] == {
        "query_id": "q0", "passage_id": "p1", "verdict": "positive",
        "grade": 3.0, "confidence": 0.75, "reason": "answers it", "judge": "llm",
    }  # fmt: skip
    assert rows["q0", "p5"]["verdict"] == "ignore"
    assert rows["q0", "p2"]["grade"] is None
    spec = LabelsSpec(file=folder / "judgments.parquet")
    known = spec.build(context(tmp_path / "again", dataset=tiny_dataset)).labels
    assert known.verdict.tolist() == read_table(judged["judgments"])["verdict"].to_pylist()


def test_triplets_take_the_hardest_judged_negatives_and_nothing_ignored(
    judged, tiny_dataset, tmp_path
):
    folder, rows = export(DatasetExporterSpec(num_negatives=2), judged, tiny_dataset, tmp_path)
    text = tiny_dataset.passages.texts(range(36))
    assert pq.read_table(folder / "triplets.parquet").to_pylist() == [
        {
            "query": tiny_dataset.queries.texts([0])[0],
            "positive": text[positive],
            "negative_1": text[4],
            "negative_2": text[2],
        }
        for positive in (0, 1)
    ]
    assert rows["triplets.parquet"] == 2


def test_sentence_transformers_trains_on_the_triplets(judged, tiny_dataset, tiny_model, tmp_path):
    from datasets import Dataset as HubDataset
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    folder, _ = export(DatasetExporterSpec(num_negatives=1), judged, tiny_dataset, tmp_path)
    columns = HubDataset.from_parquet(
        str(folder / "triplets.parquet"), cache_dir=str(tmp_path / "cache")
    ).to_dict()
    assert list(columns) == ["query", "positive", "negative_1"]
    model = SentenceTransformer(str(tiny_model), device="cpu")
    features = [model.preprocess(texts) for texts in columns.values()]
    assert np.isfinite(MultipleNegativesRankingLoss(model)(features, labels=None).item())


def test_without_judge_and_mine_the_labels_are_the_judgments(tiny_dataset, tmp_path):
    folder, rows = export(DatasetExporterSpec(triplets=False), {}, tiny_dataset, tmp_path)
    assert rows["judgments.parquet"] == 24
    assert rows["qrels/train.tsv"] == 12
    assert not (folder / "triplets.parquet").exists()
    assert set(pq.read_table(folder / "judgments.parquet")["judge"].to_pylist()) == {"source"}


def test_the_data_card_states_files_judgments_and_how_to_reproduce(judged, tiny_dataset, tmp_path):
    folder, _ = export(DatasetExporterSpec(), judged, tiny_dataset, tmp_path)
    _, front, body = (folder / "README.md").read_text().split("---\n", 2)
    metadata = yaml.safe_load(front)
    assert [config["config_name"] for config in metadata["configs"]] == [
        "corpus",
        "queries",
        "judgments",
        "triplets",
    ]
    assert metadata["size_categories"] == ["n<1K"]
    for line in (
        "# demo",
        "Words.",
        "| `corpus.jsonl` | passages: `_id`, `title`, `text` | 36 |",
        "| `verdict` | `positive`, `negative`, or `ignore` (too uncertain to train on) |",
        "| positive | 3 |",
        "| not judged | 3 |",
        "| llm | 6 | 1 | 4 | 1 |",
        "recipekit run demo.yaml",
        "recipe: 1",
        "name: demo",
    ):
        assert line in body.splitlines(), line


def test_the_data_card_shows_what_the_report_states_of_the_judges(judged, tiny_dataset, tmp_path):
    table = Table(["judge", "kappa"], [["llm", "0.812 [0.700, 0.900]"]])
    blocks = [ReportSection("Reliability of the judges", [table]), Text("It cost $0.03.")]
    card = CARD | {"blocks": {"data": blocks, "model": [Text("of the model")]}}
    spec = DatasetExporterSpec(triplets=False)
    folder, _ = export(spec, judged, tiny_dataset, tmp_path, card)
    body = (folder / "README.md").read_text()
    judgments = body.partition("\n## Judgments\n")[2].partition("\n## ")[0]
    assert "\n### Reliability of the judges\n" in judgments
    assert "| llm | 0.812 [0.700, 0.900] |" in judgments and "It cost $0.03." in judgments
    assert "of the model" not in body


def test_ids_shared_by_two_sources_get_the_sources_name(make_dataset, tmp_path):
    dataset = make_dataset(
        [("1", "first", "train"), ("1", "second", "train")],
        [("a", "x"), ("b", "y")],
        {(0, 0): 1.0, (1, 1): 0.5},
    )
    folder, _ = export(DatasetExporterSpec(triplets=False), {}, dataset, tmp_path)
    assert (folder / "qrels" / "train.tsv").read_text().splitlines()[1:] == [
        "test/1\ta\t1",
        "test/1\tb\t0.5",
    ]


def test_an_id_that_qrels_cannot_hold_is_an_error(make_dataset, tmp_path):
    dataset = make_dataset([("a\tb", "first", "train")], [("a", "x")], {(0, 0): 1.0})
    with pytest.raises(DataError, match=r"the id 'a\\tb' has a tab or a line break"):
        export(DatasetExporterSpec(triplets=False), {}, dataset, tmp_path)


def test_large_tables_are_split_between_queries(make_dataset, tmp_path):
    n = 40_000
    dataset = make_dataset(
        [(f"q{i}", f"text {i}", "train") for i in range(5)],
        [(f"p{i}", f"passage {i}") for i in range(n)],
        {(0, 0): 1.0},
    )
    query, passage = (
        np.repeat(np.arange(5, dtype=np.int32), n),
        np.tile(np.arange(n, dtype=np.int32), 5),
    )
    verdict = np.where(passage == query, POSITIVE, NEGATIVE).astype(np.int8)
    nothing = [
        pa.nulls(5 * n, pa.float32()),
        pa.nulls(5 * n, pa.float32()),
        pa.nulls(5 * n, pa.large_string()),
    ]
    judge = pa.DictionaryArray.from_arrays(pa.array(np.ones(5 * n, np.int16)), ["source", "margin"])
    table = pa.table([query, passage, verdict, *nothing, judge], schema=JUDGMENTS)
    write_table(tmp_path / "judgments.arrow", JUDGMENTS, table.to_batches(10_000))
    folder, rows = export(
        DatasetExporterSpec(num_negatives=3),
        {"judgments": tmp_path / "judgments.arrow"},
        dataset,
        tmp_path,
    )
    assert rows["triplets.parquet"] == 5
    assert rows["judgments.parquet"] == 5 * n
    assert pq.read_table(folder / "triplets.parquet").to_pylist()[3] == {
        "query": "text 3",
        "positive": "passage 3",
        "negative_1": "passage 0",
        "negative_2": "passage 1",
        "negative_3": "passage 2",
    }
