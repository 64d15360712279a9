"""How an endpoint does: its failures since the last success, and when they end the run.

Two rules decide when to stop (see `FailurePolicy`):

1. Many consecutive failures without a success end the run.
2. A request that keeps failing is given up after its attempts, while others go on.

Errors that every request would meet, such as a wrong key or an unknown model, end the run at once.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from time import monotonic

from recipekit.component.context import Progress
from recipekit.errors import RunError
from recipekit.llm.completion import RequestFailed
from recipekit.llm.endpoint import Endpoint
from recipekit.llm.failure_policy import FailurePolicy
from recipekit.llm.failures import RetryableError
from recipekit.llm.reachability import answers_http, check_connection

__all__ = ["EndpointHealth", "FailedAttempts"]

CONTINUE = "What was answered is kept: run the same command again to continue"
HANGING = 3
"""Timeouts in a row, after a success, after which the server is asked for its models."""
LONG_WAIT = 5.0
"""Seconds. Longer waits that the endpoint asks for are reported."""
REPEATED = 3
"""Failed attempts at one request after which the failure is reported."""


@dataclass
class FailedAttempts:
    """The failed attempts at one request."""

    model: str
    started: float = field(default_factory=monotonic)
    """When the first attempt began."""
    rate_limited: int = 0
    failed: int = 0
    """All others."""
    timed_out: int = 0
    """Those among the failed ones that reached a time-out."""
    failed_at: float = field(default_factory=monotonic)
    """When the last of the failed ones ended, or when the first attempt began."""

    @property
    def count(self) -> int:
        """How many there are."""
        return self.failed + self.rate_limited


class EndpointHealth:
    """What the calls of one client have met so far."""

    def __init__(
        self, endpoint: Endpoint, policy: FailurePolicy, progress: Progress | None
    ) -> None:
        self.consecutive_failures = 0
        """Timeouts, and failed calls of requests that were given up, since the last success."""
        self.has_replies = False
        """Whether any request has a reply, from the cache or the endpoint."""
        self._endpoint, self._policy, self._progress = endpoint, policy, progress
        self._connection: asyncio.Task[None] | None = None
        self._ended: RunError | None = None  # after it, nothing more is sent
        self._timeouts = 0  # since the last success
        self._succeeded = False  # whether the endpoint has answered a request
        self._succeeded_at = 0.0
        self._last_failure: RequestFailed | None = None
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
        if self._last_failure is not None and not self.has_replies:
            raise self._run_error(model, "answered no request", self._last_failure.reason)

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
        self.consecutive_failures = self._timeouts = 0
        self.has_replies = self._succeeded = True
        self._succeeded_at = monotonic()

    def note_failure(self, model: str, error: BaseException) -> None:
        """Note a failed call, and count what counts as a failure at once.

        A timeout does, so that an endpoint that hangs ends the run after a few timeouts of many
        calls, rather than after many timeouts of a few.

        Raises:
            RunError: Too many calls failed in a row.
        """
        failure = None
        if isinstance(error, RunError):
            self.end(error)
        elif isinstance(error, RetryableError) and error.timed_out:
            failure = RequestFailed("unanswered", error.reason)
        elif isinstance(error, RequestFailed) and error.rejected and error.kind != "too_long":
            failure = error
        if failure is not None:
            self._count_failures(model, failure, 1)

    async def check_retry(
        self, attempts: FailedAttempts, error: RetryableError, sent_at: float
    ) -> None:
        """Add a failed attempt, and check that another one may help.

        Args:
            attempts: The earlier attempts at the request, to which this one is added.
            error: How the attempt failed.
            sent_at: When it began.

        Raises:
            RequestFailed: The request is given up.
            RunError: No request can succeed, or too many calls failed in a row.
        """
        if error.kind == "rate_limited":
            attempts.rate_limited += 1
            self._check_rate_limit(attempts, error)
            return
        attempts.failed += 1
        attempts.timed_out += error.timed_out
        if error.timed_out:
            await self._check_hanging(attempts.model, error)
        # A success between two failures: the endpoint works, this request does not.
        endpoint_works = attempts.failed_at < self._succeeded_at < sent_at
        attempts.failed_at = monotonic()
        outage = error.kind == "failed" and not (endpoint_works or error.maybe_billed)
        self._check_attempts(attempts, error, outage=outage)

    def report(self, event: str, message: str) -> None:
        """Warn once about each kind of event."""
        if self._progress is not None and event not in self._reported:
            self._progress.log(f"endpoint_{event}", message=message)
            self._progress.warn(message)
        self._reported.add(event)

    def _check_rate_limit(self, attempts: FailedAttempts, error: RetryableError) -> None:
        self._check_retry_after(attempts.model, error)
        if attempts.rate_limited >= REPEATED:
            self.report("rate_limit", f"the endpoint limits the rate of calls ({error.reason})")
        seconds = monotonic() - max(attempts.started, self._succeeded_at)
        if seconds >= self._policy.rate_limited_seconds:
            what = f"answered nothing but 429 for {seconds:.0f} s"
            raise self._run_error(attempts.model, what, error.reason)

    async def _check_hanging(self, model: str, error: RetryableError) -> None:
        """After timeouts without a success, end the run if the server answers nothing at all.

        Otherwise it is left to the limit of consecutive failures, which takes many timeouts.
        """
        self._timeouts += 1
        first = 1 if not self._succeeded else HANGING
        if self._timeouts != first:
            return
        if not await asyncio.to_thread(answers_http, self._endpoint) and self._timeouts >= first:
            what = "accepts connections and answers nothing, not even a request for /models"
            raise self._run_error(model, what, error.reason)

    def _check_attempts(
        self, attempts: FailedAttempts, error: RetryableError, *, outage: bool
    ) -> None:
        """Give a request up after its attempts, of which it has more in an outage."""
        model = attempts.model
        self._check_retry_after(model, error)
        if error.kind == "unknown_host" and not self._succeeded:
            raise RunError(
                f"{error.reason}. Check `api_base`, and that this machine reaches the network",
                code="RK653",
            )
        if attempts.failed >= REPEATED:
            self.report("failing", f"calls fail and are retried ({error.reason})")
        limit = self._policy.max_attempts * (self._policy.outage_factor if outage else 1)
        if attempts.failed < limit:
            return
        if error.kind in ("unreachable", "unknown_host"):
            what = f"could not be reached in {attempts.failed} attempts"
            raise self._run_error(model, what, error.reason)
        reason = f"{attempts.failed} attempts failed (last: {error.reason})"
        failure = RequestFailed("unanswered", reason)
        # Timeouts were counted at once.
        self._count_failures(model, failure, attempts.failed - attempts.timed_out)
        raise failure

    def _check_retry_after(self, model: str, error: RetryableError) -> None:
        seconds = error.retry_after or 0.0
        if seconds > self._policy.longest_retry_after:
            raise self._run_error(model, f"asks to wait {seconds:.0f} s", error.reason)
        if seconds >= LONG_WAIT:
            self.report("wait", f"the endpoint asks to wait {seconds:.0f} s ({error.reason})")

    def _count_failures(self, model: str, failure: RequestFailed, calls: int) -> None:
        """Count failed calls since the last success; end the run after too many."""
        self.check_ended()  # the first error ends the run
        self._last_failure = failure
        self.consecutive_failures += calls
        if self.consecutive_failures >= self._policy.max_consecutive_failures:
            what = f"{self.consecutive_failures} calls failed one after another"
            code = "RK655" if failure.rejected else "RK650"
            self._ended = self._run_error(model, what, failure.reason, code)
            raise self._ended

    def _run_error(self, model: str, what: str, reason: str, code: str = "RK650") -> RunError:
        location = f"{model} at {self._endpoint.location(model)}"
        return RunError(f"{location}: {what} (last: {reason}). {CONTINUE}", code=code)
