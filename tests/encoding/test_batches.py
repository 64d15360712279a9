"""Batches of texts of similar length."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recipekit.encoding.batches import length_batches


@given(
    lengths=st.lists(st.integers(0, 300), max_size=200),
    budget=st.integers(1, 2000),
    multiple=st.integers(1, 8),
)
def test_every_text_is_in_one_batch_and_no_batch_exceeds_the_budget(
    lengths: list[int], budget: int, multiple: int
) -> None:
    lengths = np.array(lengths, dtype=np.int32)
    batches = length_batches(lengths, budget, multiple=multiple)
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    for batch in batches:
        padded = len(batch) * lengths[batch].max()
        assert padded <= budget or len(batch) <= multiple


def test_padding_is_a_small_share() -> None:
    lengths = np.random.default_rng(0).lognormal(4, 0.7, size=20_000).astype(np.int32) + 2
    batches = length_batches(lengths, 8192)
    padded = sum(len(batch) * int(lengths[batch].max()) for batch in batches)
    assert padded / lengths.sum() < 1.03
    assert len(batches) < 1.15 * lengths.sum() / 8192, "there are few batches all the same"


def test_a_few_texts_of_many_lengths_are_not_padded_to_the_longest() -> None:
    lengths = np.array([256, 250, 20, 18, 16])
    assert [batch.tolist() for batch in length_batches(lengths, 2048)] == [[0, 1], [2, 3, 4]]


def test_longer_texts_come_first_and_ties_keep_their_order() -> None:
    assert [batch.tolist() for batch in length_batches(np.array([5, 9, 5, 9]), 18)] == [
        [1, 3],
        [0, 2],
    ]
    assert length_batches(np.array([], dtype=np.int32), 10) == []


@pytest.mark.parametrize("multiple", [1, 4])
def test_full_batches_are_multiples(multiple: int) -> None:
    sizes = [len(batch) for batch in length_batches(np.full(30, 10), 70, multiple=multiple)]
    assert sizes == ([7, 7, 7, 7, 2] if multiple == 1 else [4] * 7 + [2])
