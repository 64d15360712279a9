"""How long to repeat calls of a language model's endpoint."""

from __future__ import annotations

import random
from dataclasses import dataclass

__all__ = ["RetryPolicy"]


@dataclass(frozen=True)
class RetryPolicy:
    """How long to go on asking a server that does not serve."""

    attempts: int = 6
    """Attempts in all, the first one counted."""
    first: float = 0.5
    """Seconds that the first wait lasts at most; each later one may last twice as long."""
    longest: float = 30.0
    """Seconds that any wait lasts at most, unless the server asks for more."""
    longest_asked: float = 600.0
    """Seconds that a server may ask for; what asks for more is taken for down."""
    refusing: float = 150.0
    """Seconds for which a language model's endpoint may answer nothing but 429: two and a half of
    the one-minute windows in which requests are counted, so that a window that others of the
    account use up does not end a run."""
    outage: float = 600.0
    """Seconds for which a language model's endpoint that did serve may be down: a server that
    restarts loads its model within minutes, a gateway's deployment takes seconds, and what lasts
    longer is for a person to look at."""

    def wait(self, attempt: int, asked: float | None, random: random.Random) -> float:
        """Seconds to wait after failed attempt number `attempt` (from 1).

        Full jitter, uniform in [0, min(longest, first * 2^(attempt - 1))], so that clients that
        failed together do not come back together. Where the server asked for a delay, that is
        waited, and the jitter on top of it.
        """
        jitter = random.uniform(0, min(self.longest, self.first * 2 ** min(attempt - 1, 64)))
        return jitter if asked is None else asked + jitter

    def delay(self, attempt: int, asked: float | None, random: random.Random) -> float | None:
        """As `wait`.

        None where it was the last attempt, or the server asked for too long a delay.
        """
        if attempt >= self.attempts or (asked is not None and asked > self.longest_asked):
            return None
        return self.wait(attempt, asked, random)
