"""When to retry a call, when to give it up, and when to end the run."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

__all__ = ["FailurePolicy"]


@dataclass(frozen=True)
class FailurePolicy:
    """Attempts and waits of one request, and the failures that end a run."""

    max_attempts: int = 5
    """Attempts at one request. A 429 does not count."""
    max_consecutive_failures: int = 50
    """Timeouts, and failed calls of requests that were given up, without a successful call in
    between, after which the run ends. It exceeds what one hostile query provokes: ten calls and
    their halves."""
    outage_factor: int = 2
    """How many times as many attempts a request has while no call at all succeeds: then the
    endpoint fails, such as a server that starts, and not the request. Ten attempts take about a
    minute."""
    rate_limited_seconds: float = 150.0
    """How long an endpoint may answer nothing but 429: two and a half one-minute windows."""
    first_wait: float = 0.5
    """Seconds. The wait after attempt n is drawn from [0, first_wait · 2^(n - 1)]."""
    longest_wait: float = 30.0
    """Seconds that a wait lasts at most, unless the endpoint asks for more."""
    longest_retry_after: float = 600.0
    """Seconds that an endpoint may ask to wait. If it asks for more, the run ends."""

    def wait(self, attempt: int, retry_after: float | None, random: Random) -> float:
        """Seconds to wait after failed attempt number `attempt` (from 1), with full jitter."""
        longest = min(self.longest_wait, self.first_wait * 2 ** min(attempt - 1, 64))
        return random.uniform(0, longest) + (retry_after or 0.0)
