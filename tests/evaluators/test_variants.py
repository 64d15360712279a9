"""Compressed vectors and second stages, measured next to the systems that they are made of."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recipekit.component import Efficiency, Embeddings, Hits, QueryBatch, System
from recipekit.dataset import Dataset
from recipekit.encoding.compression import fit_compressor
from recipekit.encoding.compression_keys import CompressionKeys
from recipekit.errors import DataError, RunError
from recipekit.evaluators.metrics import per_query_metrics
from recipekit.evaluators.retrieval import RerankKeys, RetrievalSpec
from recipekit.evaluators.variants import rerank
from recipekit.retrievers.exact import ExactSpec
from recipekit.search.topk import exact_top_k
from recipekit.tables import read_table
from recipekit.testing import RecordingProgress, check_evaluator, context


class SameWords:
    """Scores a pair by the words that both texts have, as a cross-encoder that knows the answer."""

    arithmetic = "fp32"
    parameters = 7
    device_name = "CPU"

    def __init__(self) -> None:
        self.pairs: list[tuple[str, str]] = []

    def score(self, queries: Sequence[str], passages: Sequence[str]) -> np.ndarray:
        self.pairs += zip(queries, passages, strict=True)
        shared = (
            len(set(query.split()) & set(passage.split()))
            for query, passage in zip(queries, passages, strict=True)
        )
        return np.fromiter(shared, np.float32, len(queries))


def dense(dataset: Dataset, name: str, seed: int) -> System:
    """A system with random vectors of 16 dimensions, in which a positive is near its query."""
    random = np.random.default_rng(seed)
    passages = random.normal(size=(len(dataset.passages), 16))
    queries = random.normal(size=(len(dataset.queries), 16))
    labels = dataset.positives
    near = passages[labels["passage"].to_numpy()]
    queries[labels["query"].to_numpy()] = near + 0.9 * random.normal(size=near.shape)
    vectors: Any = {
        side: Embeddings(
            Path(),
            (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32),
            "cosine",
        )
        for side, rows in (("query", queries), ("passage", passages))
    }

    def build() -> Any:
        made = context(Path(), dataset=dataset, embeddings=lambda _, side: vectors[side])
        return ExactSpec(encoder="student").build(made)

    efficiency = Efficiency(dimension=16, bytes_per_vector=64, index_bytes=64 * len(passages))
    return System(name, build, similarity="cosine", vectors=vectors, efficiency=efficiency)


def evaluated(
    spec: RetrievalSpec, dataset: Dataset, folder: Path, *systems: System, scorer: Any = None
) -> list[dict[str, Any]]:
    made = context(folder, dataset=dataset, encoder=lambda name: scorer)
    return [dict(row) for row in spec.build(made).evaluate(systems)]


def test_compressed_vectors_are_compared_with_the_full_ones(tiny_dataset: Dataset, tmp_path: Path):
    spec = RetrievalSpec(
        metrics=("ndcg@10", "recall@5"),
        split="train",
        bootstrap_samples=200,
        compression=("int8", "binary", {"pca": 4}, {"dimensions": 4, "precision": "int8"}),
    )
    systems = [dense(tiny_dataset, "untrained", 1), dense(tiny_dataset, "trained", 2)]
    rows = evaluated(spec, tiny_dataset, tmp_path, *systems)

    main, variants = rows[:4], rows[4:]
    assert {row["system"] for row in main} == {"untrained", "trained"}
    assert set(main[-1]["differences"]) == {"untrained"}, "variants are no further baselines"
    assert [row["system"] for row in variants[::2]] == [
        "trained int8", "trained binary", "trained pca-4", "trained first-4-int8",
    ]  # fmt: skip
    assert {(row["variant"], row["variant_of"]) for row in variants} == {("compression", "trained")}
    full = main[2]["value"]
    for row in variants[::2]:
        test = row["differences"]["trained"]
        assert test["difference"] == pytest.approx(row["value"] - full)
        assert test["low"] <= test["difference"] <= test["high"]
        assert test["p_value"] <= test["p_adjusted"] <= 1

    costs = json.loads((tmp_path / "efficiency.json").read_text())
    assert {name: each.get("bytes_per_vector") for name, each in costs.items()} == {
        "untrained": 64, "trained": 64,
        "trained int8": 16, "trained binary": 2, "trained pca-4": 16, "trained first-4-int8": 4,
    }  # fmt: skip
    assert costs["trained binary"]["index_bytes"] == 2 * len(tiny_dataset.passages)
    assert costs["untrained"]["search_ms_per_query"] > 0
    kept = read_table(tmp_path / "per_query.arrow")
    assert "trained pca-4" in kept["system"].to_pylist()


def test_the_loss_of_a_compression_is_that_of_a_plain_search(tiny_dataset: Dataset, tmp_path: Path):
    system = dense(tiny_dataset, "untrained", 3)
    spec = RetrievalSpec(
        metrics=("ndcg@5",), split="train", bootstrap_samples=100, compression=({"pca": 6},),
        exclude_own_text=False,
    )  # fmt: skip
    rows = evaluated(spec, tiny_dataset, tmp_path, system)

    assert system.vectors is not None
    passages, queries = (system.vectors[side].matrix for side in ("passage", "query"))
    compressor = fit_compressor(CompressionKeys(pca=6), passages, "cosine")
    wanted = spec.queries(tiny_dataset)
    hits = exact_top_k(
        compressor.reduce(queries[wanted]), compressor.reduce(passages), 5, similarity="cosine"
    )
    values = per_query_metrics(hits, wanted, tiny_dataset.labels, ["ndcg@5"])["ndcg@5"]
    assert rows[-1]["system"] == "untrained pca-6"
    assert rows[-1]["value"] == pytest.approx(values.mean())


def test_variants_keep_the_promises_of_an_evaluator(tiny_dataset: Dataset, tmp_path: Path):
    spec = RetrievalSpec(
        bootstrap_samples=100,
        compression=("binary",),
        rerank=RerankKeys(encoder="cross", depth=3),
    )
    made = context(tmp_path, dataset=tiny_dataset, encoder=lambda name: SameWords())
    check_evaluator(spec, made, [dense(tiny_dataset, "untrained", 1)])


def test_compression_needs_an_encoder_and_enough_passages(tiny_dataset: Dataset, tmp_path: Path):
    spec = RetrievalSpec(bootstrap_samples=100, compression=("int8",))
    bm25 = System("bm25", dense(tiny_dataset, "", 1).retriever)
    with pytest.raises(RunError, match="no encoder is measured"):
        evaluated(spec, tiny_dataset, tmp_path, bm25)
    with pytest.raises(DataError, match=r"pca: 99.* needs at least as many passages"):
        RetrievalSpec(compression=({"pca": 99},)).check(tiny_dataset)


def test_a_second_stage_is_measured_with_its_pairs_and_its_time(
    make_dataset: Callable[..., Dataset], tmp_path: Path
):
    queries = [(f"q{n}", f"word{n}", "test") for n in range(4)]
    passages = [(f"p{n}", f"word{n} and more") for n in range(12)]
    dataset = make_dataset(queries, passages, {(n, n): 1.0 for n in range(4)})

    class Backwards:
        def search(self, batch: QueryBatch, depth: int) -> Hits:
            rows = np.tile(np.arange(11, 11 - depth, -1, dtype=np.int32), (len(batch), 1))
            return Hits(rows, -np.arange(depth, dtype=np.float32)[None].repeat(len(batch), 0))

    spec = RetrievalSpec(
        metrics=("mrr@12", "recall@2"),
        bootstrap_samples=100,
        rerank=RerankKeys(encoder="cross", depth=10, systems=("bm25",)),
    )
    scorer = SameWords()
    systems = [System("bm25", Backwards), System("other", Backwards)]
    rows = evaluated(spec, dataset, tmp_path, *systems, scorer=scorer)

    assert len(scorer.pairs) == 40
    second = {row["metric"]: row for row in rows if row.get("variant") == "rerank"}
    assert {row["system"] for row in second.values()} == {"bm25 + cross"}
    # Passages 2 and 3 are among the ten that are scored; 1 and 0 keep the ranks 11 and 12.
    assert second["mrr@12"]["value"] == pytest.approx((1 + 1 + 1 / 11 + 1 / 12) / 4)
    assert second["recall@2"]["value"] == 0.5
    assert second["recall@2"]["differences"]["bm25"]["difference"] == 0.5
    costs = json.loads((tmp_path / "efficiency.json").read_text())["bm25 + cross"]
    assert (costs["pairs"], costs["depth"], costs["parameters"]) == (40, 10, 7)
    assert costs["ms_per_query"] == pytest.approx(10_000 / costs["pairs_per_second"])


def test_the_last_system_is_reranked_unless_systems_are_named(
    tiny_dataset: Dataset, tmp_path: Path
):
    systems = [dense(tiny_dataset, name, 5) for name in ("untrained", "trained")]
    spec = RetrievalSpec(bootstrap_samples=100, rerank=RerankKeys(encoder="cross", depth=3))
    rows = evaluated(spec, tiny_dataset, tmp_path, *systems, scorer=SameWords())
    assert rows[-1]["system"] == "trained + cross"
    unknown = spec.model_copy(update={"rerank": RerankKeys(encoder="cross", systems=("gone",))})
    with pytest.raises(
        RunError, match=r"'gone' was not measured \(there are: untrained, trained\)"
    ):
        evaluated(unknown, tiny_dataset, tmp_path, *systems, scorer=SameWords())


def test_reranking_keeps_the_order_of_equal_scores_and_scores_no_missing_passage(
    make_dataset: Callable[..., Dataset],
):
    dataset = make_dataset(
        [("a", "x", "test"), ("b", "y", "test")],
        [("p", "z"), ("q", "x"), ("r", "z")],
        {(0, 0): 1.0},
    )
    first = Hits(
        np.array([[2, 0, 1], [0, -1, -1]], np.int32),
        np.array([[3, 2, 1], [1, -np.inf, -np.inf]], np.float32),
    )
    scorer = SameWords()
    found = rerank("bm25", first, 3, scorer, dataset, np.arange(2), RecordingProgress())
    assert found.hits.rows.tolist() == [[1, 2, 0], [0, -1, -1]]
    assert found.pairs == len(scorer.pairs) == 4
    shallow = rerank("bm25", first, 1, scorer, dataset, np.arange(2), RecordingProgress())
    assert shallow.hits.rows.tolist() == first.rows.tolist()
    assert (np.diff(shallow.hits.scores[0]) < 0).all()
