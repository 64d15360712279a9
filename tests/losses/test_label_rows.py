"""Sparse label rows: built from pairs in any order, taken by query."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from recipekit.losses.label_rows import FrozenMatrix, LabelRows
from recipekit.records import Verdict


def row_of(offsets, rows, query):
    return rows[offsets[query] : offsets[query + 1]].tolist()


def test_pairs_become_rows_with_weights_that_sum_to_one():
    labels = LabelRows.from_pairs(
        3,
        positive_query=np.array([2, 0, 2], np.int32),
        positive_passage=np.array([9, 4, 1], np.int32),
        positive_weight=np.array([1.0, 2.0, 3.0]),
        ignored_query=np.array([0, 0], np.int32),
        ignored_passage=np.array([7, 5], np.int32),
    )
    assert len(labels) == 3
    assert [row_of(labels.positive_offsets, labels.positive_rows, i) for i in range(3)] == [
        [4],
        [],
        [1, 9],
    ]
    assert [row_of(labels.ignored_offsets, labels.ignored_rows, i) for i in range(3)] == [
        [5, 7],
        [],
        [],
    ]
    assert labels.positive_weights.tolist() == [1.0, 0.75, 0.25]
    assert labels.positive_queries.tolist() == [0, 2, 2] and labels.ignored_queries.tolist() == [
        0,
        0,
    ]


@settings(deadline=None)
@given(
    hnp.arrays(
        np.int8,
        st.tuples(st.integers(1, 6), st.integers(1, 9)),
        elements=st.sampled_from([0, 1, 2]),
    ),
    st.lists(st.integers(0, 5), max_size=8),
    st.randoms(use_true_random=False),
)
def test_taken_rows_are_the_dense_rows(verdicts, index, random):
    index = [i % len(verdicts) for i in index]
    pairs = []
    for verdict in (Verdict.POSITIVE, Verdict.IGNORE):
        found = np.argwhere(verdicts == verdict)
        pairs.append(found[random.sample(range(len(found)), len(found))])
    positive, ignored = pairs
    labels = LabelRows.from_pairs(len(verdicts), *positive.T, np.ones(len(positive)), *ignored.T)
    taken = labels.take(torch.tensor(index, dtype=torch.int64))
    assert len(taken) == len(index)
    for place, query in enumerate(index):
        positives = np.flatnonzero(verdicts[query] == Verdict.POSITIVE)
        assert row_of(taken.positive_offsets, taken.positive_rows, place) == positives.tolist()
        assert row_of(taken.positive_offsets, taken.positive_weights, place) == pytest.approx(
            [1 / max(len(positives), 1)] * len(positives)
        )
        assert (
            row_of(taken.ignored_offsets, taken.ignored_rows, place)
            == np.flatnonzero(verdicts[query] == Verdict.IGNORE).tolist()
        )


@pytest.mark.parametrize(
    ("positive", "weight", "ignored", "message"),
    [
        (([0, 0], [3, 3]), [1, 1], ([], []), "a pair stands twice"),
        (([0], [3]), [1], ([0], [3]), "both positive and ignored"),
        (([0], [3]), [0], ([], []), "weight of a positive"),
        (([2], [3]), [1], ([], []), "queries are 0..1"),
        (([0], [-1]), [1], ([], []), "passages 0 or more"),
    ],
)
def test_pairs_that_cannot_be_rows_are_refused(positive, weight, ignored, message):
    with pytest.raises(ValueError, match=message):
        LabelRows.from_pairs(
            2,
            *map(np.array, positive),
            np.array(weight),
            *(np.array(side, np.int64) for side in ignored),
        )


def test_shares_of_a_matrix_cover_it_once():
    array = np.arange(22, dtype=np.float32).reshape(11, 2)
    shares = [FrozenMatrix.share(array, rank=rank, count=4) for rank in range(4)]
    assert [share.start for share in shares] == [0, 2, 5, 8] and {
        share.total for share in shares
    } == {11}
    assert torch.equal(torch.cat([share.matrix for share in shares]), torch.from_numpy(array))
