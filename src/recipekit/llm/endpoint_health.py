"""How an endpoint does: its failures since the last success, and when they end the run.

Two rules decide when to stop (see `FailurePolicy`):

1. Many failures in a row, without a success in between, end the run with the last reason.
2. A request that keeps failing while others succeed is given up.

Errors that every request would meet, such as a wrong key or an unknown model, end the run at once.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from time import monotonic
from typing import NoReturn

from recipekit.component.context import Progress
from recipekit.errors import RunError
from recipekit.llm.completion import RequestFailed
from recipekit.llm.endpoint import Endpoint
from recipekit.llm.failures import RetryableError, unknown_host
from recipekit.llm.reachability import check_connection
from recipekit.retries import LONGEST_RETRY_AFTER

__all__ = ["EndpointHealth", "FailurePolicy"]

CONTINUE = "Replies are kept: run the same command again to continue"
LONG_WAIT = 5.0
"""Seconds. Longer waits that the endpoint asks for are reported."""
REPEATED = 3
"""Failed attempts at one request after which the failure is reported."""


@dataclass(frozen=True)
class FailurePolicy:
    """When a request is given up, and when the run ends."""

    max_attempts: int = 5
    """Failed attempts after which a request is given up while others succeed. A 429 is not one."""
    max_consecutive_failures: int = 50
    """Failed calls in a row after which the run ends. It exceeds what one hostile query provokes:
    the attempts at ten requests."""
    restart_seconds: float = 150.0
    """How long calls must have failed before the run ends or, while none succeeds, a request is
    given up. A server that restarts and loads its model takes a minute or two."""


class EndpointHealth:
    """What the calls of one client have met so far."""

    def __init__(
        self, endpoint: Endpoint, policy: FailurePolicy, progress: Progress | None
    ) -> None:
        self.consecutive_failures = 0
        """Failed calls since the last success."""
        self.has_replies = False
        """Whether any request has a reply, from the cache or the endpoint."""
        self._endpoint, self._policy, self._progress = endpoint, policy, progress
        self._connection: asyncio.Task[None] | None = None
        self._ended: RunError | None = None  # after it, nothing more is sent
        self._failing_since: float | None = None  # the first of them that a restart may end
        self._last_reason: str | None = None  # of a failure
        self._reported: set[str] = set()

    def end(self, error: RunError) -> None:
        """End the run with an error that every later call would meet."""
        self._ended = error

    def check_ended(self) -> None:
        """Check that the run goes on.

        Raises:
            RunError: The one that ended it.
        """
        if self._ended is not None:
            raise self._ended

    def check_answered(self, model: str) -> None:
        """Check, at the end of a run, that not every request failed.

        Raises:
            RunError: Requests failed, and none has a reply.
        """
        if self._last_reason is not None and not self.has_replies:
            raise self._run_error(model, "answered no request", self._last_reason)

    async def check_connection(self, model: str) -> None:
        """Before the first call, check that the endpoint accepts connections.

        The check at a run's start is left out where replies are stored.

        Raises:
            RunError: It does not.
        """
        if self._connection is None:
            check = asyncio.to_thread(check_connection, model, self._endpoint)
            self._connection = asyncio.create_task(check)
        await asyncio.shield(self._connection)

    def note_success(self) -> None:
        """Note a call that was answered, with any answer."""
        self.consecutive_failures, self._failing_since = 0, None
        self.has_replies = True

    def note_failure(self, model: str, error: BaseException) -> None:
        """Note a failed call, and count it unless it was too long or cancelled.

        Raises:
            RunError: Too many calls failed in a row, or every other call would fail, too.
        """
        if isinstance(error, RunError):
            self.end(error)
        elif isinstance(error, RetryableError):
            self.check_ended()  # the first error ends the run
            self._check_fatal(model, error)
            if self._failing_since is None and error.kind != "unreadable":
                self._failing_since = monotonic()
            self._count_failure(model, error.reason, "RK650")
        elif isinstance(error, RequestFailed) and error.rejected and error.kind != "too_long":
            self.check_ended()
            self._count_failure(model, error.reason, "RK655")

    def check_retry(self, error: RetryableError, attempts: int, failed: int) -> None:
        """Check that another attempt at a request may help, and report what repeats itself.

        Args:
            error: How the last attempt failed.
            attempts: The attempts at the request so far.
            failed: Those among them that were not a 429.

        Raises:
            RequestFailed: The request is given up.
        """
        if attempts >= REPEATED and error.kind == "rate_limited":
            self.report("rate_limit", f"the endpoint limits the rate of calls ({error.reason})")
        elif attempts >= REPEATED:
            self.report("failing", f"calls fail and are retried ({error.reason})")
        # Fewer failures in a row than at this request: others have succeeded meanwhile.
        others_succeed = self.consecutive_failures < failed
        if failed >= self._policy.max_attempts and (others_succeed or self._failing_long()):
            reason = f"{failed} attempts failed (last: {error.reason})"
            raise RequestFailed("unanswered", reason)

    def report(self, event: str, message: str) -> None:
        """Warn once about each kind of event."""
        if self._progress is not None and event not in self._reported:
            self._progress.log(f"endpoint_{event}", message=message)
            self._progress.warn(message)
        self._reported.add(event)

    def _check_fatal(self, model: str, error: RetryableError) -> None:
        seconds = error.retry_after or 0.0
        if error.kind == "unknown_host" and not self.has_replies:
            self._raise(unknown_host(error.reason))
        if seconds > LONGEST_RETRY_AFTER:
            self._raise(self._run_error(model, f"asks to wait {seconds:.0f} s", error.reason))
        if seconds >= LONG_WAIT:
            self.report("wait", f"the endpoint asks to wait {seconds:.0f} s ({error.reason})")

    def _count_failure(self, model: str, reason: str, code: str) -> None:
        self._last_reason = reason
        self.consecutive_failures += 1
        many = self.consecutive_failures >= self._policy.max_consecutive_failures
        if many and self._failing_long():
            what = f"{self.consecutive_failures} calls failed one after another"
            self._raise(self._run_error(model, what, reason, code))

    def _raise(self, error: RunError) -> NoReturn:
        self.end(error)
        raise error

    def _failing_long(self) -> bool:
        """Whether a restart would be over; it helps neither rejected requests nor other answers."""
        since = self._failing_since
        return since is None or monotonic() - since >= self._policy.restart_seconds

    def _run_error(self, model: str, what: str, reason: str, code: str = "RK650") -> RunError:
        location = f"{model} at {self._endpoint.location(model)}"
        return RunError(f"{location}: {what} (last: {reason}). {CONTINUE}", code=code)
