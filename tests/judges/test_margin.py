from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from recipekit.component import Embeddings, PairBatch, Verdicts
from recipekit.judges.margin import MarginSpec
from recipekit.records import Verdict
from recipekit.testing import RecordingProgress, context

POSITIVE, NEGATIVE, IGNORE = Verdict.POSITIVE, Verdict.NEGATIVE, Verdict.IGNORE


def embeddings(passages, queries=((1.0, 0.0), (1.0, 0.0))):
    """An encoder under which query (1, 0) scores a passage by the passage's first number."""
    matrices = {
        "query": np.array(queries, dtype=np.float32),
        "passage": np.array([(score, 0.0) for score in passages], dtype=np.float16),
    }
    return lambda name, side: Embeddings(Path(name), matrices[side], "cosine")


def pairs(query, source_positive, previous=Verdict.UNJUDGED, wanted=None):
    query, positive = np.array(query, np.int32), np.array(source_positive, bool)
    previous = np.broadcast_to(np.array(previous, np.int8), len(query))
    wanted = ~positive if wanted is None else np.array(wanted, bool)
    return PairBatch(query, np.arange(len(query), dtype=np.int32), positive, previous, wanted)


def verdicts(tmp_path, spec, scores, batch, progress=None) -> dict[int, int]:
    made = spec.build(
        context(tmp_path, embeddings=embeddings(scores), progress=progress or RecordingProgress())
    )
    judged: list[Verdicts] = list(made.judge([batch]))
    return {
        int(p): int(v)
        for verdicts in judged
        for p, v in zip(verdicts.passage, verdicts.verdict, strict=True)
    }


def test_a_candidate_that_scores_like_the_positive_is_ignored(tmp_path):
    found = verdicts(
        tmp_path,
        MarginSpec(encoder="student"),
        [0.8, 0.9, 0.77, 0.75],
        pairs([0, 0, 0, 0], [True, False, False, False]),
    )
    assert found == {1: IGNORE, 2: IGNORE, 3: NEGATIVE}  # the threshold is 0.95 * 0.8 = 0.76


@pytest.mark.parametrize(
    ("settings", "threshold"),
    [
        ({}, 0.76),
        ({"relative_margin": None, "absolute_margin": 0.05}, 0.75),  # NV-Retriever's TopK-MarginPos
        ({"relative_margin": None, "absolute_margin": 0.0}, 0.8),  # CDE
        ({"relative_margin": None, "absolute_margin": -0.1}, 0.9),  # Qwen3-Embedding
        (
            {"relative_margin": 0.05, "absolute_margin": 0.2},
            0.6,
        ),  # either margin is enough, so the lower threshold decides
    ],
)
def test_published_filters_have_their_thresholds(tmp_path, settings, threshold):
    spec = MarginSpec(encoder="student", above_margin="positive", **settings)
    found = verdicts(
        tmp_path,
        spec,
        [0.8, threshold + 0.01, threshold - 0.01],
        pairs([0, 0, 0], [True, False, False]),
    )
    assert found == {1: POSITIVE, 2: NEGATIVE}


@pytest.mark.parametrize(
    ("reference", "threshold"), [("lowest", 0.2), ("mean", 0.5), ("highest", 0.8)]
)
def test_reference_positive_selects_among_several_positives(tmp_path, reference, threshold):
    spec = MarginSpec(encoder="student", relative_margin=0.0, reference_positive=reference)
    found = verdicts(
        tmp_path,
        spec,
        [0.2, 0.8, threshold + 0.01, threshold - 0.01],
        pairs([0] * 4, [True, True, False, False]),
    )
    assert found == {2: IGNORE, 3: NEGATIVE}


def test_the_relative_margin_is_below_a_negative_score_too(tmp_path):
    found = verdicts(
        tmp_path,
        MarginSpec(encoder="student", relative_margin=0.1),
        [-0.5, -0.52, -0.6],
        pairs([0] * 3, [True, False, False]),
    )
    assert found == {1: IGNORE, 2: NEGATIVE}  # the threshold is -0.5 - 0.1 * 0.5 = -0.55


def test_the_confidence_is_the_distance_from_the_threshold(tmp_path):
    made = MarginSpec(encoder="student", relative_margin=0.0).build(
        context(tmp_path, embeddings=embeddings([0.5, 0.75, 0.25]))
    )
    [found] = made.judge([pairs([0] * 3, [True, False, False])])
    np.testing.assert_allclose(found.confidence, [0.25, 0.25])
    assert found.grade is None
    assert found.reason is None


def test_a_query_without_a_source_positive_is_not_judged_but_counted(tmp_path):
    progress = RecordingProgress()
    batch = pairs([0, 0, 1, 1], [True, False, False, False])
    assert set(
        verdicts(tmp_path, MarginSpec(encoder="student"), [0.8, 0.1, 0.9, 0.1], batch, progress)
    ) == {1}
    assert progress.events == [
        {"event": "judge.margin", "queries_without_positive": 1, "pairs_without_positive": 2}
    ]


def test_an_earlier_negative_stays_unless_previous_verdicts_includes_it(tmp_path):
    batch = pairs([0, 0, 0], [True, False, False], previous=[POSITIVE, NEGATIVE, Verdict.UNJUDGED])
    assert set(verdicts(tmp_path, MarginSpec(encoder="student"), [0.8, 0.9, 0.9], batch)) == {2}
    assert set(
        verdicts(
            tmp_path,
            MarginSpec(encoder="student", previous_verdicts=("negative", "unjudged")),
            [0.8, 0.9, 0.9],
            batch,
        )
    ) == {
        1,
        2,
    }


def test_source_positives_are_never_judged(tmp_path):
    batch = pairs([0, 0, 0], [True, True, False], wanted=[True, True, True])
    assert set(verdicts(tmp_path, MarginSpec(encoder="student"), [0.2, 0.8, 0.1], batch)) == {2}


def test_scores_in_blocks_equal_one_product(tmp_path):
    random = np.random.default_rng(0)
    queries, passages = (
        random.normal(size=(50, 8)).astype(np.float32),
        random.normal(size=(10_000, 8)).astype(np.float32),
    )
    matrices = {"query": queries, "passage": passages}
    made = MarginSpec(encoder="student", relative_margin=None, absolute_margin=0.0).build(
        context(tmp_path, embeddings=lambda name, side: Embeddings(tmp_path, matrices[side], "dot"))
    )
    query = np.repeat(np.arange(50, dtype=np.int32), 200)
    positive = np.arange(10_000) % 200 == 0
    batch = PairBatch(
        query, np.arange(10_000, dtype=np.int32), positive, np.full(10_000, -1, np.int8), ~positive
    )
    [found] = made.judge([batch])
    score = (queries.astype(np.float64)[query] * passages).sum(axis=1)
    threshold = score[positive][query]
    np.testing.assert_array_equal(found.verdict == IGNORE, (score > threshold)[~positive])
    np.testing.assert_allclose(found.confidence, np.abs(score - threshold)[~positive], atol=1e-5)


def test_a_filter_without_a_margin_is_an_error():
    with pytest.raises(
        ValidationError,
        match="relative_margin and absolute_margin are both null: set at least one of them",
    ):
        MarginSpec(encoder="student", relative_margin=None)
