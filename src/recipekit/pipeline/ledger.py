"""The account that a recipe's calls to paid endpoints are booked to."""

from __future__ import annotations

from recipekit import stages
from recipekit.artifacts.key import key_of
from recipekit.pipeline.identity import without_limits
from recipekit.pipeline.plan import Plan

__all__ = ["ledger_of"]


def ledger_of(plan: Plan) -> str:
    """Return the name of the account of a recipe's spending; empty before it can be known.

    The account belongs to the first stage that spends: to everything that decides its artifact,
    except the limits. Later stages book to the same account, and so does every attempt. What was
    spent up to a limit therefore counts when the limit is raised.
    """
    for planned in plan:
        if stages.stage_named(planned.stage).spends and planned.identity:
            return key_of(without_limits(planned.identity))
    return ""
