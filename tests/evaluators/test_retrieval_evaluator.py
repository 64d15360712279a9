"""The retrieval evaluator on small rankings that are known in advance."""

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from recipekit.component import Hits, QueryBatch, System
from recipekit.dataset import Dataset
from recipekit.errors import DataError
from recipekit.evaluators.retrieval import RetrievalSpec
from recipekit.report.recall_by_depth import RECALL_BY_DEPTH
from recipekit.tables import read_table
from recipekit.testing import context


class Fixed:
    """A retriever with a fixed ranking for each query, followed by the rest of the corpus."""

    def __init__(self, rankings: Mapping[int, list[int]], passages: int) -> None:
        self.rankings = rankings
        self.passages = passages

    def search(self, queries: QueryBatch, depth: int) -> Hits:
        rows = np.full((len(queries), depth), -1, dtype=np.int32)
        for place, query in enumerate(queries.rows.tolist()):
            first = self.rankings.get(query, [])
            ranking = (first + [row for row in range(self.passages) if row not in first])[:depth]
            rows[place, : len(ranking)] = ranking
        return Hits(
            rows,
            np.where(rows >= 0, -np.arange(depth, dtype=np.float32), -np.inf).astype(np.float32),
        )


class SlowAtFirst(Fixed):
    """Its first search takes ten seconds of a clock, and later ones take one."""

    def __init__(self, rankings: Mapping[int, list[int]], passages: int) -> None:
        super().__init__(rankings, passages)
        self.now, self.step = 0.0, 10.0

    def search(self, queries: QueryBatch, depth: int) -> Hits:
        self.now, self.step = self.now + self.step, 1.0
        return super().search(queries, depth)


def test_the_first_search_is_not_timed(
    tiny_dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    retriever = SlowAtFirst({}, len(tiny_dataset.passages))
    clock = SimpleNamespace(perf_counter=lambda: retriever.now)
    monkeypatch.setattr("recipekit.evaluators.searches.time", clock)
    spec = RetrievalSpec(bootstrap_samples=100)
    rows = spec.build(context(tmp_path, dataset=tiny_dataset)).evaluate(
        [System("bm25", lambda: retriever)]
    )
    costs = json.loads((tmp_path / "efficiency.json").read_text())["bm25"]
    expected = 1000 / rows[0]["queries"]
    assert costs["search_ms_per_query"] == pytest.approx(expected, abs=1e-3)


def systems(dataset: Dataset, **rankings: Mapping[int, list[int]]) -> list[System]:
    return [
        System(name, partial(Fixed, ranking, len(dataset.passages)))
        for name, ranking in rankings.items()
    ]


def test_rows_by_system_and_metric_with_differences_of_the_last_system(
    tiny_dataset: Dataset, tmp_path: Path
):
    good = {query: [query] for query in range(24)}
    fair = {query: [35, query] for query in range(24)}
    spec = RetrievalSpec(metrics=("mrr@10", "recall@1"), bootstrap_samples=500)
    rows = spec.build(context(tmp_path, dataset=tiny_dataset)).evaluate(
        systems(tiny_dataset, bm25=fair, untrained=fair, trained=good)
    )

    assert [(row["system"], row["metric"], row["value"]) for row in rows] == [
        ("bm25", "mrr@10", 0.5),
        ("bm25", "recall@1", 0.0),
        ("untrained", "mrr@10", 0.5),
        ("untrained", "recall@1", 0.0),
        ("trained", "mrr@10", 1.0),
        ("trained", "recall@1", 1.0),
    ]
    assert {(row["split"], row["queries"]) for row in rows} == {("test", 6)}
    assert all(row["low"] <= row["value"] <= row["high"] for row in rows)
    assert ["differences" in row for row in rows] == [False] * 4 + [True] * 2
    difference = rows[-2]["differences"]["untrained"]
    assert (difference["difference"], difference["low"], difference["high"]) == (0.5, 0.5, 0.5)
    assert difference["p_value"] == pytest.approx(1 / 501)
    assert difference["p_adjusted"] == pytest.approx(4 / 501)  # four differences were tested


def test_intervals_reflect_the_spread_over_queries_and_repeat_with_the_seed(
    tiny_dataset: Dataset, tmp_path: Path
):
    half = {query: [query] if query % 2 else [35, query] for query in range(24)}

    def row(seed: int) -> Mapping[str, float]:
        spec = RetrievalSpec(metrics=("mrr@10",), split="train", bootstrap_samples=2000)
        return spec.build(context(tmp_path, dataset=tiny_dataset, seed=seed)).evaluate(
            systems(tiny_dataset, only=half)
        )[0]

    assert row(1) == row(1)
    assert row(1)["value"] == 0.75
    assert 0.55 < row(1)["low"] < 0.7 < 0.8 < row(1)["high"] < 0.95
    assert "differences" not in row(1)


def test_rankings_and_per_query_values_are_kept(tiny_dataset: Dataset, tmp_path: Path):
    good = {query: [query] for query in range(24)}
    spec = RetrievalSpec(metrics=("mrr@10", "ndcg@20"), split="dev", bootstrap_samples=100)
    spec.build(context(tmp_path, dataset=tiny_dataset)).evaluate(
        systems(tiny_dataset, bm25={}, trained=good)
    )

    values = read_table(tmp_path / "per_query.arrow").to_pylist()
    assert len(values) == 6 * 2 * 2
    assert {"query": 12, "system": "trained", "metric": "mrr@10", "value": 1.0} in values
    top = read_table(tmp_path / "top.arrow").to_pylist()
    assert len(top) == 6 * 10 * 2
    found = [row for row in top if row["system"] == "trained" and row["query"] == 13]
    assert [row["rank"] for row in found] == list(range(1, 11))
    assert [(row["passage"], row["positive"]) for row in found[:2]] == [(13, True), (0, False)]


def test_recall_is_kept_at_several_depths(tiny_dataset: Dataset, tmp_path: Path):
    ranked = {query: [(query + 1) % 36, query] for query in range(24)}
    spec = RetrievalSpec(metrics=("mrr@7",), split="dev", bootstrap_samples=100)
    spec.build(context(tmp_path, dataset=tiny_dataset)).evaluate(
        systems(tiny_dataset, trained=ranked)
    )

    found = json.loads((tmp_path / RECALL_BY_DEPTH).read_text())
    assert found == {"trained": {"1": 0.0, "5": 1.0, "7": 1.0}}


def test_a_passage_with_the_querys_id_can_be_left_out(
    make_dataset: Callable[..., Dataset], tmp_path: Path
):
    queries = [("a", "one", "test"), ("b", "two", "test"), ("c", "three", "test")]
    passages = [("x", "1"), ("b", "2"), ("a", "3"), ("y", "4")]
    dataset = make_dataset(queries, passages, {(0, 0): 1.0, (1, 3): 1.0, (2, 1): 1.0})
    rankings = {0: [2, 0, 1, 3], 1: [1, 0, 3, 2], 2: [2, 1]}

    def values(exclude: bool) -> list[float]:
        spec = RetrievalSpec(metrics=("mrr@2",), exclude_same_id=exclude, bootstrap_samples=100)
        spec.build(context(tmp_path, dataset=dataset)).evaluate(systems(dataset, only=rankings))
        return read_table(tmp_path / "per_query.arrow")["value"].to_pylist()

    assert values(False) == [0.5, 0.0, 0.5]
    assert values(True) == [
        1.0,
        0.5,
        0.5,
    ]  # one more passage is retrieved, so two remain; no passage has the id c
    assert {
        row["passage"]
        for row in read_table(tmp_path / "top.arrow").to_pylist()
        if row["query"] == 1
    } == {0, 3}


def test_an_unlabelled_passage_with_the_querys_own_text_is_left_out(
    make_dataset: Callable[..., Dataset], tmp_path: Path
):
    queries = [("a", "one", "test"), ("b", "two", "test"), ("c", "three", "test")]
    passages = [("p", "one"), ("q", "two"), ("r", "answer"), ("s", "one")]
    dataset = make_dataset(queries, passages, {(0, 2): 1.0, (1, 1): 1.0, (2, 2): 1.0})
    rankings = {0: [0, 3, 2, 1], 1: [1, 0, 2, 3], 2: [0, 2, 1, 3]}

    def values(**fields: bool) -> list[float]:
        spec = RetrievalSpec(metrics=("mrr@2",), bootstrap_samples=100, **fields)
        spec.build(context(tmp_path, dataset=dataset)).evaluate(systems(dataset, only=rankings))
        return read_table(tmp_path / "per_query.arrow")["value"].to_pylist()

    assert values() == [1.0, 1.0, 0.5], "the label of query b's own text counts"
    assert values(exclude_own_text=False) == [0.0, 1.0, 0.5]


def test_a_cut_off_beyond_the_corpus_is_its_size(
    make_dataset: Callable[..., Dataset], tmp_path: Path
):
    dataset = make_dataset(
        [("a", "one", "test")], [("p", "1"), ("q", "2")], {(0, 0): 1.0, (0, 1): 1.0}
    )
    spec = RetrievalSpec(metrics=("recall@999999", "ndcg@999999"), bootstrap_samples=100)
    rows = spec.build(context(tmp_path, dataset=dataset)).evaluate(
        systems(dataset, only={0: [1, 0]})
    )
    assert [row["value"] for row in rows] == [1.0, 1.0]


def test_a_split_without_queries_is_an_error_that_names_other_splits(
    make_dataset: Callable[..., Dataset], tmp_path: Path
):
    queries = [("q0", "one", "train"), ("q1", "two", "test"), ("q2", "three", "dev")]
    dataset = make_dataset(queries, [("p", "1")], {(0, 0): 1.0, (1, 0): 0.0, (2, 0): 1.0})
    with pytest.raises(DataError, match=r"split 'test'.*train 1, dev 1, test 0"):
        RetrievalSpec().build(context(tmp_path, dataset=dataset)).evaluate(
            systems(dataset, only={})
        )


def test_the_depth_is_the_largest_cut_off():
    assert RetrievalSpec(metrics=("ndcg@10", "recall@250", "mrr@5")).depth == 250


def test_the_spec_imports_neither_numpy_nor_torch():
    import subprocess
    import sys

    program = (
        "import sys, recipekit.evaluators.retrieval\n"
        "print([m for m in ('numpy', 'torch', 'pytrec_eval') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
