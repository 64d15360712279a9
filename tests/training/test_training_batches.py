import numpy as np
import pytest

from recipekit.component import TrainingLabels
from recipekit.query_pairs import QueryPairs
from recipekit.records import Verdict
from recipekit.training.batches import (
    HARD_POOL,
    Epochs,
    epoch_batches,
    labelled_batch,
    micro_batches,
    padded_tokens,
)


def some_labels(
    n_queries: int = 40, n_passages: int = 60, seed: int = 0
) -> tuple[TrainingLabels, np.ndarray]:
    """Random labels, and the same as a dense matrix of verdicts."""
    rng = np.random.default_rng(seed)
    verdicts = rng.choice([0, 0, 0, 0, 1, 2], size=(n_queries, n_passages)).astype(np.int8)
    verdicts[np.arange(n_queries), np.arange(n_queries)] = Verdict.POSITIVE
    judged_negative = (verdicts == Verdict.NEGATIVE) & (rng.random(verdicts.shape) < 0.5)

    def pairs(mask: np.ndarray) -> QueryPairs:
        query, passage = np.nonzero(mask)
        return QueryPairs.from_sorted(query, passage, n_queries)

    positive = pairs(verdicts == Verdict.POSITIVE)
    weight = positive.normalized(np.ones(len(positive)))
    ignored = pairs(verdicts == Verdict.IGNORE)
    return TrainingLabels(
        np.arange(n_queries), positive, weight, ignored, pairs(judged_negative), 0
    ), verdicts


def test_an_epoch_has_every_query_once_and_its_own_order():
    batches = epoch_batches(10, 4, [13, 0, 0, 0])
    assert [len(batch) for batch in batches] == [4, 4, 2]
    assert sorted(np.concatenate(batches)) == list(range(10))
    assert np.array_equal(
        np.concatenate(batches), np.concatenate(epoch_batches(10, 4, [13, 0, 0, 0]))
    )
    assert not np.array_equal(
        np.concatenate(batches), np.concatenate(epoch_batches(10, 4, [13, 0, 0, 1]))
    )


def test_a_step_has_its_batch_and_a_seed_of_its_position():
    epochs = Epochs(10, 4, [13, 2], epochs_per_cycle=2)
    assert epochs.steps_per_epoch == 3
    batch, seed = epochs.at(10)  # the second step of the fourth epoch: cycle 1, epoch 1
    assert seed == [13, 2, 1, 1, 10]
    assert np.array_equal(batch, epoch_batches(10, 4, [13, 2, 1, 1])[1])


@pytest.mark.parametrize("ranks", [1, 2, 5])
def test_micro_batches_divide_the_batch_within_the_budget(ranks):
    lengths = np.random.default_rng(1).integers(3, 40, size=23).astype(np.int32)
    turns = micro_batches(lengths, 80, ranks)
    assert all(len(turn) == ranks for turn in turns)
    assert sorted(np.concatenate([np.concatenate(turn) for turn in turns])) == list(range(23))
    assert all(
        len(own) * lengths[own].max() <= 80 for turn in turns for own in turn if len(own) > 1
    )
    assert all(len(turn[0]) for turn in turns)


def test_padded_tokens_are_those_of_the_rank_with_most():
    lengths = np.array([5, 3, 9, 2, 2], dtype=np.int32)
    one, other, none = np.array([2]), np.array([0, 1]), np.empty(0, dtype=np.int64)
    assert padded_tokens(lengths, [[one, other], [np.array([3, 4]), none]]) == 9 + 2 * 2
    assert padded_tokens(lengths, [[one, other]]) == 2 * 5
    assert padded_tokens(lengths, []) == 0


def test_a_rank_can_have_an_empty_pass():
    (turn,) = micro_batches(np.array([5], dtype=np.int32), 80, 3)
    assert [own.tolist() for own in turn] == [[0], [], []]


def test_the_mask_has_the_label_of_every_pair_in_the_batch():
    labels, verdicts = some_labels()
    queries = np.array([3, 17, 29, 8])
    batch = labelled_batch(labels, queries, 2, [13])
    assert np.array_equal(batch.mask, verdicts[queries][:, batch.passages])
    assert (batch.mask == Verdict.POSITIVE).any(axis=1).all()
    assert len(np.unique(batch.passages)) == len(batch.passages) <= 4 * 3


def test_hard_negatives_come_from_the_best_ranked_and_differ_between_steps():
    labels, _ = some_labels()
    query = np.array([5])
    _, at = labels.negative.of(query)
    hardest = set(labels.negative.passage[at[: 2 * HARD_POOL]].tolist())
    _, at = labels.positive.of(query)
    positives = set(labels.positive.passage[at].tolist())
    drawn = [
        set(labelled_batch(labels, query, 2, [13, step]).passages.tolist()) - positives
        for step in range(10)
    ]
    assert all(len(passages) == 2 and passages <= hardest for passages in drawn)
    assert len(set(map(frozenset, drawn))) > 1


def test_positives_are_drawn_by_weight():
    positive = QueryPairs.from_sorted(np.array([0, 0]), np.array([4, 9]), 1)
    none = QueryPairs.from_sorted(np.empty(0, np.int32), np.empty(0, np.int32), 1)
    labels = TrainingLabels(
        np.array([0]), positive, np.array([0.25, 0.75], dtype=np.float32), none, none, 0
    )
    drawn = [
        int(labelled_batch(labels, np.array([0]), 1, [13, step]).passages[0])
        for step in range(2000)
    ]
    assert drawn.count(9) / 2000 == pytest.approx(0.75, abs=0.04)


@pytest.mark.parametrize(("n", "size"), [(65, 64), (7, 3), (4, 3), (6, 3), (2, 2), (1, 2), (9, 2)])
def test_no_batch_of_one_is_left_at_the_end_of_an_epoch(n, size) -> None:
    batches = epoch_batches(n, size, [13], smallest=2)
    assert sorted(np.concatenate(batches).tolist()) == list(range(n))
    assert Epochs(n, size, [13], 1, smallest=2).steps_per_epoch == len(batches)
    if n > 1:
        largest = 3 if (n, size) == (9, 2) else size
        assert all(2 <= len(batch) <= largest for batch in batches)
    whole = epoch_batches(n, size, [13])
    np.testing.assert_array_equal(np.concatenate(whole), np.concatenate(batches))
