"""Which pairs a judge gets: by rank, by earlier verdicts, and at most `max_pairs`."""

import numpy as np
import pytest

from helpers.judging import (
    IGNORE,
    NEGATIVE,
    POSITIVE,
    ScriptedFilter,
    ScriptedReader,
    judge_inputs,
    run,
    section,
)
from recipekit.artifacts.store import Artifact
from recipekit.stages.inputs import StageInputs


@pytest.fixture
def inputs(tmp_path, tiny_dataset) -> StageInputs:
    return judge_inputs(tmp_path, tiny_dataset)


def pairs_of(spec: ScriptedFilter) -> set[tuple[int, int]]:
    return {
        pair
        for batch in spec.batches
        for pair in zip(
            batch.query[batch.wanted].tolist(), batch.passage[batch.wanted].tolist(), strict=True
        )
    }


def steps(pairs) -> set[int]:
    """Each passage's distance from its query.

    2, 1, 3, 4 are ranks 1 to 4, and 0 is the source positive at rank 5.
    """
    return {(passage - query) % 36 for query, passage in pairs}


def negative(query: int, passage: int) -> int:
    return NEGATIVE


def test_max_rank_is_a_rank_among_the_candidates(inputs, tmp_path):
    spec = ScriptedFilter(verdict=negative, max_rank=2)
    run(inputs, tmp_path, section(one=spec))
    assert steps(pairs_of(spec)) == {2, 1}
    assert len(pairs_of(spec)) == 24


def test_ranks_below_positive_counts_from_the_best_source_positive(make_dataset, inputs, tmp_path):
    queries = [(f"q{i}", f"text {i}", "train") for i in range(12)]
    # q0's positives are at ranks 1 and 3, q1's at rank 4; the others have none.
    dataset = make_dataset(
        queries,
        [(f"p{i}", f"passage {i}") for i in range(36)],
        {(0, 2): 1.0, (0, 3): 1.0, (1, 5): 1.0, (2, 3): 0.0},
    )
    inputs.artifacts = {**inputs.artifacts, "collect": Artifact("collect", "other", dataset.path)}
    spec = ScriptedFilter(verdict=negative, ranks_below_positive=1)
    run(inputs, tmp_path, section(one=spec))
    assert pairs_of(spec) == {(0, 1), (1, 3), (1, 2), (1, 4), (1, 1)}


def test_below_confidence_selects_pairs_of_which_an_earlier_judge_was_unsure(inputs, tmp_path):
    first = ScriptedFilter(
        verdict=negative,
        confidence=lambda q, p: [0.9, 0.2, np.nan][p % 3],
        previous_verdicts=("unjudged",),
        max_rank=3,
    )
    second = ScriptedFilter(verdict=negative, below_confidence=0.5)
    run(inputs, tmp_path, section(first=first, second=second))
    assert pairs_of(second) == {(q, p) for q, p in pairs_of(first) if p % 3}, (
        "no judge judged rank 4, and a source label has no judge"
    )


def test_disagreeing_with_compares_a_judge_with_the_last_verdict(inputs, tmp_path):
    margin = ScriptedFilter(verdict=lambda q, p: IGNORE if p % 2 else NEGATIVE)
    cheap = ScriptedFilter(verdict=lambda q, p: POSITIVE if p % 3 else NEGATIVE, max_rank=3)
    strong = ScriptedFilter(verdict=negative, disagreeing_with="margin")
    rows, _ = run(inputs, tmp_path, section(margin=margin, cheap=cheap, strong=strong))
    assert pairs_of(strong) == {(q, p) for q, p in pairs_of(cheap) if p % 2 or p % 3}
    assert rows[3, 7]["judge"] == "margin", "cheap did not judge rank 4"


def test_max_pairs_draws_a_uniform_and_repeatable_sample(inputs, tmp_path):
    first, again, other = (
        ScriptedFilter(verdict=negative, max_pairs=20, max_rank=3) for _ in range(3)
    )
    _, summary = run(inputs, tmp_path, section(one=first))
    run(inputs, tmp_path, section(one=again), "again")
    inputs.seed = 14
    run(inputs, tmp_path, section(one=other), "other")
    assert len(pairs_of(first)) == summary["judges"]["one"]["pairs"] == 20
    assert pairs_of(again) == pairs_of(first) != pairs_of(other)
    assert steps(pairs_of(first)) == {2, 1, 3}
    counts = np.zeros(4)
    for seed in range(60):
        spec = ScriptedFilter(verdict=negative, max_pairs=12)
        inputs.seed = seed
        run(inputs, tmp_path, section(one=spec), f"seed-{seed}")
        counts += [sum(step in steps([pair]) for pair in pairs_of(spec)) for step in (2, 1, 3, 4)]
    assert counts.sum() == 12 * 60
    assert abs(counts / counts.sum() - 0.25).max() < 4 * np.sqrt(0.25 * 0.75 / counts.sum())


def test_a_resumed_run_has_the_same_sample(inputs, tmp_path):
    def judges(**more):
        cheap = ScriptedFilter(verdict=lambda q, p: [POSITIVE, IGNORE, NEGATIVE][p % 3])
        return section(
            cheap=cheap,
            strong=ScriptedFilter(
                verdict=negative,
                previous_verdicts=("positive", "ignore"),
                max_pairs=17,
                pairs_per_yield=2,
                **more,
            ),
        )

    whole, counted = run(inputs, tmp_path, judges(), "whole")
    with pytest.raises(MemoryError):
        run(inputs, tmp_path, judges(dies_after=4))
    last = judges()
    rows, summary = run(inputs, tmp_path, last)
    assert (rows, summary) == (whole, counted)
    assert summary["judges"]["strong"]["pairs"] == 17
    assert len(pairs_of(last.judges["strong"].spec)) == 17 - 2 * 4


def test_max_pairs_holds_at_most_the_share_of_control_pairs(inputs, tmp_path):
    spec = ScriptedReader(verdict=negative, max_pairs=20)
    _, summary = run(inputs, tmp_path, section({"control_pairs": {"share": 0.15}}, one=spec))
    stats = summary["judges"]["one"]
    assert stats["pairs"] + stats["control_pairs"] == len(pairs_of(spec)) == 20
    assert stats["control_pairs"] <= 3
    everything = ScriptedReader(verdict=negative, max_pairs=1000)
    run(inputs, tmp_path, section({"control_pairs": {"share": 0.99}}, one=everything), "all")
    assert len(pairs_of(everything)) == 60, "a sample larger than all there is takes all"
