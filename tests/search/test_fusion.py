import numpy as np
import pytest

from recipekit.arrays import positions_in_groups
from recipekit.component import Hits
from recipekit.errors import ComponentError
from recipekit.search.fusion import cut, fuse


def hits(*lists):
    """Return hits from one {passage: score} per query, best first."""
    depth = max(map(len, lists), default=0)
    rows = [[*found, *[-1] * (depth - len(found))] for found in lists]
    scores = [[*found.values(), *[-np.inf] * (depth - len(found))] for found in lists]
    return Hits(
        np.array(rows, np.int32).reshape(len(lists), depth),
        np.array(scores, np.float32).reshape(len(lists), depth),
    )


LEXICAL = hits({4: 9.0, 2: 5.0, 7: 1.0}, {0: 3.0}, {})
DENSE = hits({2: 0.9, 5: 0.5}, {1: 0.8, 0: 0.8}, {})


def scores_by_passage(fused, query):
    rows = fused.query == query
    return dict(zip(fused.passage[rows].tolist(), fused.score[rows].tolist(), strict=True))


def test_reciprocal_ranks_are_summed():
    fused = fuse({"lexical": LEXICAL, "dense": DENSE}, "rrf", {"dense": 2.0})
    assert scores_by_passage(fused, 0) == pytest.approx(
        {2: 1 / 62 + 2 / 61, 5: 2 / 62, 4: 1 / 61, 7: 1 / 63}
    )
    assert list(scores_by_passage(fused, 0)) == [2, 5, 4, 7], "descending score"
    assert list(scores_by_passage(fused, 1)) == [0, 1]
    assert fused.query.tolist() == [0, 0, 0, 0, 1, 1]


def test_scores_are_scaled_per_query_and_retriever():
    fused = fuse({"lexical": LEXICAL, "dense": DENSE}, "score", {"lexical": 0.5})
    assert scores_by_passage(fused, 0) == pytest.approx({2: 0.5 * 0.5 + 1, 4: 0.5, 5: 0.0, 7: 0.0})
    assert scores_by_passage(fused, 1) == pytest.approx({0: 0.5 + 1, 1: 1.0}), (
        "equal scores are all scaled to 1"
    )


def test_union_is_ordered_by_best_rank():
    fused = fuse({"lexical": LEXICAL, "dense": DENSE}, "union")
    assert scores_by_passage(fused, 0) == pytest.approx({2: 1, 4: 1, 5: 1 / 2, 7: 1 / 3})
    assert list(scores_by_passage(fused, 0)) == [2, 4, 5, 7], (
        "ties are ordered by the lower passage"
    )


def test_the_rank_and_score_of_each_retriever_are_kept():
    fused = fuse({"lexical": LEXICAL, "dense": DENSE}, "rrf")
    five = (fused.query == 0) & (fused.passage == 5)
    assert fused.ranks["dense"][five] == 2
    assert fused.scores["dense"][five] == 0.5
    assert fused.ranks["lexical"][five] == 0
    assert np.isnan(fused.scores["lexical"][five])


def test_cut_keeps_spared_pairs_in_addition():
    fused = fuse({"lexical": hits({4: 9.0, 2: 5.0, 7: 1.0, 8: 0.5}, {3: 1.0})}, "rrf")
    spared = np.isin(fused.passage, [4, 8])
    assert fused.passage[cut(fused, 1, spared)].tolist() == [4, 2, 8, 3]
    assert cut(fused, None, spared).all()
    assert positions_in_groups(fused.query).tolist() == [0, 1, 2, 3, 0]


def test_batches_without_hits():
    assert len(fuse({"lexical": hits({}, {})}, "score")) == 0
    padded = Hits(np.full((2, 3), -1, np.int32), np.full((2, 3), -np.inf, np.float32))
    assert len(fuse({"lexical": padded, "dense": hits({}, {})}, "rrf")) == 0


def test_fusion_agrees_with_a_loop_over_pairs():
    random = np.random.default_rng(0)
    lists = {}
    for name in ("a", "b", "c"):
        rows = np.stack([random.permutation(30)[:12] for _ in range(20)]).astype(np.int32)
        scores = -np.sort(-random.standard_normal((20, 12)).astype(np.float32), axis=1)
        count = random.integers(0, 13, 20)
        blank = np.arange(12) >= count[:, None]
        rows[blank], scores[blank] = -1, -np.inf
        lists[name] = Hits(rows, scores)
    fused = fuse(lists, "rrf", {"b": 3.0})
    for query in range(20):
        expected: dict[int, float] = {}
        for name, found in lists.items():
            for rank, passage in enumerate(found.rows[query], start=1):
                if passage >= 0:
                    expected[passage] = expected.get(passage, 0) + (3.0 if name == "b" else 1.0) / (
                        60 + rank
                    )
        expected = {passage: float(np.float32(score)) for passage, score in expected.items()}
        assert list(scores_by_passage(fused, query).items()) == sorted(
            expected.items(), key=lambda item: (-item[1], item[0])
        )


def test_a_repeated_passage_is_an_error_of_the_retriever():
    repeated = Hits(np.array([[3, 3]], np.int32), np.array([[2.0, 1.0]], np.float32))
    with pytest.raises(ComponentError, match="retriever 'odd' returned a passage twice"):
        fuse({"odd": repeated}, "rrf")
