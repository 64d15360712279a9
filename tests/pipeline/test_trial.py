"""What a few judged pairs say of the cost of all."""

import pytest

from recipekit.pipeline.judge_trial import JudgeTrial


def trial(**counts) -> JudgeTrial:
    judged = {"counts": {"calls": 4, "usd": 0.02, **counts}}
    return JudgeTrial(
        (),
        queries=2,
        candidates=50,
        of=1000,
        summary={"judges": {"margin": {}, "llm": judged}},
        freed=(),
    )


def test_all_candidates_cost_what_the_tried_ones_did_each():
    assert trial().usd_for_all == pytest.approx(0.4)
    assert trial(from_store={"replies": 1, "usd": 0.01}).usd_for_all == pytest.approx(0.6)


@pytest.mark.parametrize("counts", [{"usd": None}, {"pairs_over_budget": 30}])
def test_without_a_price_or_where_a_limit_was_reached_the_cost_of_all_is_not_known(counts):
    assert trial(**counts).usd_for_all is None
