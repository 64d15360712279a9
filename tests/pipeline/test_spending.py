"""Spending limits: one account per recipe, and artifacts that other limits would not change."""

from typing import Any

import pytest

from recipekit.component import Account
from recipekit.pipeline.ledger import ledger_of
from recipekit.pipeline.plan import Plan
from recipekit.stages.accounts import accounts_of
from recipekit.stages.recipe import load_recipe


def judged(planned, finish, limit: str, *, limit_reached: bool) -> Plan:
    """Finish all stages under a limit."""
    made = planned(limit)
    finish(made, "collect", {})
    finish(made, "mine", {"candidates": 48})
    finish(made, "judge", {"spent": {"usd": 1.0, "calls": 5, "limit_reached": limit_reached}})
    return made


LIMITS = ["spending.max_calls={}", "judge.spending.max_calls={}"]
"""The limits of the recipe and of its stage, as overrides."""


def test_spending_before_a_limit_is_raised_counts_towards_the_new_one(planned):
    account = ledger_of(planned("spending.max_calls=5"))
    assert account == ledger_of(planned("spending.max_calls=9", "spending.max_cost_usd=2"))
    assert account == ledger_of(planned("judge.spending.max_calls=5"))
    assert account == ledger_of(planned())


def test_a_stage_with_limits_has_its_own_account_next_to_the_recipe_s(tmp_path, planned):
    account = ledger_of(planned())
    recipe = load_recipe(
        tmp_path / "recipe.yaml", ["spending.max_cost_usd=20", "judge.spending.max_calls=5"]
    )
    assert accounts_of(recipe, "judge", account) == (
        Account(account, max_cost_usd=20),
        Account(f"{account}/judge", max_calls=5, limits="judge.spending"),
    )
    without = load_recipe(tmp_path / "recipe.yaml", ["spending.max_cost_usd=20"])
    assert accounts_of(without, "judge", account) == (Account(account, max_cost_usd=20),)


def test_a_plan_shows_the_limits_that_hold_for_the_stage(planned, finish):
    def limits(*overrides: str) -> dict[str, Any]:
        estimate = planned(*overrides)["judge"].estimate
        return {name: estimate[name] for name in estimate if name.startswith("max_")}

    judged(planned, finish, "spending.max_calls=5", limit_reached=True)
    both = ["spending.max_cost_usd=20", "spending.max_calls=9"]
    assert limits(*both) == {"max_cost_usd": 20, "max_calls": 9}
    own = ["judge.spending.max_cost_usd=5", "judge.spending.max_calls=7"]
    assert limits(*both, *own[:1]) == {"max_cost_usd": 5, "max_calls": 9}
    assert limits(*own) == {"max_cost_usd": 5, "max_calls": 7}


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


@pytest.mark.parametrize("limit", LIMITS)
def test_an_artifact_that_did_not_reach_its_limit_is_kept_under_other_limits(
    planned, finish, limit
):
    made = judged(planned, finish, limit.format(5), limit_reached=False)
    for other in (limit.format(50), "spending.max_cost_usd=1", "judge.spending.max_cost_usd=1"):
        again = planned(other)["judge"]
        assert (again.state, again.key) == ("hit", made["judge"].key)
    assert planned()["judge"].state == "hit"


@pytest.mark.parametrize("limit", LIMITS)
def test_an_artifact_that_reached_its_limit_is_made_again_under_another(planned, finish, limit):
    judged(planned, finish, limit.format(5), limit_reached=True)
    assert planned(limit.format(5))["judge"].state == "hit"
    raised = planned(limit.format(9))["judge"]
    assert (raised.state, raised.reasons) == ("miss", (limit.format("5 → 9").replace("=", ": "),))


def test_a_stage_that_runs_again_uses_the_present_limits(planned, finish):
    made = judged(planned, finish, "spending.max_calls=5", limit_reached=False)
    again = planned("spending.max_calls=9", start="judge")["judge"]
    assert again.key != made["judge"].key
    assert again.identity["limits"]["spending"]["max_calls"] == 9


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
