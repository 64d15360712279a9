"""The retry policy of all engines: exponential backoff with full jitter, and `Retry-After`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import tenacity

__all__ = ["Failure", "PartialFailure", "retry_after", "retrying", "shortened"]

FIRST_WAIT: Final = 0.5
"""Longest wait after the first attempt, in seconds; it doubles with every further attempt."""
LONGEST_WAIT: Final = 30.0
"""Longest wait in seconds, unless the server asks for more."""
LONGEST_RETRY_AFTER: Final = 600.0
"""A server that asks for a longer wait, in seconds, is treated as down."""
TRANSIENT: Final = frozenset({"unreachable", "lost", "timeout", "busy", "failing", "partial"})
"""Kinds of failure that may be gone at the next attempt."""
LONGEST_TEXT: Final = 300


@dataclass(frozen=True)
class Failure:
    """Why a request, or a part of one, failed."""

    kind: str
    """A key of the engine's table of remedies."""
    text: str
    """The message of the server or the operating system."""
    retry_after: float | None = None
    """Seconds that the server asks to wait."""

    @property
    def transient(self) -> bool:
        """Whether another attempt may succeed."""
        return self.kind in TRANSIENT

    def __str__(self) -> str:
        return self.text


class PartialFailure(Exception):
    """The server processed a request but failed at a part of it."""

    def __init__(self, failure: Failure, item: str = "") -> None:
        super().__init__(failure.text)
        self.failure = failure
        self.item = item
        """The part, for the error: "passage 'x'"."""


def retrying(
    failure_of: Callable[[BaseException], Failure | None],
    max_retries: int,
    before_sleep: Callable[[tenacity.RetryCallState], None],
) -> tenacity.Retrying:
    """A caller that repeats a function while its failure may be temporary.

    The wait after attempt n is uniform in [0, min(30 s, 0.5 s · 2^(n - 1))], so that clients that
    failed together do not return together, plus the server's `Retry-After`.

    Args:
        failure_of: Classifies an exception; None for one that is not the server's.
        max_retries: Attempts after the first one.
        before_sleep: Called before each wait.
    """
    import tenacity

    backoff = tenacity.wait_random_exponential(multiplier=FIRST_WAIT, max=LONGEST_WAIT)

    def requested_wait(state: tenacity.RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        failure = failure_of(error) if error else None
        return failure.retry_after or 0.0 if failure else 0.0

    def is_transient(error: BaseException) -> bool:
        failure = failure_of(error)
        return failure is not None and failure.transient

    return tenacity.Retrying(
        retry=tenacity.retry_if_exception(is_transient),
        wait=lambda state: backoff(state) + requested_wait(state),
        stop=lambda state: (
            state.attempt_number > max_retries or requested_wait(state) > LONGEST_RETRY_AFTER
        ),
        before_sleep=before_sleep,
        reraise=True,
    )


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


def shortened(text: str) -> str:
    """A server's message on one line of at most 300 characters."""
    text = " ".join(text.split())
    return text if len(text) <= LONGEST_TEXT else f"{text[: LONGEST_TEXT - 3]}..."
