"""The accounts that the calls of a stage are booked to."""

from __future__ import annotations

from typing import Any

from recipekit.component import Account
from recipekit.recipe.sections import PaidSection, Recipe, SpendingLimits

__all__ = ["accounts_of"]


def accounts_of(recipe: Recipe, stage: str, ledger: str) -> tuple[Account, ...]:
    """Return the accounts that a stage's calls are booked to: the recipe's, then its own.

    A stage has its own account, next to the recipe's, if its section has limits.

    Args:
        recipe: The recipe.
        stage: A stage that spends.
        ledger: The name of the recipe's account.
    """
    accounts = [Account(ledger, **recipe.spending.model_dump())]
    section: Any = getattr(recipe, stage)
    if isinstance(section, PaidSection) and section.spending != SpendingLimits():
        limits = section.spending.model_dump()
        accounts.append(Account(f"{ledger}/{stage}", **limits, limits=f"{stage}.spending"))
    return tuple(accounts)
