"""Pairs, triplets and tuples from the labels: what is in a batch, and what is not."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from helpers.dense_reference import training_labels as dense_labels
from recipekit.component import ExampleForm
from recipekit.dataset import Dataset
from recipekit.encoders.bi_encoder import BiEncoderSpec
from recipekit.errors import RunError
from recipekit.phases.in_batch import InBatchSpec
from recipekit.records import Verdict
from recipekit.tables import JUDGMENTS
from recipekit.testing import RecordingProgress, bind, check_phase, context
from recipekit.testing.phases import training_context
from recipekit.training.example_batches import ExampleEpochs
from recipekit.training.labels import training_labels

POSITIVE, NEGATIVE, IGNORE = int(Verdict.POSITIVE), int(Verdict.NEGATIVE), int(Verdict.IGNORE)

VERDICTS = np.array(
    [
        [POSITIVE, NEGATIVE, NEGATIVE, IGNORE, NEGATIVE, NEGATIVE],
        [NEGATIVE, POSITIVE, IGNORE, NEGATIVE, NEGATIVE, NEGATIVE],
        [NEGATIVE, NEGATIVE, POSITIVE, POSITIVE, NEGATIVE, IGNORE],
        [IGNORE, NEGATIVE, NEGATIVE, POSITIVE, NEGATIVE, NEGATIVE],
    ],
    dtype=np.int8,
)


def examples(verdicts, name: str, num_hard_negatives: int = 2, batch_size: int = 4, **form):
    form = ExampleForm(name, **form)
    return ExampleEpochs(dense_labels(verdicts), form, num_hard_negatives, batch_size, [7], 3)


def verdicts_of(batch, verdicts):
    """The verdicts of the passages of every example, (m, k)."""
    queries = batch.queries[batch.examples.query.numpy()]
    return verdicts[queries[:, None], batch.passages[batch.examples.passage.numpy()]]


@pytest.mark.parametrize(
    ("name", "count", "shape"),
    [("pairs", 0, (4, 1)), ("triplets", 2, (8, 2)), ("tuples", 2, (4, 3)), ("tuples", 0, (4, 1))],
)
def test_the_first_passage_is_a_positive_and_the_others_are_negatives(name, count, shape):
    batch, _ = examples(VERDICTS, name, count).at(0)
    found = verdicts_of(batch, VERDICTS)
    assert found.shape == shape
    assert (found[:, 0] == POSITIVE).all() and (found[:, 1:] == NEGATIVE).all()
    assert batch.examples.score is None


@pytest.mark.parametrize("name", ["labelled pairs", "scored pairs"])
def test_pairs_are_labelled_with_their_verdict(name):
    batch, _ = examples(VERDICTS, name).at(0)
    found = verdicts_of(batch, VERDICTS)
    assert found.shape == (12, 1)
    assert (batch.examples.score.numpy() == (found == POSITIVE)).all()
    assert set(np.unique(found)) == {POSITIVE, NEGATIVE}


def test_tuples_repeat_the_negatives_of_a_query_that_has_few():
    verdicts = np.full((2, 6), IGNORE, dtype=np.int8)
    verdicts[:, 0], verdicts[0, 1:3], verdicts[1, 1:] = POSITIVE, NEGATIVE, NEGATIVE
    batch, _ = examples(verdicts, "tuples", 4, contrasts=False).at(0)
    found = batch.passages[batch.examples.passage.numpy()]
    assert found.shape == (2, 5)
    assert sorted(found[0, 1:]) == [1, 1, 2, 2] and len(set(found[1, 1:])) == 4


def test_epochs_draw_other_examples_and_repeat_when_asked_again():
    epochs = examples(VERDICTS, "triplets", 1, batch_size=2)
    first, _ = epochs.at(0)
    later = [epochs.at(step)[0] for step in range(2, 6)]
    again, seed = epochs.at(0)
    assert np.array_equal(first.passages, again.passages) and seed == [7, 0, 0, 0]
    assert any(not np.array_equal(first.passages, other.passages) for other in later)


@settings(deadline=None, max_examples=60)
@given(
    hnp.arrays(
        np.int8,
        st.tuples(st.integers(2, 12), st.integers(2, 12)),
        elements=st.sampled_from([POSITIVE, NEGATIVE, IGNORE, NEGATIVE]),
    ),
    st.integers(2, 5),
    st.integers(0, 2),
)
def test_a_batch_that_contrasts_has_no_positive_or_ignored_pair_off_the_diagonal(
    verdicts, batch_size, count
):
    verdicts[:, 0] = POSITIVE  # one passage that is a positive of all
    verdicts[:, 1] = NEGATIVE
    epochs = examples(verdicts, "tuples", count, batch_size, contrasts=True)
    seen: list[int] = []
    for step in range(epochs.steps_per_epoch):
        batch, _ = epochs.at(step)
        seen += batch.queries.tolist()
        of = batch.queries[batch.examples.query.numpy()]
        passages = batch.passages[batch.examples.passage.numpy()]
        for query in of:
            others = passages[of != query]
            assert (verdicts[query, others] == NEGATIVE).all()
        assert len(batch.queries) >= 1
    assert len(seen) == len(set(seen)) == len(epochs.usable) - epochs.conflicting


def test_conflicting_queries_move_to_another_batch_rather_than_being_left_out():
    verdicts = np.full((40, 20), NEGATIVE, dtype=np.int8)
    verdicts[np.arange(40), np.arange(40) // 2] = POSITIVE  # pairs of queries share a positive
    epochs = examples(verdicts, "pairs", 0, batch_size=8, contrasts=True)
    seen = [query for step in range(5) for query in epochs.at(step)[0].queries.tolist()]
    assert len(seen) == len(set(seen)) >= 38


# Scores
# ----------


def judged(dataset: Dataset) -> pa.Table:
    """Two judges with other scales; query 0 has a pair without a grade."""
    rows = [
        (0, 0, POSITIVE, 3.0, 0.9, "llm"),
        (0, 1, NEGATIVE, 1.0, 0.8, "llm"),
        (0, 2, NEGATIVE, None, None, "llm"),
        (1, 1, POSITIVE, 2.0, 0.6, "llm"),
        (1, 3, NEGATIVE, 0.0, 0.7, "llm"),
        (2, 2, POSITIVE, 8.0, None, "cross"),
        (2, 5, NEGATIVE, -4.0, None, "cross"),
        (2, 6, IGNORE, 2.0, None, "cross"),
    ]
    columns = list(zip(*rows, strict=True))
    columns.insert(5, [None] * len(rows))
    arrays = [
        pa.array(values, field.type) for values, field in zip(columns, JUDGMENTS, strict=True)
    ]
    return pa.table(arrays, schema=JUDGMENTS)


def scores(dataset: Dataset, score_from: str) -> dict[tuple[int, int], float]:
    labels = training_labels(dataset, judgments=judged(dataset))
    form = ExampleForm("scored pairs", score_from=score_from)
    batch, _ = ExampleEpochs(labels, form, 3, 12, [7], 1).at(0)
    query = labels.queries[batch.queries[batch.examples.query.numpy()]]
    passage = batch.passages[batch.examples.passage.numpy()[:, 0]]
    pairs = zip(query.tolist(), passage.tolist(), strict=True)
    return dict(zip(pairs, batch.examples.score.numpy()[:, 0].tolist(), strict=True))


def test_grades_are_scaled_by_judge(tiny_dataset):
    assert scores(tiny_dataset, "grade") == {
        (0, 0): 1.0,
        (0, 1): pytest.approx(1 / 3),
        (1, 1): pytest.approx(2 / 3),
        (1, 3): 0.0,
        (2, 2): 1.0,
        (2, 5): 0.0,
    }


def test_confidence_is_that_of_a_positive(tiny_dataset):
    assert scores(tiny_dataset, "confidence") == {
        (0, 0): pytest.approx(0.9),
        (0, 1): pytest.approx(0.2),
        (1, 1): pytest.approx(0.6),
        (1, 3): pytest.approx(0.3),
    }


def test_verdicts_are_scores_of_one_and_zero(tiny_dataset):
    found = scores(tiny_dataset, "verdict")
    assert found[(0, 0)] == 1 and found[(0, 2)] == 0
    assert (2, 6) not in found


@pytest.mark.parametrize(
    ("name", "score_from", "message"),
    [
        ("triplets", "verdict", "needs triplets, but none of the 12 training queries has a hard"),
        ("scored pairs", "verdict", "needs scored pairs, but none of the 12"),
    ],
)
def test_a_form_that_the_labels_do_not_have_is_refused(tiny_dataset, name, score_from, message):
    with pytest.raises(RunError, match=message):
        ExampleEpochs(
            training_labels(tiny_dataset), ExampleForm(name, score_from=score_from), 1, 4, [7], 1
        )


def test_scores_that_no_judge_gave_are_refused():
    with pytest.raises(RunError, match="with a confidence: use a judge that gives one"):
        examples(VERDICTS, "scored pairs", score_from="confidence")


# The phase
# ----------


@pytest.fixture
def with_negatives(make_dataset, words) -> Dataset:
    """8 queries with a positive and two negatives each."""
    queries = [(f"q{i}", " ".join(words[i : i + 2]), "train") for i in range(8)]
    passages = [(f"p{i}", " ".join(words[i : i + 4])) for i in range(10)]
    labels = {(i, i): 1.0 for i in range(8)}
    labels |= {(i, (i + 1) % 10): 0.0 for i in range(8)} | {
        (i, (i + 2) % 10): 0.0 for i in range(8)
    }
    return make_dataset(queries, passages, labels)


@pytest.mark.parametrize(
    ("loss", "count"),
    [
        ("MultipleNegativesRankingLoss", 0),
        ("MultipleNegativesRankingLoss", 2),
        ("MegaBatchMarginLoss", 0),
        ("TripletLoss", 2),
        ("ContrastiveLoss", 1),
        ("CoSENTLoss", 2),
        ("MarginMSELoss", 2),
    ],
)
def test_the_phase_trains_with_a_loss_of_the_library(
    with_negatives, tiny_model, tmp_path, loss, count
):
    spec = bind(
        InBatchSpec,
        {
            "loss": {"use": "sentence_transformers", "loss": loss},
            "num_hard_negatives": count,
        },
    )
    assert spec.refuses(spec.loss.spec) == ""
    plain = context(tmp_path, dataset=with_negatives, progress=RecordingProgress())
    encoder = bind(BiEncoderSpec, {"model": str(tiny_model), "precision": "fp32"}).build(plain)
    check_phase(spec, encoder, plain)


@pytest.mark.parametrize(
    ("loss", "count", "refusal"),
    [
        ("MegaBatchMarginLoss", 1, "reads pairs (query, positive): set num_hard_negatives: 0"),
        ("TripletLoss", 0, "reads triplets: set num_hard_negatives to 1 or more"),
        ("CoSENTLoss", 0, "reads scored pairs: set num_hard_negatives to 1 or more"),
    ],
)
def test_the_wrong_number_of_negatives_is_refused_with_the_form_that_is_needed(
    loss, count, refusal
):
    fields = {"use": "sentence_transformers", "loss": loss}
    spec = bind(InBatchSpec, {"loss": fields, "num_hard_negatives": count})
    assert refusal in spec.refuses(spec.loss.spec)


def test_queries_without_an_example_are_counted(make_dataset, tiny_model, tmp_path):
    dataset = make_dataset(
        [("a", "river", "train"), ("b", "valley", "train")],
        [("p", "ocean"), ("q", "forest")],
        {(0, 0): 1.0, (0, 1): 0.0, (1, 1): 1.0},
    )
    progress = RecordingProgress()
    loss = {"use": "sentence_transformers", "loss": "TripletLoss"}
    spec = bind(InBatchSpec, {"loss": loss})
    plain = context(tmp_path, dataset=dataset, progress=progress)
    encoder = bind(BiEncoderSpec, {"model": str(tiny_model), "precision": "fp32"}).build(plain)
    phase = spec.build(training_context(spec, encoder, plain))
    phase.gradient(0)
    phase.end()
    assert progress.warnings == [
        "in_batch: 1 of 2 training queries have no triplets, and were not trained on"
    ]
