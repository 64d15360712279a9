import numpy as np
import pyarrow as pa
import pytest

from recipekit.errors import RunError
from recipekit.records import Verdict
from recipekit.tables import CANDIDATES, JUDGMENTS
from recipekit.training.labels import LabelSelection, training_labels

POSITIVE, NEGATIVE, IGNORE = Verdict.POSITIVE, Verdict.NEGATIVE, Verdict.IGNORE


@pytest.fixture
def dataset(make_dataset):
    """Four queries over six passages; query 2 is of dev, query 3 has no label at all."""
    queries = [
        ("a", "one", "train"),
        ("b", "two", "train"),
        ("c", "three", "dev"),
        ("d", "four", "train"),
    ]
    passages = [(f"p{i}", f"text {i}") for i in range(6)]
    return make_dataset(
        queries, passages, {(0, 0): 1.0, (0, 1): 3.0, (0, 5): 0.0, (1, 2): 1.0, (2, 3): 1.0}
    )


def candidates(*rows: tuple[int, int, float]) -> pa.Table:
    query, passage, score = zip(*rows, strict=True)
    return pa.table([query, passage, [False] * len(rows), score], schema=CANDIDATES)


def judgments(*rows: tuple[int, int, Verdict]) -> pa.Table:
    query, passage, verdict = zip(*rows, strict=True)
    none = [None] * len(rows)
    columns = [
        query,
        passage,
        verdict,
        none,
        none,
        none,
        pa.array(["llm"] * len(rows)).dictionary_encode(),
    ]
    columns = [
        pa.array(column) if isinstance(column, tuple | list) else column for column in columns
    ]
    return pa.table(columns, names=JUDGMENTS.names).cast(JUDGMENTS)


def pairs(labels, which: str) -> list[tuple[int, int]]:
    found = getattr(labels, which)
    return [
        (int(labels.queries[query]), int(passage))
        for query, passage in zip(found.query, found.passage, strict=True)
    ]


def test_source_labels_alone(dataset):
    labels = training_labels(dataset)
    assert labels.queries.tolist() == [0, 1]
    assert pairs(labels, "positive") == [(0, 0), (0, 1), (1, 2)]
    assert labels.weight.tolist() == [0.5, 0.5, 1.0]
    assert pairs(labels, "negative") == [(0, 5)]
    assert pairs(labels, "ignored") == []
    assert labels.counts() == {
        "queries": 2,
        "queries_without_positive": 1,
        "positives": 3,
        "ignored": 0,
        "hard_negatives": 1,
    }


def test_weights_by_grade(dataset):
    np.testing.assert_allclose(
        training_labels(dataset, selection=LabelSelection(positive_weights="grade")).weight,
        [0.25, 0.75, 1.0],
    )


def test_an_unjudged_candidate_is_ignored_or_a_negative_as_selected(dataset):
    mined = candidates((0, 4, 0.9), (0, 3, 0.8), (1, 2, 0.5), (2, 0, 0.7))
    judged = judgments((0, 3, NEGATIVE))
    ignoring = training_labels(dataset, candidates=mined, judgments=judged)
    assert pairs(ignoring, "ignored") == [(0, 4)]
    assert pairs(ignoring, "negative") == [(0, 3), (0, 5)]
    negative = training_labels(
        dataset, candidates=mined, judgments=judged, selection=LabelSelection(unjudged="negative")
    )
    assert pairs(negative, "ignored") == []
    assert pairs(negative, "negative") == [
        (0, 4),
        (0, 3),
        (0, 5),
    ]  # by fused score; unretrieved negatives come last


def test_a_judgment_overrides_a_source_label(dataset):
    judged = judgments((0, 0, IGNORE), (0, 1, POSITIVE), (1, 2, NEGATIVE), (3, 4, POSITIVE))
    labels = training_labels(dataset, judgments=judged)
    assert pairs(labels, "positive") == [(0, 1), (3, 4)]
    assert pairs(labels, "ignored") == [(0, 0)]
    assert labels.queries.tolist() == [0, 3]  # query 1 has lost its only positive


def test_source_labels_can_be_selected_over_judgments(dataset):
    judged = judgments((0, 0, IGNORE), (1, 2, NEGATIVE))
    selection = LabelSelection(labels="source")
    labels = training_labels(dataset, judgments=judged, selection=selection)
    assert pairs(labels, "positive") == [(0, 0), (0, 1), (1, 2)]


def test_splits_can_be_selected(dataset):
    labels = training_labels(dataset, selection=LabelSelection(splits=("train", "dev")))
    assert labels.queries.tolist() == [0, 1, 2]
    with pytest.raises(RunError, match="none of the 0 test queries has a positive"):
        training_labels(dataset, selection=LabelSelection(splits=("test",)))


def test_sources_can_be_selected(dataset):
    labels = training_labels(dataset, selection=LabelSelection(sources=("test", "other")))
    assert labels.queries.tolist() == [0, 1]
    with pytest.raises(RunError, match="there is nothing to train on"):
        training_labels(dataset, selection=LabelSelection(sources=("other",)))


def test_nothing_to_train_on_is_an_error(make_dataset):
    dataset = make_dataset([("a", "one", "train")], [("p", "text")], {(0, 0): 0.0})
    with pytest.raises(RunError, match="none of the 1 train queries has a positive passage"):
        training_labels(dataset)


SYMMETRIC = [("a", "how high is the tide", "train"), ("b", "the height of the tide", "train")]
OWN = [("p", "the height of the tide"), ("q", "how high is the tide"), ("r", "other")]


def test_a_querys_own_text_is_ignored_unless_it_is_labelled(make_dataset):
    dataset = make_dataset(SYMMETRIC, OWN, {(0, 0): 1.0, (1, 1): 1.0})
    for selection in (LabelSelection(), LabelSelection(unjudged="negative")):
        labels = training_labels(
            dataset,
            candidates=candidates((0, 1, 0.9), (1, 2, 0.1)),
            selection=selection,
        )
        assert {(0, 1), (1, 0)} <= set(pairs(labels, "ignored"))
        assert not {(0, 1), (1, 0)} & set(pairs(labels, "negative"))

    labelled = make_dataset(SYMMETRIC, OWN, {(0, 0): 1.0, (0, 1): 0.0, (1, 1): 1.0})
    labels = training_labels(labelled)
    assert pairs(labels, "negative") == [(0, 1)] and pairs(labels, "ignored") == [(1, 0)]


def test_a_judgment_on_a_querys_own_text_counts(make_dataset):
    dataset = make_dataset(SYMMETRIC, OWN, {(0, 0): 1.0, (1, 1): 1.0})
    labels = training_labels(dataset, judgments=judgments((0, 1, NEGATIVE), (1, 0, POSITIVE)))
    assert pairs(labels, "negative") == [(0, 1)]
    assert pairs(labels, "positive") == [(0, 0), (1, 0), (1, 1)]
    assert pairs(labels, "ignored") == []
