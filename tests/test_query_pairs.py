"""Pairs by query: built from any order, looked up and taken by query."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from recipekit.query_pairs import QueryPairs


def passages_of(pairs: QueryPairs, query: int) -> list[int]:
    return pairs.passage[pairs.offsets[query] : pairs.offsets[query + 1]].tolist()


@settings(deadline=None)
@given(
    hnp.arrays(np.bool_, st.tuples(st.integers(1, 6), st.integers(1, 9))),
    st.lists(st.integers(0, 5), max_size=8),
    st.randoms(use_true_random=False),
)
def test_taken_rows_are_the_rows_of_the_dense_matrix(dense, index, random):
    index = [i % len(dense) for i in index]
    found = np.argwhere(dense)
    shuffled = found[random.sample(range(len(found)), len(found))]
    pairs = QueryPairs.from_pairs(*shuffled.T, len(dense))
    assert len(pairs) == dense.sum()
    taken = pairs.take(np.array(index, dtype=np.int64))
    assert taken.n_queries == len(index)
    for position, query in enumerate(index):
        assert passages_of(taken, position) == np.flatnonzero(dense[query]).tolist()


def test_pairs_among_some_passages_are_numbered_by_position():
    pairs = QueryPairs.from_sorted(np.array([0, 0, 0, 2, 3]), np.array([8, 3, 5, 4, 3]), 5)
    among = pairs.among(np.array([3, 8, 9]))
    assert [passages_of(among, query) for query in range(5)] == [[1, 0], [], [], [0], []]
    assert len(pairs.among(np.array([], dtype=np.int64))) == 0


def test_pairs_of_queries_are_looked_up_in_the_order_of_the_queries():
    pairs = QueryPairs.from_sorted(np.array([0, 0, 2]), np.array([5, 3, 8]), 4)
    local, at = pairs.of(np.array([2, 3, 0]))
    assert local.tolist() == [0, 2, 2]
    assert pairs.passage[at].tolist() == [8, 5, 3]
    assert pairs.query.tolist() == [0, 0, 2]


def test_values_are_normalized_per_query():
    pairs = QueryPairs.from_pairs(np.array([2, 0, 2]), np.array([1, 4, 9]), 3)
    assert pairs.normalized(np.array([2.0, 3.0, 1.0])).tolist() == [1.0, 0.75, 0.25]


def test_a_table_becomes_pairs():
    columns = {"query": [1, 1, 3], "passage": [7, 2, 0], "score": [0.9, 0.8, 0.7]}
    pairs = QueryPairs.from_table(pa.table(columns), 5)
    assert [passages_of(pairs, query) for query in range(5)] == [[], [7, 2], [], [0], []]


def test_tensors_have_the_pairs():
    pairs = QueryPairs.from_pairs(np.array([1, 0]), np.array([4, 6], np.int32), 2)
    query, passage = pairs.to_torch()
    assert (query.tolist(), passage.tolist()) == ([0, 1], [6, 4])


@pytest.mark.parametrize(
    ("query", "passage", "message"),
    [
        ([0, 0], [3, 3], "a pair occurs twice"),
        ([2], [3], "queries are 0..1"),
        ([-1], [3], "queries are 0..1"),
        ([0], [-1], "passages 0 or more"),
    ],
)
def test_impossible_pairs_are_refused(query, passage, message):
    with pytest.raises(ValueError, match=message):
        QueryPairs.from_pairs(np.array(query), np.array(passage), 2)
