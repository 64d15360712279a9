from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from helpers.ranks import FakeRanks
from recipekit.artifacts.key import FileHashes
from recipekit.artifacts.store import Artifact, Store
from recipekit.component import Hits, RetrieverSpec, Slot
from recipekit.dataset import Dataset
from recipekit.errors import ComponentError, DataError
from recipekit.registry import Entry
from recipekit.retrievers.bm25 import Bm25Spec
from recipekit.stages.inputs import StageInputs
from recipekit.stages.mine import retrieval
from recipekit.stages.mine.mine import mine
from recipekit.stages.mine.section import MineSection
from recipekit.tables import CANDIDATES, read_table
from recipekit.testing import RecordingProgress


class Fixed(RetrieverSpec):
    """Retrieves the same passages for every query."""

    passages: tuple[int, ...]

    counts: ClassVar[dict[str, int]] = {}
    searches_on_all_ranks: ClassVar[bool] = False

    def build(self, context):
        return self

    def search(self, queries, depth):
        rows = np.tile(np.array(self.passages[:depth], np.int32), (len(queries), 1))
        return Hits(
            rows, np.tile(np.arange(len(rows[0]), 0, -1, dtype=np.float32), (len(queries), 1))
        )


def slot(spec: RetrieverSpec) -> Slot:
    bound = Slot(use="bm25")
    bound.bind(Entry("retriever", "bm25", "recipekit", "0", "somewhere"), spec)
    return bound


@pytest.fixture
def inputs(tiny_dataset: Dataset, tmp_path: Path) -> StageInputs:
    collected = {"collect": Artifact("collect", tiny_dataset.key, tiny_dataset.path)}
    return StageInputs(
        "test",
        13,
        collected,
        {},
        None,
        Store(tmp_path / ".recipekit"),
        FileHashes(),
        RecordingProgress(),
    )


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def by_query(out: Path, query: int) -> list[dict]:
    return [
        row for row in read_table(out / "candidates.arrow").to_pylist() if row["query"] == query
    ]


def test_candidates_of_two_retrievers_are_fused(inputs, out):
    """Query i has the first two words of passage i, its source positive."""
    section = MineSection(
        retrievers={
            "lexical": slot(Bm25Spec(depth=4)),
            "fixed": slot(Fixed(passages=(30, 0, 31), depth=2)),
        },
        candidates_per_query=3,
    )
    summary = mine(inputs, section, out)

    table = read_table(out / "candidates.arrow")
    assert table.schema.names == [
        *CANDIDATES.names,
        "rank.lexical",
        "rank.fixed",
        "score.lexical",
        "score.fixed",
    ]
    assert table["query"].unique().to_pylist() == list(range(12)), "the train queries, in order"
    first = by_query(out, 0)
    assert first[0] == {
        "query": 0,
        "passage": 0,
        "source_positive": True,
        "score": pytest.approx(1 / 61 + 1 / 62),
        "rank.lexical": 1,
        "rank.fixed": 2,
        "score.lexical": first[0]["score.lexical"],
        "score.fixed": 1.0,
    }
    assert [row["score"] for row in first] == sorted((row["score"] for row in first), reverse=True)
    assert [row["source_positive"] for row in first] == [True, False, False, False], (
        "three in addition to the source positive"
    )
    thirty = next(row for row in first if row["passage"] == 30)
    assert thirty["rank.fixed"] == 1
    assert (thirty["rank.lexical"] is None) == (thirty["score.lexical"] is None)

    assert summary["queries"] == 12
    assert summary["candidates"] == table.num_rows == 48
    assert summary["source_labels"] == {"pairs": 12, "queries": 12, "retrieved": 12}
    assert summary["recall"]["retrievers"]["lexical"]["4"] == 1.0
    assert summary["recall"]["retrievers"]["fixed"] == {
        "1": 0.0,
        "2": pytest.approx(1 / 12, abs=1e-4),
    }
    fused_first_three = [
        any(row["source_positive"] for row in by_query(out, query)[:3]) for query in range(12)
    ]
    assert summary["recall"]["fused"]["3"] == pytest.approx(np.mean(fused_first_three), abs=1e-4)
    assert summary["nothing_found"] == {"lexical": 0, "fixed": 0}
    assert set(summary["overlap"]) == {"lexical & fixed"}


def test_source_positives_that_were_not_retrieved_come_last(inputs, out):
    summary = mine(
        inputs,
        MineSection(retrievers={"fixed": slot(Fixed(passages=(30, 31)))}, splits=("dev",)),
        out,
    )
    assert [
        (row["passage"], row["source_positive"], row["score"]) for row in by_query(out, 13)
    ] == [
        (30, False, pytest.approx(1 / 61)),
        (31, False, pytest.approx(1 / 62)),
        (13, True, None),
    ]
    assert by_query(out, 13)[2]["rank.fixed"] is None
    assert summary["source_labels"] == {"pairs": 6, "queries": 6, "retrieved": 0}
    assert summary["recall"]["fused"]["36"] == 0.0


def test_recall_is_a_mean_over_queries(make_dataset, inputs, out):
    dataset = make_dataset(
        [("a", "x", "train"), ("b", "y", "train"), ("c", "z", "train")],
        [(f"p{i}", f"text {i}") for i in range(8)],
        {(0, 0): 1.0, (0, 5): 1.0, (1, 1): 2.0, (1, 2): 0.0},
    )
    inputs.artifacts = {"collect": Artifact("collect", dataset.key, dataset.path)}
    section = MineSection(
        retrievers={
            "a": slot(Fixed(passages=(0, 1, 2), depth=3)),
            "b": slot(Fixed(passages=(2, 3, 4), depth=2)),
        }
    )
    summary = mine(inputs, section, out)
    assert summary["recall"]["retrievers"] == {
        "a": {"1": 0.25, "3": 0.75},
        "b": {"1": 0.0, "2": 0.0},
    }
    assert summary["overlap"] == {"a & b": 0.25}, "one of four passages is shared"
    assert summary["source_labels"] == {"pairs": 3, "queries": 2, "retrieved": 2}
    assert [row["passage"] for row in by_query(out, 2)] == [2, 0, 1, 3], (
        "queries without a positive are mined too"
    )


def test_batches_do_not_change_the_result(inputs, out, monkeypatch):
    section = MineSection(
        retrievers={"lexical": slot(Bm25Spec()), "fixed": slot(Fixed(passages=(30, 0, 31)))},
        fusion="score",
        candidates_per_query=None,
    )
    summary = mine(inputs, section, out)
    expected = read_table(out / "candidates.arrow").to_pylist()
    monkeypatch.setattr(retrieval, "BATCH", 5)
    again = mine(inputs, section, out)
    assert read_table(out / "candidates.arrow").to_pylist() == expected
    assert {**again, "seconds": 0} == {**summary, "seconds": 0}


def test_only_the_main_rank_writes(inputs, out):
    waited = []
    inputs.ranks = FakeRanks(rank=1, count=2, wait=lambda: waited.append("here"))
    assert mine(inputs, MineSection(retrievers={"fixed": slot(Fixed(passages=(1,)))}), out) == {}
    assert not (out / "candidates.arrow").exists()
    assert waited


def test_invalid_rows_of_a_retriever_and_missing_queries_are_errors(inputs, out, make_dataset):
    with pytest.raises(
        ComponentError, match="retriever 'odd' returned passage row 36 of 36 passages"
    ):
        mine(inputs, MineSection(retrievers={"odd": slot(Fixed(passages=(36,)))}), out)
    dataset = make_dataset([("a", "x", "test")], [("p", "text")], {(0, 0): 1.0})
    inputs = StageInputs(
        "test",
        13,
        {"collect": Artifact("collect", "k", dataset.path)},
        {},
        None,
        inputs.store,
        inputs.hashes,
        inputs.progress,
    )
    with pytest.raises(DataError, match="no query to mine in the splits train"):
        mine(inputs, MineSection(retrievers={"fixed": slot(Fixed(passages=(0,)))}), out)


def test_a_querys_own_text_is_no_candidate_and_the_next_passage_takes_its_place(
    make_dataset, tmp_path: Path
):
    pairs = [
        ("how high is the tide", "the height of the tide"),
        ("what is a fjord", "a long inlet"),
    ]
    queries = [(f"q{i}", text, "train") for i, pair in enumerate(pairs) for text in pair[::-1]]
    passages = [(f"p{i}", text) for i, (_, text, _) in enumerate(queries)]
    symmetric = {(0, 1): 1.0, (1, 0): 1.0, (2, 3): 1.0, (3, 3): 1.0}
    dataset = make_dataset(queries, passages, symmetric)
    inputs = StageInputs(
        "test",
        13,
        {"collect": Artifact("collect", dataset.key, dataset.path)},
        {},
        None,
        Store(tmp_path / ".recipekit"),
        FileHashes(),
        RecordingProgress(),
    )
    first = slot(Fixed(passages=(0, 1, 2, 3), depth=2))
    (tmp_path / "out").mkdir()
    summary = mine(
        inputs,
        MineSection.model_construct(
            retrievers={"fixed": first},
            splits=("train",),
            fusion="rrf",
            fusion_weights=None,
            candidates_per_query=None,
        ),
        tmp_path / "out",
    )
    rows = read_table(tmp_path / "out" / "candidates.arrow").to_pylist()
    found = [(row["query"], row["passage"], row["rank.fixed"]) for row in rows]
    assert found == [
        (0, 1, 1),
        (0, 2, 2),
        (1, 0, 1),
        (1, 2, 2),
        (2, 0, 1),
        (2, 1, 2),
        (2, 3, None),
        (3, 0, 1),
        (3, 1, 2),
        (3, 3, None),
    ], "query 2 has its own text at position 3, query 3 is labelled with its own text"
    assert summary["own_texts"] == 3


def test_a_depth_beyond_the_corpus_is_the_size_of_the_corpus(inputs: StageInputs, tmp_path: Path):
    (tmp_path / "out").mkdir()
    deep = slot(Bm25Spec(depth=1_000_000_000))
    summary = mine(
        inputs,
        MineSection.model_construct(
            retrievers={"bm25": deep},
            splits=("train",),
            fusion="rrf",
            fusion_weights=None,
            candidates_per_query=1_000_000_000,
        ),
        tmp_path / "out",
    )
    assert max(map(int, summary["recall"]["fused"])) == 36
    assert summary["recall"]["fused"]["36"] == 1.0
