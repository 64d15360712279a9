"""Spending limits: one account per recipe, and artifacts that other limits would not change."""

import pytest

from recipekit.pipeline.ledger import ledger_of
from recipekit.pipeline.plan import Plan


def judged(planned, finish, limit: str, *, limit_reached: bool) -> Plan:
    """Finish all stages under a limit."""
    made = planned(limit)
    finish(made, "collect", {})
    finish(made, "mine", {"candidates": 48})
    finish(made, "judge", {"spent": {"usd": 1.0, "calls": 5, "limit_reached": limit_reached}})
    return made


def test_spending_before_a_limit_is_raised_counts_towards_the_new_one(planned):
    account = ledger_of(planned("spending.max_calls=5"))
    assert account == ledger_of(planned("spending.max_calls=9", "spending.max_cost_usd=2"))
    assert account == ledger_of(planned())


def test_the_account_does_not_depend_on_how_endpoints_are_called(planned):
    account = ledger_of(planned())
    assert account == ledger_of(
        planned(
            "judge.judges.model.concurrency=2", "judge.judges.model.api_base=http://elsewhere/v1"
        )
    )


@pytest.mark.parametrize(
    "change",
    [
        "judge.judges.model.model=openai/other",
        "judge.rejudge_source_labels=true",
        "mine.candidates_per_query=3",
    ],
)
def test_other_judges_or_candidates_have_another_account(planned, change: str):
    assert ledger_of(planned()) != ledger_of(planned(change))


def test_an_artifact_that_did_not_reach_its_limit_is_kept_under_other_limits(planned, finish):
    made = judged(planned, finish, "spending.max_calls=5", limit_reached=False)
    for other in ("spending.max_calls=50", "spending.max_cost_usd=1"):
        again = planned(other)["judge"]
        assert (again.state, again.key) == ("hit", made["judge"].key)
    assert planned()["judge"].state == "hit"


def test_an_artifact_that_reached_its_limit_is_made_again_under_another(planned, finish):
    judged(planned, finish, "spending.max_calls=5", limit_reached=True)
    assert planned("spending.max_calls=5")["judge"].state == "hit"
    raised = planned("spending.max_calls=9")["judge"]
    assert (raised.state, raised.reasons) == ("miss", ("spending.max_calls: 5 → 9",))


def test_a_stage_that_runs_again_uses_the_present_limits(planned, finish):
    made = judged(planned, finish, "spending.max_calls=5", limit_reached=False)
    again = planned("spending.max_calls=9", start="judge")["judge"]
    assert again.key != made["judge"].key
    assert again.identity["spending"]["max_calls"] == 9


def test_a_plan_from_a_cached_stage_has_its_work(planned, finish) -> None:
    judged(planned, finish, "spending.max_calls=5", limit_reached=False)
    again = planned("spending.max_calls=5", start="judge")
    assert [stage.state for stage in again] == ["hit", "hit", "miss"]
    assert again["judge"].reasons == ("--from runs it again",)
    assert again["judge"].estimate["judges"]["model"]["calls"] > 0
    assert again["judge"].key == planned("spending.max_calls=5")["judge"].key
    mined = planned("spending.max_calls=5", start="mine")
    assert [stage.state for stage in mined] == ["hit", "miss", "miss"]
    assert mined["mine"].estimate
