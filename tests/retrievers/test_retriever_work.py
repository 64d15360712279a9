import pytest

from recipekit.component import Sizes
from recipekit.retrievers.bm25 import Bm25Spec
from recipekit.retrievers.elasticsearch import ElasticsearchRetrieverSpec
from recipekit.retrievers.exact import ExactSpec
from recipekit.retrievers.qdrant import QdrantSpec

SIZES = Sizes.foreseen(
    {"train": 1000}, 1_000_000, query_characters=40, passage_characters=500, positives_per_query=1
)
DENSE = Sizes(
    SIZES.queries, SIZES.passages, SIZES.query_sample, SIZES.passage_sample, dimension=384
)


def test_indices_follow_the_text():
    assert Bm25Spec().estimate(SIZES, 100_000)["bytes of index"] == pytest.approx(
        1_000_000 * 500 / 15 * 8
    )
    assert ElasticsearchRetrieverSpec().estimate(SIZES, 100_000)["bytes of index"] == pytest.approx(
        1_000_000 * 500 * 0.76
    )


def test_an_index_that_exists_costs_searching_alone():
    made, there = (
        ElasticsearchRetrieverSpec(index=index).estimate(SIZES, 0) for index in (None, "theirs")
    )
    assert "bytes of index" not in there
    assert 0 < there["hours at the rates of two cores"] < made["hours at the rates of two cores"]


def test_vectors_follow_the_dimension():
    assert ExactSpec(encoder="student").estimate(DENSE, 0) == {
        "flop in all": 2.0 * 1000 * 1_000_000 * 384
    }
    graph = QdrantSpec(encoder="student").estimate(DENSE, 0)
    assert graph["bytes of server memory"] == 1_000_000 * 384 * 4 * 1.5
    assert (
        QdrantSpec(encoder="student", exact=True).estimate(DENSE, 0)["bytes of server memory"]
        == 1_000_000 * 384 * 4
    )
    theirs = QdrantSpec(encoder="student", collection="theirs").estimate(DENSE, 0)
    assert theirs["hours at the rates of two cores"] < graph["hours at the rates of two cores"]


def test_without_a_dimension_nothing_is_guessed():
    assert ExactSpec(encoder="student").estimate(SIZES, 0) == {}
    assert (
        "collect.expected_size.dimension"
        in QdrantSpec(encoder="student").estimate(SIZES, 0)["memory"]
    )
