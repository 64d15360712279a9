"""A limit on what calls cost: the worst case is reserved before a call and settled after it.

A ledger is one row in the reply cache's file: what is charged, and how many calls there were. A
call is booked to the ledgers of all accounts: the recipe's, and the stage's own. A reservation
charges the worst case to all of them in the same statement that checks all limits, so that
concurrent processes cannot exceed a limit together. Settling replaces the worst case by the actual
cost. The worst case of a call that is in flight when its process is killed stays charged, since the
endpoint may have billed it. Amounts are integers of 1e-12 USD, which add up exactly.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from recipekit.component.context import Account, Spending
from recipekit.errors import ComponentError
from recipekit.llm.pricing import Price
from recipekit.llm.reply_cache import ReplyCache

__all__ = ["Budget", "Reservation", "require_price"]

UNITS_PER_USD = 10**12
UNLIMITED = 2**62


class Budget:
    """What all attempts and all components that share some accounts may spend."""

    def __init__(self, cache: ReplyCache, spending: Spending) -> None:
        self.spending = spending
        self.refused_usd: float | None = None
        """The worst-case cost of the last call that the limits did not allow."""
        self.limits_reached: list[str] = []
        """The limits that did not allow that call, as paths of the recipe."""
        self.in_flight = 0
        """Open reservations of this process."""
        self._cache = cache
        self._ledgers = {f"ledger{i}": of.ledger for i, of in enumerate(spending.accounts)}
        self._limits: dict[str, int] = {}
        allowed = []
        for i, account in enumerate(spending.accounts):
            max_calls = UNLIMITED if account.max_calls is None else account.max_calls
            self._limits[f"limit{i}"] = _limit(account)
            self._limits[f"max_calls{i}"] = min(UNLIMITED, max_calls)
            allowed.append(
                f"(name = :ledger{i} AND charged + :amount <= :limit{i} AND calls < :max_calls{i})"
            )
        names = ", ".join(f":{name}" for name in self._ledgers)
        self._charge = (
            "UPDATE ledgers SET charged = charged + :amount, calls = calls + :calls "
            f"WHERE name IN ({names})"
        )
        self._reserve = (
            f"{self._charge} AND NOT EXISTS (SELECT 1 FROM replies WHERE key = :key) AND "
            f"(SELECT count(*) FROM ledgers WHERE {' OR '.join(allowed)}) = {len(allowed)}"
        )
        for name in self._ledgers.values():
            cache.execute("INSERT OR IGNORE INTO ledgers (name) VALUES (?)", (name,))

    def reserve(
        self, worst_case_usd: float | None, unless_stored: str | None = None
    ) -> Reservation | None:
        """Charge the worst-case cost of a call; None if the limits do not allow the call.

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
        key = b"" if unless_stored is None else bytes.fromhex(unless_stored)
        values = {**self._ledgers, **self._limits, "amount": amount, "calls": 1, "key": key}
        if not self._cache.execute(self._reserve, values).rowcount:
            if unless_stored is None or self._cache.find(unless_stored) is None:
                self.refused_usd = worst_case_usd
                self.limits_reached = list(self._reached(amount))
            return None
        return Reservation(self, amount)

    def _reached(self, amount: int) -> Iterator[str]:
        """Yield the limits that do not allow another call."""
        for i, account in enumerate(self.spending.accounts):
            charged, calls = self._booked(account.ledger)
            if charged + amount > self._limits[f"limit{i}"]:
                yield f"{account.limits}.max_cost_usd"
            if calls >= self._limits[f"max_calls{i}"]:
                yield f"{account.limits}.max_calls"

    @property
    def charged_usd(self) -> float:
        """USD spent of the first account, with the worst-case cost of calls in flight."""
        charged, _ = self._booked(self.spending.accounts[0].ledger)
        return charged / UNITS_PER_USD

    @property
    def calls(self) -> int:
        """Calls made or in flight, of the first account."""
        _, calls = self._booked(self.spending.accounts[0].ledger)
        return calls

    def _booked(self, ledger: str) -> tuple[int, int]:
        query = "SELECT charged, calls FROM ledgers WHERE name = ?"
        charged, calls = self._cache.fetch_one(query, (ledger,))
        return int(charged), int(calls)

    def charge(self, amount: int, calls: int) -> None:
        """Add to the ledgers, in units and calls. Use `Reservation` instead."""
        self._cache.execute(self._charge, {**self._ledgers, "amount": amount, "calls": calls})


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


def _limit(account: Account) -> int:
    if account.max_cost_usd is None:
        return UNLIMITED
    return min(UNLIMITED, math.floor(round(account.max_cost_usd * UNITS_PER_USD, 3)))


def _units(usd: float) -> int:
    # Rounded before the ceiling, so that a float's last digit does not add a unit.
    return math.ceil(round(usd * UNITS_PER_USD, 3))
