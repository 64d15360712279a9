"""How long a client waits before it repeats a request that a server did not answer."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from random import Random

__all__ = ["LONGEST_RETRY_AFTER", "backoff", "retry_after"]

FIRST_WAIT = 0.5
"""Longest wait after the first attempt, in seconds; it doubles with every further attempt."""
LONGEST_WAIT = 30.0
"""Longest wait in seconds, unless the server asks for more."""
LONGEST_RETRY_AFTER = 600.0
"""A server that asks for a longer wait, in seconds, is treated as down."""


def backoff(attempt: int, random: Random) -> float:
    """Seconds to wait after failed attempt number `attempt`, from 1.

    The wait is uniform in [0, min(30 s, 0.5 s · 2^(attempt - 1))], so that requests that failed
    together are not repeated together.
    """
    return random.uniform(0, min(LONGEST_WAIT, FIRST_WAIT * 2 ** min(attempt - 1, 64)))


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a reply's `Retry-After` or `retry-after-ms` asks to wait, None without one.

    `Retry-After` is a number of seconds or an HTTP date.
    """
    lowered = {name.lower(): value for name, value in headers.items()}
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            return max(0.0, float(lowered.get(name, "")) * unit)
        except ValueError:
            continue
    try:
        when = parsedate_to_datetime(lowered.get("retry-after", ""))
    except ValueError:
        return None
    if when.tzinfo is None:  # HTTP dates are in UTC
        when = when.replace(tzinfo=UTC)
    return max(0.0, (when - datetime.now(UTC)).total_seconds())
