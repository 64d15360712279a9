"""Waiting between attempts: exponential back-off with full jitter, and the server's own Retry-After
where it gives one.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

__all__ = ["RetryPolicy", "Transient", "persist", "retry_after"]

T = TypeVar("T")


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


@dataclass(frozen=True)
class Transient:
    """What a failure tells of the next attempt: why it may help, and how long the server asked to
    wait (seconds).
    """

    reason: str
    asked: float | None = None


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a reply's `Retry-After` (or `retry-after-ms`) asks for, as a number or an HTTP
    date; None without one.
    """
    lowered = {name.lower(): value for name, value in headers.items()}
    if "retry-after-ms" in lowered:
        try:
            return max(0.0, float(lowered["retry-after-ms"]) / 1000)
        except ValueError:
            pass
    value = lowered.get("retry-after")
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        when = parsedate_to_datetime(value)
    except ValueError:
        return None
    if when.tzinfo is None:  # `-0000`, or none at all: HTTP dates are in UTC
        when = when.replace(tzinfo=UTC)
    return max(0.0, (when - datetime.now(UTC)).total_seconds())


def persist(
    call: Callable[[], T],
    transient: Callable[[Exception], Transient | None],
    *,
    patience: RetryPolicy,
    random: random.Random,
    waiting: Callable[[Transient, float, int], None] = lambda why, seconds, attempt: None,
    sleep: Callable[[float], None] = time.sleep,
) -> T:
    """Call until it succeeds, fails for good, or patience ends; then the last failure is raised as
    it came.

    Args:
        call: The attempt.
        transient: Of a failure, why another attempt may help; None where it cannot.
        patience: How often and how long.
        random: For the jitter.
        waiting: Told before each wait: why, how many seconds, after which attempt.
        sleep: What waits.
    """
    attempt = 0
    while True:
        attempt += 1
        try:
            return call()
        except Exception as error:
            why = transient(error)
            seconds = patience.delay(attempt, why.asked, random) if why else None
            if why is None or seconds is None:
                raise
            waiting(why, seconds, attempt)
            sleep(seconds)
