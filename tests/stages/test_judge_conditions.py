"""Which pairs a judge is asked about: by rank, by what was said before, and by a seeded sample."""

import numpy as np
import pytest
from judge_inputs import IGNORE, NEGATIVE, POSITIVE, Reads, Says, judge_inputs, run, section

from recipekit.artifacts.store import Artifact
from recipekit.stages.inputs import StageInputs


@pytest.fixture
def inputs(tmp_path, tiny_dataset) -> StageInputs:
    return judge_inputs(tmp_path, tiny_dataset)


def asked(spec: Says) -> set[tuple[int, int]]:
    return {
        pair
        for batch in spec.asked
        for pair in zip(
            batch.query[batch.wanted].tolist(), batch.passage[batch.wanted].tolist(), strict=True
        )
    }


def steps(pairs) -> set[int]:
    """How far each passage is from its query: 2, 1, 3, 4 are ranks 1 to 4, and 0 is the source
    positive at rank 5.
    """
    return {(passage - query) % 36 for query, passage in pairs}


def negative(query: int, passage: int) -> int:
    return NEGATIVE


def test_top_is_a_rank_among_the_candidates(inputs, tmp_path):
    spec = Says(verdict=negative, max_rank=2)
    run(inputs, tmp_path, section(one=spec))
    assert steps(asked(spec)) == {2, 1}
    assert len(asked(spec)) == 24


def test_near_positive_is_above_the_best_given_positive_or_a_little_below(
    make_dataset, inputs, tmp_path
):
    queries = [(f"q{i}", f"text {i}", "train") for i in range(12)]
    # q0's positives stand at ranks 1 and 3, q1's at rank 4; the others have none.
    dataset = make_dataset(
        queries,
        [(f"p{i}", f"passage {i}") for i in range(36)],
        {(0, 2): 1.0, (0, 3): 1.0, (1, 5): 1.0, (2, 3): 0.0},
    )
    inputs.artifacts = {**inputs.artifacts, "collect": Artifact("collect", "other", dataset.path)}
    spec = Says(verdict=negative, ranks_below_positive=1)
    run(inputs, tmp_path, section(one=spec))
    assert asked(spec) == {(0, 1), (1, 3), (1, 2), (1, 4), (1, 1)}


def test_below_confidence_is_what_a_judge_before_was_not_sure_of(inputs, tmp_path):
    first = Says(
        verdict=negative,
        confidence=lambda q, p: [0.9, 0.2, np.nan][p % 3],
        previous_verdicts=("unjudged",),
        max_rank=3,
    )
    second = Says(verdict=negative, below_confidence=0.5)
    run(inputs, tmp_path, section(first=first, second=second))
    assert asked(second) == {(q, p) for q, p in asked(first) if p % 3}, (
        "nobody spoke of rank 4, and the label has no judge"
    )


def test_disagreement_is_between_a_named_judge_and_the_last_one_before(inputs, tmp_path):
    margin = Says(verdict=lambda q, p: IGNORE if p % 2 else NEGATIVE)
    cheap = Says(verdict=lambda q, p: POSITIVE if p % 3 else NEGATIVE, max_rank=3)
    strong = Says(verdict=negative, disagreeing_with="margin")
    rows, _ = run(inputs, tmp_path, section(margin=margin, cheap=cheap, strong=strong))
    assert asked(strong) == {(q, p) for q, p in asked(cheap) if p % 2 or p % 3}
    assert rows[3, 7]["judge"] == "margin", "cheap did not speak of rank 4"


def test_a_sample_is_uniform_over_what_the_other_conditions_leave_and_the_same_again(
    inputs, tmp_path
):
    first, again, other = (Says(verdict=negative, max_pairs=20, max_rank=3) for _ in range(3))
    _, summary = run(inputs, tmp_path, section(one=first))
    run(inputs, tmp_path, section(one=again), "again")
    inputs.seed = 14
    run(inputs, tmp_path, section(one=other), "other")
    assert len(asked(first)) == summary["judges"]["one"]["seen"] == 20
    assert asked(again) == asked(first) != asked(other)
    assert steps(asked(first)) == {2, 1, 3}
    counts = np.zeros(4)
    for seed in range(60):
        spec = Says(verdict=negative, max_pairs=12)
        inputs.seed = seed
        run(inputs, tmp_path, section(one=spec), f"seed-{seed}")
        counts += [sum(step in steps([pair]) for pair in asked(spec)) for step in (2, 1, 3, 4)]
    assert counts.sum() == 12 * 60
    assert abs(counts / counts.sum() - 0.25).max() < 4 * np.sqrt(0.25 * 0.75 / counts.sum())


def test_a_sample_is_decided_before_the_judge_speaks_also_when_a_killed_run_goes_on(
    inputs, tmp_path
):
    def judges(**more):
        cheap = Says(verdict=lambda q, p: [POSITIVE, IGNORE, NEGATIVE][p % 3])
        return section(
            cheap=cheap,
            strong=Says(
                verdict=negative,
                previous_verdicts=("positive", "ignore"),
                max_pairs=17,
                piece=2,
                **more,
            ),
        )

    whole, counted = run(inputs, tmp_path, judges(), "whole")
    with pytest.raises(MemoryError):
        run(inputs, tmp_path, judges(dies_after=4))
    last = judges()
    rows, summary = run(inputs, tmp_path, last)
    assert (rows, summary) == (whole, counted)
    assert summary["judges"]["strong"]["seen"] == 17
    assert len(asked(last.judges["strong"].spec)) == 17 - 2 * 4


def test_of_a_sample_no_more_than_the_known_share_is_judged_blind(inputs, tmp_path):
    spec = Reads(verdict=negative, max_pairs=20)
    _, summary = run(inputs, tmp_path, section({"control_pairs": {"share": 0.15}}, one=spec))
    told = summary["judges"]["one"]
    assert told["seen"] + told["blind"] == len(asked(spec)) == 20
    assert told["blind"] <= 3
    everything = Reads(verdict=negative, max_pairs=1000)
    run(inputs, tmp_path, section({"control_pairs": {"share": 0.99}}, one=everything), "all")
    assert len(asked(everything)) == 60, "a sample larger than all there is takes all"
