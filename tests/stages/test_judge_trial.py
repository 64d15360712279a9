"""The cost of all candidates, estimated from a few judged pairs."""

import pytest

from recipekit.stages.judge.trial import JudgeTrial


def trial(**counts) -> JudgeTrial:
    judged = {"counts": {"calls": 4, "usd": 0.02, **counts}}
    return JudgeTrial(
        (),
        queries=2,
        candidates=50,
        all_candidates=1000,
        summary={"judges": {"margin": {}, "llm": judged}},
        unconditional=(),
    )


def test_the_cost_of_all_candidates_is_proportional():
    assert trial().usd_for_all == pytest.approx(0.4)
    assert trial(from_store={"replies": 1, "usd": 0.01}).usd_for_all == pytest.approx(0.6)


@pytest.mark.parametrize("counts", [{"usd": None}, {"pairs_over_budget": 30}])
def test_the_cost_of_all_is_unknown_without_a_price_or_over_budget(counts):
    assert trial(**counts).usd_for_all is None
