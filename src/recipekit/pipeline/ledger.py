"""The accounts that a recipe's calls to paid endpoints are booked to, with their limits."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from recipekit import stages
from recipekit.artifacts.key import key_of
from recipekit.pipeline.identity import without_limits

if TYPE_CHECKING:
    from recipekit.pipeline.plan import StagePlan

__all__ = ["Spent", "ledger_of", "spent_by"]


class Spent(NamedTuple):
    """What all attempts at a recipe have spent."""

    calls: int
    usd: float


def ledger_of(planned: Iterable[StagePlan]) -> str:
    """Return the name of the account of a recipe's spending; empty before it can be known.

    The account belongs to the first stage that spends: to everything that decides its artifact,
    except the limits. Later stages book to the same account, and so does every attempt. What was
    spent up to a limit therefore counts when the limit is raised.
    """
    for stage in planned:
        if stages.stage_named(stage.stage).spends and stage.identity:
            return key_of(without_limits(stage.identity))
    return ""


def spent_by(ledger: str, replies: Path) -> Spent:
    """Return what is booked to an account, and write nothing.

    Args:
        ledger: The account.
        replies: The file of replies. One that is missing or cannot be read counts as empty: the
            stage that needs it reports what is wrong.
    """
    from recipekit.llm.budget import UNITS_PER_USD

    if not ledger or not replies.is_file():
        return Spent(0, 0.0)
    # SQLite would create a log next to a file that no process has open.
    in_use = replies.with_name(f"{replies.name}-wal").exists()
    address = f"{replies.absolute().as_uri()}?{'mode=ro' if in_use else 'immutable=1'}"
    query = "SELECT calls, charged FROM ledgers WHERE name = ?"
    try:
        with closing(sqlite3.connect(address, uri=True)) as connection:
            row = connection.execute(query, (ledger,)).fetchone()
    except sqlite3.Error:
        row = None
    return Spent(row[0], row[1] / UNITS_PER_USD) if row else Spent(0, 0.0)
