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
    return lambda name, side: Embeddings(Path(name), matrices[side], True)


def pairs(query, given, before=Verdict.UNJUDGED, wanted=None):
    query, given = np.array(query, np.int32), np.array(given, bool)
    before = (
        np.full(len(query), before, np.int8) if np.isscalar(before) else np.array(before, np.int8)
    )
    wanted = ~given if wanted is None else np.array(wanted, bool)
    return PairBatch(query, np.arange(len(query), dtype=np.int32), given, before, wanted)


def verdicts(tmp_path, spec, scores, batch, progress=None) -> dict[int, int]:
    made = spec.build(
        context(tmp_path, embeddings=embeddings(scores), progress=progress or RecordingProgress())
    )
    said: list[Verdicts] = list(made.judge([batch]))
    return {
        int(p): int(v)
        for verdicts in said
        for p, v in zip(verdicts.passage, verdicts.verdict, strict=True)
    }


def test_a_candidate_that_scores_like_the_positive_is_ignored(tmp_path):
    said = verdicts(
        tmp_path,
        MarginSpec(encoder="student"),
        [0.8, 0.9, 0.77, 0.75],
        pairs([0, 0, 0, 0], [True, False, False, False]),
    )
    assert said == {1: IGNORE, 2: IGNORE, 3: NEGATIVE}  # the line is at 0.95 * 0.8 = 0.76


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({}, 0.76),
        ({"percentage": None, "absolute": 0.05}, 0.75),  # NV-Retriever's TopK-MarginPos
        ({"percentage": None, "absolute": 0.0}, 0.8),  # CDE
        ({"percentage": None, "absolute": -0.1}, 0.9),  # Qwen3-Embedding
        (
            {"percentage": 0.95, "absolute": 0.2},
            0.6,
        ),  # both: either drops, so the lower line decides
    ],
)
def test_the_line_of_every_published_filter(tmp_path, settings, line):
    spec = MarginSpec(encoder="student", above="positive", **settings)
    said = verdicts(
        tmp_path, spec, [0.8, line + 0.01, line - 0.01], pairs([0, 0, 0], [True, False, False])
    )
    assert said == {1: POSITIVE, 2: NEGATIVE}


@pytest.mark.parametrize(("reference", "line"), [("lowest", 0.2), ("mean", 0.5), ("highest", 0.8)])
def test_several_positives_and_which_of_them_counts(tmp_path, reference, line):
    spec = MarginSpec(encoder="student", percentage=1.0, reference=reference)
    said = verdicts(
        tmp_path,
        spec,
        [0.2, 0.8, line + 0.01, line - 0.01],
        pairs([0] * 4, [True, True, False, False]),
    )
    assert said == {2: IGNORE, 3: NEGATIVE}


def test_below_zero_the_percentage_still_puts_the_line_under_the_positive(tmp_path):
    said = verdicts(
        tmp_path,
        MarginSpec(encoder="student", percentage=0.9),
        [-0.5, -0.52, -0.6],
        pairs([0] * 3, [True, False, False]),
    )
    assert said == {1: IGNORE, 2: NEGATIVE}  # the line is at -0.5 - 0.1 * 0.5 = -0.55


def test_the_distance_from_the_line_is_the_confidence(tmp_path):
    made = MarginSpec(encoder="student", percentage=1.0).build(
        context(tmp_path, embeddings=embeddings([0.5, 0.75, 0.25]))
    )
    [said] = made.judge([pairs([0] * 3, [True, False, False])])
    np.testing.assert_allclose(said.confidence, [0.25, 0.25])
    assert said.grade is None
    assert said.reason is None


def test_a_query_without_a_given_positive_is_not_judged_and_counted(tmp_path):
    progress = RecordingProgress()
    batch = pairs([0, 0, 1, 1], [True, False, False, False])
    assert set(
        verdicts(tmp_path, MarginSpec(encoder="student"), [0.8, 0.1, 0.9, 0.1], batch, progress)
    ) == {1}
    assert progress.events == [
        {"event": "judge.margin", "queries_without_positive": 1, "pairs_without_positive": 2}
    ]


def test_a_judged_negative_knows_better_unless_when_asks_for_it(tmp_path):
    batch = pairs([0, 0, 0], [True, False, False], before=[POSITIVE, NEGATIVE, Verdict.UNJUDGED])
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


def test_given_positives_are_never_judged_not_even_in_an_audit(tmp_path):
    batch = pairs([0, 0, 0], [True, True, False], wanted=[True, True, True])
    assert set(verdicts(tmp_path, MarginSpec(encoder="student"), [0.2, 0.8, 0.1], batch)) == {2}


def test_blocks_give_what_one_product_gives(tmp_path):
    random = np.random.default_rng(0)
    queries, passages = (
        random.normal(size=(50, 8)).astype(np.float32),
        random.normal(size=(10_000, 8)).astype(np.float32),
    )
    matrices = {"query": queries, "passage": passages}
    made = MarginSpec(encoder="student", percentage=None, absolute=0.0).build(
        context(tmp_path, embeddings=lambda name, side: Embeddings(tmp_path, matrices[side], False))
    )
    query = np.repeat(np.arange(50, dtype=np.int32), 200)
    given = np.arange(10_000) % 200 == 0
    batch = PairBatch(
        query, np.arange(10_000, dtype=np.int32), given, np.full(10_000, -1, np.int8), ~given
    )
    [said] = made.judge([batch])
    score = (queries.astype(np.float64)[query] * passages).sum(axis=1)
    line = score[given][query]
    np.testing.assert_array_equal(said.verdict == IGNORE, (score > line)[~given])
    np.testing.assert_allclose(said.confidence, np.abs(score - line)[~given], atol=1e-5)


def test_neither_margin_is_an_error():
    with pytest.raises(
        ValidationError, match="percentage and absolute are both null: set one, or both"
    ):
        MarginSpec(encoder="student", percentage=None)
