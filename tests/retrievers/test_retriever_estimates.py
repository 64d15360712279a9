"""What `plan` estimates for retrievers."""

from dataclasses import replace

import pytest

from recipekit.component import Sizes
from recipekit.retrievers.bm25 import Bm25Spec
from recipekit.retrievers.elasticsearch import ElasticsearchRetrieverSpec
from recipekit.retrievers.exact import ExactSpec
from recipekit.retrievers.qdrant import QdrantSpec

HOURS = "hours on two cores"
SIZES = Sizes.foreseen(
    {"train": 1000}, 1_000_000, query_characters=40, passage_characters=500, positives_per_query=1
)
WITH_DIMENSION = replace(SIZES, dimension=384)


def test_index_size_follows_the_text():
    bm25 = Bm25Spec().estimate(SIZES, 100_000)
    assert bm25["bytes of index"] == pytest.approx(1_000_000 * 500 / 15 * 8)
    elasticsearch = ElasticsearchRetrieverSpec().estimate(SIZES, 100_000)
    assert elasticsearch["bytes of index"] == pytest.approx(1_000_000 * 500 * 0.76)


def test_an_existing_index_only_takes_searching():
    own = ElasticsearchRetrieverSpec().estimate(SIZES, 0)
    existing = ElasticsearchRetrieverSpec(index="theirs").estimate(SIZES, 0)
    assert "bytes of index" not in existing
    assert 0 < existing[HOURS] < own[HOURS]


def test_vectors_follow_the_dimension():
    exact = ExactSpec(encoder="student").estimate(WITH_DIMENSION, 0)
    assert exact == {"flop in all": 2.0 * 1000 * 1_000_000 * 384}
    graph = QdrantSpec(encoder="student").estimate(WITH_DIMENSION, 0)
    assert graph["bytes of server memory"] == 1_000_000 * 384 * 4 * 1.5
    without_graph = QdrantSpec(encoder="student", exact=True).estimate(WITH_DIMENSION, 0)
    assert without_graph["bytes of server memory"] == 1_000_000 * 384 * 4
    existing = QdrantSpec(encoder="student", collection="theirs").estimate(WITH_DIMENSION, 0)
    assert existing[HOURS] < graph[HOURS]


def test_without_a_dimension_nothing_is_estimated():
    assert ExactSpec(encoder="student").estimate(SIZES, 0) == {}
    memory = QdrantSpec(encoder="student").estimate(SIZES, 0)["memory"]
    assert "collect.expected_size.dimension" in memory
