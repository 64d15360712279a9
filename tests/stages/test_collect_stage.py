import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from recipekit import registry
from recipekit.artifacts.key import FileHashes
from recipekit.artifacts.store import Store
from recipekit.component import Context, Slot, SourceSpec
from recipekit.dataset import Dataset
from recipekit.errors import ComponentError, DataError
from recipekit.records import SPLITS, Label, Passage, Query
from recipekit.registry import Entry
from recipekit.stages.collect.collect import collect
from recipekit.stages.collect.section import CollectSection
from recipekit.stages.inputs import StageInputs
from recipekit.tables import LABELS, PASSAGES, QUERIES
from recipekit.testing import RecordingProgress

DATA = Path(__file__).parents[2].parent / "shared" / "data"


class ListSource(SourceSpec):
    """A source that yields the given records."""

    records: tuple[Any, ...]

    counts: ClassVar[dict[str, int]] = {}

    def located(self) -> Iterator[Any]:
        return iter(())

    def build(self, context: Context) -> "ListSource":
        return self

    def load(self) -> Iterator[Any]:
        return iter(self.records)


def listed(*records: object) -> Slot:
    slot = Slot(use="listed")
    slot.bind(
        Entry("source", "listed", "tests", "0", "tests:ListSource"), ListSource(records=records)
    )
    return slot


def source(use: str, **keys: object) -> Slot:
    slot = Slot(use=use, **keys)
    entry = registry.resolve("source", use)
    slot.bind(entry, registry.load(entry)(**keys))
    return slot


class Collected:
    """The output of collect, with texts in place of rows."""

    def __init__(
        self, tmp_path: Path, sources: dict[str, Slot], *, seed: int = 13, **split: float
    ) -> None:
        self.progress = RecordingProgress()
        out = tmp_path / f"collect-{len(list(tmp_path.iterdir()))}"
        out.mkdir()
        inputs = StageInputs(
            "test", seed, {}, {}, None, Store(tmp_path / "store"), FileHashes(), self.progress
        )
        self.summary = collect(inputs, CollectSection(sources=sources, split=split), out)
        self.dataset = Dataset(out, "key")
        self.out = out

    @property
    def queries(self) -> dict[str, str]:
        table = self.dataset.queries.table
        return {
            text: SPLITS[code]
            for text, code in zip(
                table["text"].to_pylist(), table["split"].to_pylist(), strict=True
            )
        }

    @property
    def passages(self) -> list[str]:
        return self.dataset.passages.table["text"].to_pylist()

    @property
    def labels(self) -> dict[tuple[str, str], float]:
        queries, passages = list(self.queries), self.passages
        return {
            (queries[row["query"]], passages[row["passage"]]): row["grade"]
            for row in self.dataset.labels.to_pylist()
        }


def collected(tmp_path: Path, *records: object, **keys: Any) -> Collected:
    return Collected(tmp_path, {"mine": listed(*records)}, **keys)


def test_queries_passages_and_labels_are_written_and_counted(tmp_path: Path):
    found = collected(
        tmp_path,
        Label("q1", "p2", 0.0),  # A label may come before its texts.
        Passage("p1", "salt water", "Seas"),
        Passage("p2", "rivers run"),
        Query("q1", "sea", "train"),
        Query("q2", "river", "test"),
        Label("q1", "p1", 2.0),
        Label("q2", "p2"),
    )
    dataset = found.dataset
    assert [t.schema for t in (dataset.queries.table, dataset.passages.table, dataset.labels)] == [
        QUERIES,
        PASSAGES,
        LABELS,
    ]
    assert dataset.queries.table.to_pylist() == [
        {"id": "q1", "text": "sea", "split": 0, "source": "mine"},
        {"id": "q2", "text": "river", "split": 2, "source": "mine"},
    ]
    assert dataset.passages.texts([0, 1]) == ["Seas salt water", "rivers run"]
    assert dataset.labels.to_pylist() == [
        {"query": 0, "passage": 0, "grade": 2.0},
        {"query": 0, "passage": 1, "grade": 0.0},
        {"query": 1, "passage": 1, "grade": 1.0},
    ]
    assert found.progress.warnings == []
    assert json.loads(json.dumps(found.summary)) == {
        "sources": {"mine": {"use": "listed", "passages": 2, "queries": 2, "labels": 3}},
        "passages": 2,
        "queries": {"train": 1, "dev": 0, "test": 1},
        "labels": {"positive": 2, "negative": 1},
        "cleaned_records": 0,
        "merged": {
            "passages": 0,
            "queries": 0,
            "labels": 0,
            "labels_both_positive_and_negative": 0,
        },
        "dropped": {
            "blank_passages": 0,
            "blank_queries": 0,
            "train_queries_held_out_elsewhere": 0,
            "dev_queries_held_out_elsewhere": 0,
            "queries_without_positive": 0,
            "labels_of_dropped_texts": 0,
            "labels_with_unknown_ids": 0,
        },
        "dev_queries_taken_from_train": 0,
        "positives_shared_by_splits": {"train_dev": 0, "train_test": 0, "dev_test": 0},
    }


def test_duplicate_passages_are_merged_with_their_labels_and_a_positive_wins(tmp_path: Path):
    found = collected(
        tmp_path,
        Passage("p1", "salt water"),
        Passage("p2", "water", "salt"),  # The same text for a model.
        Passage("p3", "salt water "),  # A different text.
        Query("q1", "sea", "train"),
        Query("q2", "ocean", "train"),
        Label("q1", "p1"),
        Label("q1", "p2", 0.0),  # Without merging, it would be a negative, too.
        Label("q2", "p2", 3.0),
    )
    assert found.passages == ["salt water", "salt water "]
    assert found.labels == {("sea", "salt water"): 1.0, ("ocean", "salt water"): 3.0}
    assert found.summary["merged"] == {
        "passages": 1,
        "queries": 0,
        "labels": 1,
        "labels_both_positive_and_negative": 1,
    }


def test_duplicate_queries_of_one_split_are_merged_with_their_labels(tmp_path: Path):
    found = collected(
        tmp_path,
        *(Passage(f"p{i}", f"text {i}") for i in range(2)),
        Query("q1", "sea", "train"),
        Query("q2", "sea", "train"),
        Label("q1", "p0"),
        Label("q2", "p1"),
    )
    assert found.dataset.queries.ids == ["q1"]
    assert found.labels == {("sea", "text 0"): 1.0, ("sea", "text 1"): 1.0}


def test_no_query_is_in_two_splits(tmp_path: Path):
    """Test has priority over dev, and dev over train; dropped queries lose their labels."""
    found = collected(
        tmp_path,
        *(Passage(f"p{i}", f"text {i}") for i in range(5)),
        *(Query(f"{split}{i}", f"query {i}", split) for split in SPLITS for i in range(2)),
        Query("only_train", "alone", "train"),
        Query("dev3", "query 3", "dev"),
        Query("train3", "query 3", "train"),
        *(Label(f"{split}{i}", f"p{n}") for n, split in enumerate(SPLITS) for i in range(2)),
        Label("only_train", "p3"),
        Label("dev3", "p4"),
        Label("train3", "p0"),
    )
    assert found.queries == {
        "query 0": "test",
        "query 1": "test",
        "alone": "train",
        "query 3": "dev",
    }
    assert found.labels == {
        ("query 0", "text 2"): 1,
        ("query 1", "text 2"): 1,
        ("alone", "text 3"): 1,
        ("query 3", "text 4"): 1,
    }
    dropped = found.summary["dropped"]
    assert (
        dropped["train_queries_held_out_elsewhere"],
        dropped["dev_queries_held_out_elsewhere"],
    ) == (3, 2)
    assert found.progress.warnings == [
        "dropped 3 train queries with the text of a dev or test query",
        "dropped 2 dev queries with the text of a test query",
    ]


def pairs(n: int, start: int = 0, split: str | None = None) -> list[object]:
    numbers = range(start, start + n)
    return [
        record
        for i in numbers
        for record in (
            Passage(f"p{i}", f"text {i}"),
            Query(f"q{i}", f"query {i}", split),
            Label(f"q{i}", f"p{i}"),
        )
    ]


def test_queries_without_a_split_are_divided_by_a_hash_of_text_and_seed(tmp_path: Path):
    small = collected(tmp_path, *pairs(1000), dev=0.1, test=0.2).queries
    counts = [list(small.values()).count(split) for split in SPLITS]
    assert sum(counts) == 1000 and 60 < counts[1] < 140 and 150 < counts[2] < 250
    # More data moves no query to another split, and larger held-out splits take queries only
    # from train.
    large = collected(tmp_path, *pairs(500, 5000), *pairs(2000), dev=0.1, test=0.2).queries
    assert all(large[text] == split for text, split in small.items())
    more = collected(tmp_path, *pairs(1000), dev=0.3, test=0.2).queries
    assert all(more[text] == split for text, split in small.items() if split != "train")
    assert collected(tmp_path, *pairs(1000), dev=0.1, test=0.2, seed=14).queries != small
    assert set(collected(tmp_path, *pairs(100), dev=0.0, test=0.0).queries.values()) == {"train"}


def test_a_dev_share_is_taken_from_the_train_queries_of_sources_without_dev(tmp_path: Path):
    whole = pairs(400, split="train")
    test_only = pairs(100, 400, split="test")
    found = collected(tmp_path, *whole, *test_only, dev=0.1)
    texts = list(found.queries)
    dev = {text for text, split in found.queries.items() if split == "dev"}
    assert 20 < len(dev) < 60 and len(texts) == 500
    assert list(found.queries.values()).count("test") == 100, "test queries stay"
    assert found.summary["dev_queries_taken_from_train"] == len(dev)
    # A query stays in its split when data is added, and a larger share takes only from train.
    more = collected(tmp_path, *pairs(600, split="train"), dev=0.2).queries
    assert all(more[text] == "dev" for text in dev)
    other_seed = collected(tmp_path, *whole, dev=0.1, seed=14).queries
    assert {text for text, split in other_seed.items() if split == "dev"} != dev


def test_train_queries_stay_without_a_dev_share_or_with_dev_queries_of_the_source(tmp_path: Path):
    train, dev = pairs(200, split="train"), pairs(10, 200, split="dev")
    assert set(collected(tmp_path, *train).queries.values()) == {"train"}
    assert set(collected(tmp_path, *train, dev=0.0).queries.values()) == {"train"}
    own = collected(tmp_path, *train, *dev, dev=0.5)
    assert list(own.queries.values()).count("dev") == 10
    assert own.summary["dev_queries_taken_from_train"] == 0
    # Each source counts for itself, and no text is in two splits.
    both = Collected(
        tmp_path,
        {"a": listed(*train, *dev), "b": listed(*pairs(300, 100, split="train"))},
        dev=0.5,
    )
    assert len(both.queries) == 400
    assert both.summary["queries"]["dev"] == 10 + both.summary["dev_queries_taken_from_train"]
    assert 100 < both.summary["dev_queries_taken_from_train"] < 200


def test_labels_with_unknown_ids_are_left_out_and_counted(tmp_path: Path):
    qrels = ["q1\tp1\t1", "q1\tp9\t1", "q1\tp1\t1", "q7\tp1\t1"]
    slot = write_beir(tmp_path / "seas", [P1], qrels)
    found = Collected(tmp_path, {"seas": slot})
    assert found.labels == {("sea", "salt"): 1.0}
    assert found.summary["dropped"]["labels_with_unknown_ids"] == 2
    assert found.summary["dropped"]["labels_of_dropped_texts"] == 0
    assert found.progress.warnings == [
        f"{tmp_path}/seas/qrels/train.tsv:3: there is no passage with the id 'p9'; 2 of 4 labels "
        "have unknown ids and are left out"
    ]


def test_ids_that_exports_cannot_hold_are_a_warning(tmp_path: Path):
    path = tmp_path / "pairs.jsonl"
    lines = [("a", "x", "doc 0"), ("b", "y", "doc\t1"), ("c", "z", "doc\n2"), ("d", "w", "ok")]
    path.write_text(
        "".join(json.dumps({"query": q, "positive": p, "pid": i}) + "\n" for q, p, i in lines)
    )
    slot = source("pairs", file=str(path), passage_id="pid")
    found = Collected(tmp_path, {"own": slot}, dev=0.0, test=0.0)
    assert found.progress.warnings == [
        "2 passage ids contain a tab or a line break, which the exporter `dataset` cannot write to "
        f"qrels. The first is 'doc\\t1' ({path}:2)",
        "1 passage id contains a space, which files in TREC format cannot hold. The first is "
        f"'doc 0' ({path}:1)",
    ]


def test_a_split_from_a_source_overrides_the_hash_also_for_other_sources(tmp_path: Path):
    found = Collected(
        tmp_path,
        {"a": listed(*pairs(50)), "b": listed(*pairs(50, split="test"))},
        dev=0.4,
        test=0.0,
    )
    assert set(found.queries.values()) == {"test"} and len(found.queries) == 50


def test_ids_of_several_sources_stay_apart(tmp_path: Path):
    second = listed(
        Passage("p0", "another text"), Query("q0", "another query", "dev"), Label("q0", "p0")
    )
    sources = {"b": listed(*pairs(2, split="train")), "a": second}
    found = Collected(tmp_path, sources)
    assert found.dataset.passages.ids == ["a/p0", "b/p0", "b/p1"]
    assert found.dataset.queries.ids == ["a/q0", "b/q0", "b/q1"]
    assert found.labels == {
        ("another query", "another text"): 1.0,
        ("query 0", "text 0"): 1.0,
        ("query 1", "text 1"): 1.0,
    }
    assert found.dataset.passages.table["source"].to_pylist() == ["a", "b", "b"]
    # The key does not contain the order of the sources, so the data must not depend on it.
    other = Collected(tmp_path, dict(reversed(sources.items())))
    assert [(other.out / name).read_bytes() for name in TABLES] == [
        (found.out / name).read_bytes() for name in TABLES
    ]


TABLES = ("queries.arrow", "passages.arrow", "labels.arrow")


def test_blank_texts_and_queries_without_a_positive_are_dropped_and_counted(tmp_path: Path):
    found = collected(
        tmp_path,
        Passage("p1", "text"),
        Passage("p2", " \n"),
        Query("q1", "query", "train"),
        Query("q2", "", "train"),
        Query("q3", "has no positive", "test"),
        Query("q4", "its only passage is blank", "test"),
        *(Label("q1", "p1"), Label("q2", "p1"), Label("q3", "p1", 0.0), Label("q4", "p2")),
    )
    assert found.labels == {("query", "text"): 1.0} and found.passages == ["text"]
    assert found.summary["dropped"] == {
        "blank_passages": 1,
        "blank_queries": 1,
        "train_queries_held_out_elsewhere": 0,
        "dev_queries_held_out_elsewhere": 0,
        "queries_without_positive": 2,
        "labels_of_dropped_texts": 2,
        "labels_with_unknown_ids": 0,
    }
    assert found.progress.warnings == [
        "dropped 2 queries without a positive",
        "dropped 1 query without a text",
        "dropped 1 passage without a text",
    ]


def test_positives_shared_by_splits_are_counted(tmp_path: Path):
    shared = [Passage("p", "text"), *(Query(split, f"{split} query", split) for split in SPLITS)]
    found = collected(
        tmp_path,
        *shared,
        Passage("o", "other"),
        Label("train", "p"),
        Label("dev", "p"),
        Label("test", "o"),
        Label("test", "p", 0),
    )
    assert found.summary["positives_shared_by_splits"] == {
        "train_dev": 1,
        "train_test": 0,
        "dev_test": 0,
    }


def test_repeated_records_are_merged(tmp_path: Path):
    assert collected(tmp_path, *pairs(3), *pairs(3)).summary["passages"] == 3


def test_more_rows_than_one_batch_are_written(tmp_path: Path):
    found = collected(tmp_path, *pairs(20_000, split="train"))
    assert found.passages == [f"text {i}" for i in range(20_000)]
    assert len(found.labels) == 20_000 and all(
        query[6:] == passage[5:] for query, passage in found.labels
    )


# Errors
# ------


def write_beir(folder: Path, corpus: Sequence[str], qrels: Sequence[str]) -> Slot:
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_text("".join(f"{line}\n" for line in corpus))
    (folder / "queries.jsonl").write_text('{"_id": "q1", "text": "sea"}\n')
    (folder / "qrels/train.tsv").write_text(
        "query-id\tcorpus-id\tscore\n" + "".join(f"{line}\n" for line in qrels)
    )
    return source("beir", folder=folder)


P1 = '{"_id": "p1", "text": "salt"}'
INVALID: dict[str, tuple[list[str], list[str], str]] = {
    "duplicate id": (
        [P1, P1, '{"_id": "p1", "text": "sugar"}'],
        ["q1\tp1\t1"],
        "{folder}/corpus.jsonl:1 and {folder}/corpus.jsonl:3: two passages with the "
        "id 'p1' have different texts",
    ),
    "unknown passage": (
        [P1],
        ["q1\tp1\t1", "q1\tp9\t1", "q1\tp8\t1"],
        "{folder}/qrels/train.tsv:3: there is no passage with the id 'p9'; 2 of 3 labels have "
        "unknown ids, more than `collect.max_unknown_ids` (0.5) allows",
    ),
    "unknown query": (
        [P1],
        ["q1\tp1\t1", "q8\tp1\t1", "q9\tp1\t1"],
        "{folder}/qrels/train.tsv:3: there is no query with the id 'q8'; 2 of 3 labels have "
        "unknown ids, more than `collect.max_unknown_ids` (0.5) allows",
    ),
    "no positive": (
        [P1],
        ["q1\tp1\t0"],
        "none of 1 queries has a positive, so there is nothing to learn from",
    ),
}


def test_invalid_characters_are_replaced_and_counted(tmp_path: Path):
    records = (
        Passage("p\ud800", "red\x00 hen", title="\udfff"),
        Query("q", "a \ud800 query", split="train"),
        Query("r", "clean", split="train"),
        Label("q", "p\ud800"),
        Label("r", "p\ud800"),
    )
    found = Collected(tmp_path, {"mine": listed(*records)})
    assert found.dataset.passages.ids == ["p\ufffd"]
    assert found.dataset.passages.texts([0]) == ["\ufffd red\ufffd hen"]
    assert found.dataset.queries.texts([0, 1]) == ["a \ufffd query", "clean"]
    assert found.dataset.labels["passage"].to_pylist() == [0, 0]
    assert found.summary["cleaned_records"] == 2


@pytest.mark.parametrize("name", INVALID)
def test_invalid_data_is_an_error_of_one_line(tmp_path: Path, name: str):
    corpus, qrels, message = INVALID[name]
    slot = write_beir(tmp_path / "seas", corpus, qrels)
    with pytest.raises(DataError) as caught:
        Collected(tmp_path, {"seas": slot})
    assert str(caught.value) == message.format(folder=tmp_path / "seas")


@pytest.mark.parametrize(
    ("records", "kind", "message"),
    [
        ((), DataError, "source 'mine' (listed) is empty: it has no passage"),
        ((Passage("p", "text"),), DataError, "source 'mine' (listed) is empty: it has no query"),
        (
            (Passage("p", "text"), Query("q", "query")),
            DataError,
            "none of 1 queries has a positive, so there is nothing to learn from",
        ),
        (
            (Query("q", "a"), Query("q", "b"), Passage("p", "x")),
            DataError,
            "source 'mine': two queries with the id 'q' have different texts",
        ),
        (
            (Query("q0", "a"), Passage("p0", "x"), Label("q0", "p9")),
            DataError,
            "source 'mine': there is no passage with the id 'p9'; 1 of 1 labels have unknown ids, "
            "more than `collect.max_unknown_ids` (0.5) allows",
        ),
        (
            ("text",),
            ComponentError,
            "source 'mine' (listed): 'text' is not a Passage, Query or Label",
        ),
        (
            (Query("q", "a", "val"),),
            ComponentError,
            "source 'mine' (listed): query 'q' has split 'val'; splits are train, dev, test",
        ),
    ],
)
def test_invalid_records_are_errors_that_name_the_source(
    tmp_path: Path, records, kind: type[Exception], message: str
):
    with pytest.raises(kind) as caught:
        collected(tmp_path, *records)
    assert str(caught.value) == message


# Real data
# ------


def test_pairs_and_python_code_are_combined(tmp_path: Path):
    (tmp_path / "faq.csv").write_text(
        "query,positive\nHow do I sort?,Call sorted().\nHow do I sort?,Call list.sort().\n"
    )
    (tmp_path / "repo").mkdir()
    (tmp_path / "repo/a.py").write_text(
        'def total(values):\n    """Add up all the values."""\n'
        "    return sum(value for value in values if value is not None)\n"
    )
    found = Collected(
        tmp_path,
        {
            "faq": source("pairs", file=tmp_path / "faq.csv"),
            "code": source("python_code", folder=tmp_path / "repo"),
        },
    )
    assert found.dataset.passages.ids[0] == "code/a.py:total"
    assert list(found.queries) == ["Add up all the values.", "How do I sort?"]
    assert len(found.labels) == 3


@pytest.mark.slow
def test_nfcorpus_has_its_known_counts(tmp_path: Path):
    if not (DATA / "nfcorpus").is_dir():
        pytest.skip("nfcorpus is not in ../shared/data")
    found = Collected(tmp_path, {"nfcorpus": source("beir", folder=DATA / "nfcorpus")})
    assert found.summary["passages"] == 3633 - 40 and found.summary["merged"]["passages"] == 40
    assert found.summary["queries"] == {"train": 2571, "dev": 322, "test": 323}
    assert found.summary["dropped"]["train_queries_held_out_elsewhere"] == 5
    texts = found.dataset.queries.table["text"].to_pylist()
    assert len(set(texts)) == len(texts)
