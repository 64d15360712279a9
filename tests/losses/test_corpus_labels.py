"""The labels of a batch as tensors, and the slices of a frozen matrix."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from helpers.ranks import FakeRanks
from recipekit.component import TrainingLabels
from recipekit.losses.corpus_labels import CorpusLabels
from recipekit.losses.frozen_matrix import FrozenMatrix
from recipekit.query_pairs import QueryPairs


def pairs(*listed: tuple[int, int], n_queries: int = 3) -> QueryPairs:
    query, passage = np.array(listed, dtype=np.int32).reshape(-1, 2).T
    return QueryPairs.from_pairs(query, passage, n_queries)


def test_pairs_become_tensors():
    positive, ignored = pairs((2, 9), (0, 4), (2, 1)), pairs((0, 7), (0, 5))
    labels = CorpusLabels.of(positive, positive.normalized(np.array([2.0, 3.0, 1.0])), ignored)
    assert len(labels) == 3
    assert labels.positive_queries.tolist() == [0, 2, 2]
    assert labels.positive_rows.tolist() == [4, 1, 9]
    assert labels.positive_weights.tolist() == [1.0, 0.75, 0.25]
    assert labels.ignored_queries.tolist() == [0, 0]
    assert labels.ignored_rows.tolist() == [5, 7]


def test_labels_of_some_queries_are_numbered_in_the_order_of_the_batch():
    labels = TrainingLabels(
        queries=np.array([3, 5, 8]),
        positive=pairs((0, 4), (2, 1), (2, 9)),
        weight=np.array([1.0, 0.25, 0.75], np.float32),
        ignored=pairs((0, 7), (1, 6)),
        negative=pairs(),
        without_positive=0,
    )
    batch = CorpusLabels.of_queries(labels, np.array([2, 0]))
    assert len(batch) == 2
    assert batch.positive_queries.tolist() == [0, 0, 1]
    assert batch.positive_rows.tolist() == [1, 9, 4]
    assert batch.positive_weights.tolist() == [0.25, 0.75, 1.0]
    assert (batch.ignored_queries.tolist(), batch.ignored_rows.tolist()) == ([1], [7])


@pytest.mark.parametrize(
    ("weight", "ignored", "message"),
    [(1.0, (0, 3), "both positive and ignored"), (0.0, (0, 4), "weight of a positive")],
)
def test_contradictory_labels_are_refused(weight, ignored, message):
    with pytest.raises(ValueError, match=message):
        CorpusLabels.of(pairs((0, 3)), np.array([weight], np.float32), pairs(ignored))


def test_slices_of_a_matrix_cover_it_once():
    array = np.arange(22, dtype=np.float32).reshape(11, 2)
    slices = [FrozenMatrix.slice_of(array, FakeRanks(rank=rank, count=4)) for rank in range(4)]
    assert [part.start for part in slices] == [0, 2, 5, 8]
    assert {part.total for part in slices} == {11}
    assert torch.equal(torch.cat([part.matrix for part in slices]), torch.from_numpy(array))
