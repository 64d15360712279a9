"""Rankings without some pairs."""

import numpy as np

from recipekit.component import Hits
from recipekit.query_pairs import QueryPairs
from recipekit.search.exclusion import most_excluded, without

HITS = Hits(
    np.array([[5, 2, 9, -1], [2, 5, 9, 7]], np.int32),
    np.array([[4, 3, 2, -np.inf], [8, 7, 6, 5]], np.float32),
)


def excluded(*pairs: tuple[int, int]) -> QueryPairs:
    query, passage = np.array(pairs, np.int64).reshape(-1, 2).T
    return QueryPairs.from_pairs(query, passage, 2)


def test_the_next_hits_move_up() -> None:
    pairs = excluded((0, 2), (1, 2), (1, 9))
    assert most_excluded(pairs) == 2
    found = without(HITS, pairs, 2)
    assert found.rows.tolist() == [[5, 9], [5, 7]]
    assert found.scores.tolist() == [[4, 2], [7, 5]]
    assert found.rows.dtype == np.int32 and found.scores.dtype == np.float32


def test_missing_hits_are_padded() -> None:
    found = without(HITS, excluded((0, 5), (0, 2), (1, 3)), 5)
    assert found.rows.tolist() == [[9, -1, -1, -1, -1], [2, 5, 9, 7, -1]]
    assert np.isneginf(found.scores[found.rows < 0]).all()


def test_nothing_is_excluded_from_another_query() -> None:
    found = without(HITS, excluded((0, 7)), 4)
    np.testing.assert_array_equal(found.rows, HITS.rows)
    assert most_excluded(excluded()) == 0
    np.testing.assert_array_equal(without(HITS, excluded(), 3).rows, HITS.rows[:, :3])
