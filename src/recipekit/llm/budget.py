"""A limit on what calls cost: the worst case is reserved before a call and settled after it.

A ledger is one row in the reply cache's file: what is charged, and how many calls there were. A
reservation charges the worst case in the same statement that checks the limit, so that concurrent
processes cannot exceed the limit together. Settling replaces the worst case by the actual cost. The
worst case of a call that is in flight when its process is killed stays charged, since the endpoint
may have billed it. Amounts are integers of 1e-12 USD, which add up exactly.
"""

from __future__ import annotations

import math

from recipekit.component.context import Spending
from recipekit.errors import ComponentError
from recipekit.llm.pricing import Price
from recipekit.llm.reply_cache import ReplyCache

__all__ = ["Budget", "Reservation", "require_price"]

UNITS_PER_USD = 10**12
UNLIMITED = 2**62


class Budget:
    """What all attempts and all components that share a ledger may spend."""

    def __init__(self, cache: ReplyCache, spending: Spending) -> None:
        self.spending = spending
        self.refused_usd: float | None = None
        """The worst-case cost of the last call that the limit did not allow."""
        self.in_flight = 0
        """Open reservations of this process."""
        self._cache = cache
        self._ledger = spending.ledger
        self._limit = UNLIMITED
        if spending.max_cost_usd is not None:
            limit = math.floor(round(spending.max_cost_usd * UNITS_PER_USD, 3))
            self._limit = min(UNLIMITED, limit)
        self._max_calls = UNLIMITED
        if spending.max_calls is not None:
            self._max_calls = min(UNLIMITED, spending.max_calls)
        cache.execute("INSERT OR IGNORE INTO ledgers (name) VALUES (?)", (self._ledger,))

    def reserve(
        self, worst_case_usd: float | None, unless_stored: str | None = None
    ) -> Reservation | None:
        """Charge the worst-case cost of a call; None if the limit does not allow the call.

        While calls of this process are in flight, a refusal is not final: they usually settle at
        less than their worst case. Wait for one to settle, then try again.

        Args:
            worst_case_usd: The largest cost of the call; None if no price is known.
            unless_stored: A request's key. If its reply is stored, which another process may have
                done just now, nothing is charged and the result is None.

        Raises:
            ValueError: There is a limit in USD and no price; see `require_price`.
        """
        if worst_case_usd is None and self.spending.max_cost_usd is not None:
            raise ValueError("max_cost_usd cannot be enforced: the price is not known")
        amount = _units(worst_case_usd or 0.0)
        row = self._cache.execute(
            "UPDATE ledgers SET charged = charged + :amount, calls = calls + 1 "
            "WHERE name = :ledger AND charged + :amount <= :limit AND calls < :max_calls "
            "AND NOT EXISTS (SELECT 1 FROM replies WHERE key = :key)",
            {
                "key": b"" if unless_stored is None else bytes.fromhex(unless_stored),
                "ledger": self._ledger,
                "amount": amount,
                "limit": self._limit,
                "max_calls": self._max_calls,
            },
        )
        if not row.rowcount:
            if unless_stored is None or self._cache.find(unless_stored) is None:
                self.refused_usd = worst_case_usd
            return None
        return Reservation(self, amount)

    @property
    def charged_usd(self) -> float:
        """USD spent, with the worst-case cost of calls that are not settled."""
        row = self._cache.fetch_one("SELECT charged FROM ledgers WHERE name = ?", (self._ledger,))
        return float(row[0] / UNITS_PER_USD)

    @property
    def calls(self) -> int:
        """Calls made or in flight."""
        row = self._cache.fetch_one("SELECT calls FROM ledgers WHERE name = ?", (self._ledger,))
        return int(row[0])

    def charge(self, amount: int, calls: int) -> None:
        """Add to the ledger, in units and calls. Use `Reservation` instead."""
        self._cache.execute(
            "UPDATE ledgers SET charged = charged + ?, calls = calls + ? WHERE name = ?",
            (amount, calls, self._ledger),
        )


class Reservation:
    """The worst-case cost of one call, charged to a budget. End it once, by one of its methods."""

    def __init__(self, budget: Budget, amount: int) -> None:
        self._budget = budget
        self._amount = amount
        budget.in_flight += 1

    def settle(self, cost_usd: float | None) -> None:
        """Charge the actual cost, which may exceed the worst case; None leaves the worst case."""
        if cost_usd is not None:
            self._budget.charge(_units(cost_usd) - self._amount, 0)
        self._budget.in_flight -= 1

    def release(self) -> None:
        """Charge nothing: the call was not made, or certainly not billed."""
        self._budget.charge(-self._amount, -1)
        self._budget.in_flight -= 1


def require_price(model: str, price: Price | None, max_cost_usd: float | None) -> None:
    """Check that a limit in USD can be enforced.

    Raises:
        ComponentError: There is a limit in USD, and the model's price is not known.
    """
    if price is None and max_cost_usd is not None:
        raise ComponentError(
            f"max_cost_usd needs the price of {model}, which litellm does not know: give "
            "`price: {input: ..., output: ...}` in USD per million tokens (0 if it is free), or "
            "limit `max_calls` instead",
            code="RK240",
        )


def _units(usd: float) -> int:
    # Rounded before the ceiling, so that a float's last digit does not add a unit.
    return math.ceil(round(usd * UNITS_PER_USD, 3))
