"""A limit on what calls may cost, kept by booking the most that each may cost before it is made.

A ledger in the store's file holds what was spent, what is reserved for calls in flight, and how
many calls there were. A reservation is made in one commit together with the check that spent +
reserved stays within the limit, so that no two processes can pass it together. Amounts are whole
numbers of 1e-12 USD, rounded up: they add up exactly.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict

from recipekit.component.context import Spending
from recipekit.errors import ComponentError
from recipekit.llm.calls import Request
from recipekit.llm.prices import Price
from recipekit.llm.store import CallStore

__all__ = ["Budget", "require_price"]

PER_USD = 10**12  # units
UNLIMITED = 2**62


class Budget:
    """What may be spent on one ledger, over all attempts and all judges that book to it, one after
    another or at once.

    A reservation that an earlier process left open (it was killed with the call in flight) counts
    as spent in full: the endpoint may well have billed it.
    """

    def __init__(self, store: CallStore, spending: Spending) -> None:
        self.spending = spending
        self._store = store
        self._ledger = spending.ledger
        self._limit = (
            UNLIMITED
            if spending.max_cost_usd is None
            else min(UNLIMITED, math.floor(round(spending.max_cost_usd * PER_USD, 3)))
        )
        self._max_calls = (
            UNLIMITED if spending.max_calls is None else min(UNLIMITED, spending.max_calls)
        )
        self._open: defaultdict[str, list[int]] = defaultdict(
            list
        )  # request key -> reservations of this process
        self._refused = False
        self.refused_usd: float | None = None
        """What the last call that the limit did not allow could have cost at most."""
        with store.together():
            store.write("INSERT OR IGNORE INTO ledgers (name) VALUES (?)", (self._ledger,))
            store.write(
                "UPDATE reservations SET lost = 1 WHERE ledger = ? AND lost = 0", (self._ledger,)
            )
            store.write(
                "UPDATE ledgers SET spent = spent + reserved, reserved = 0 WHERE name = ?",
                (self._ledger,),
            )

    def reserve(self, request: Request, usd: float | None) -> bool:
        """Book the most that a call may cost, durably, before it is made; False if the limit does
        not allow it.

        Where calls of this process are in flight, a refusal may pass: they are booked at their
        most, and usually cost less. Wait for one to settle and reserve again; with none in flight
        it stands, and `exhausted` says so from then on.

        Raises:
            ValueError: There is a limit in USD and no price; see `require_price`.
        """
        if usd is None and self.spending.max_cost_usd is not None:
            raise ValueError(
                f"max_cost_usd cannot be kept: the price of {request.model} is not known"
            )
        booking = {
            "ledger": self._ledger,
            "amount": _units(usd or 0.0),
            "limit": self._limit,
            "calls": self._max_calls,
        }
        with self._store.together():
            booked = self._store.write(
                "UPDATE ledgers SET reserved = reserved + :amount, calls = calls + 1 "
                "WHERE name = :ledger AND spent + reserved + :amount <= :limit AND calls < :calls",
                booking,
            ).rowcount
            if not booked:
                self._refused = self._refused or not self.in_flight
                self.refused_usd = usd
                return False
            row = self._store.write(
                "INSERT INTO reservations (ledger, key, amount, at) VALUES (?, ?, ?, ?)",
                (self._ledger, bytes.fromhex(request.key), booking["amount"], time.time()),
            ).lastrowid
        self._open[request.key].append(int(row or 0))
        return True

    def settle(self, request: Request, usd: float | None) -> None:
        """Put what the call did cost in place of its reservation; None where that is not known, and
        the reservation is spent.

        A call may have cost more than was reserved (an endpoint that bills otherwise than its price
        list): that is booked too.
        """
        self._end(request, calls=0, usd=usd)

    def release(self, request: Request) -> None:
        """Take a reservation back: the call was not made, or certainly cost nothing."""
        self._end(request, calls=-1, usd=0.0)

    @property
    def spent_usd(self) -> float:
        """USD spent, reservations that were lost with their process included."""
        return self._ledger_row()[0] / PER_USD

    @property
    def reserved_usd(self) -> float:
        """USD booked for calls in flight."""
        return self._ledger_row()[1] / PER_USD

    @property
    def calls(self) -> int:
        """Calls made or in flight."""
        return self._ledger_row()[2]

    @property
    def in_flight(self) -> int:
        """Reservations that this budget holds open."""
        return sum(map(len, self._open.values()))

    @property
    def exhausted(self) -> bool:
        """Whether the limit refused a call while none was in flight: no more can be paid."""
        return self._refused

    def _end(self, request: Request, *, calls: int, usd: float | None) -> None:
        if not self._open.get(request.key):
            raise ValueError("no reservation is open for this request")
        row = self._open[request.key][-1]
        with self._store.together():
            amount, lost = self._store.read(
                "SELECT amount, lost FROM reservations WHERE id = ?", (row,)
            )
            self._store.write("DELETE FROM reservations WHERE id = ?", (row,))
            spent = amount if usd is None else _units(usd)
            if lost:  # another process took us for dead and counted it as spent
                spent -= amount
            self._store.write(
                "UPDATE ledgers SET spent = spent + ?, reserved = reserved - ?, calls = calls + ? WHERE name = ?",
                (spent, 0 if lost else amount, calls, self._ledger),
            )
        self._open[request.key].pop()
        if not self._open[request.key]:
            del self._open[request.key]

    def _ledger_row(self) -> tuple[int, int, int]:
        spent, reserved, calls = self._store.read(
            "SELECT spent, reserved, calls FROM ledgers WHERE name = ?", (self._ledger,)
        )
        return int(spent), int(reserved), int(calls)


def require_price(model: str, price: Price | None, spending: Spending) -> None:
    """See to it that a limit in USD can be kept.

    Raises:
        ComponentError: There is a limit in USD, and the model's price is not known.
    """
    if price is None and spending.max_cost_usd is not None:
        raise ComponentError(
            f"max_cost_usd needs the price of {model}, which litellm's table does not have: give `price: {{input: ..., output: ...}}` "
            "in USD per million tokens (0 where it costs nothing), or limit `max_calls` instead",
            code="RK240",
        )


def _units(usd: float) -> int:
    return math.ceil(round(usd * PER_USD, 3))  # rounded first: a float's last digit is no unit
