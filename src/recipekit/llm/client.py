"""An async client for language models: `reply = await client.complete(request)`.

A reply that was paid for earlier comes from the cache. Any other call is reserved in the budget,
waits for the rate limiter, is retried where that may help, and is settled and cached in one commit.

Two rules decide when to stop (see `FailurePolicy`):

1. Many consecutive failures without a success end the run.
2. A request that keeps failing is given up after its attempts, while others go on.

Errors that every request would meet, such as a wrong key or an unknown model, end the run at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from random import Random

from recipekit.component.context import Progress
from recipekit.errors import RunError
from recipekit.llm.budget import Budget, Reservation
from recipekit.llm.completion import Reply, Request, RequestFailed
from recipekit.llm.endpoint import Endpoint
from recipekit.llm.failure_policy import FailurePolicy
from recipekit.llm.failures import RetryableError
from recipekit.llm.litellm_call import Answer, call_litellm, close_connections
from recipekit.llm.pricing import Price
from recipekit.llm.rate_limiter import RateLimiter
from recipekit.llm.reachability import answers_http, check_connection
from recipekit.llm.reply_cache import ReplyCache

__all__ = ["Client"]

CONTINUE = "What was answered is kept: run the same command again to continue"
HANGING = 3
"""Timeouts in a row, after a success, after which the server is asked for its models."""
LONG_WAIT = 5.0
"""Seconds. Longer waits that the endpoint asks for are reported."""
REPEATED = 3
"""Failed attempts at one request after which the failure is reported."""


class Client:
    """Calls one endpoint. Use it in one event loop, and close it with `aclose`.

    Args:
        endpoint: Where the model is served.
        cache: Where paid replies are found and kept.
        budget: What may be spent.
        price: What the model costs; None if unknown.
        count_tokens: An upper bound on a request's input tokens (`TokenCounter.prompt_bound`).
        limiter: Limits the rate and the number of calls in flight.
        policy: When to retry and when to stop.
        progress: Where rate limits and failures are reported.
        seed: For the jitter of waits.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        cache: ReplyCache,
        budget: Budget,
        price: Price | None,
        count_tokens: Callable[[Request], int],
        *,
        limiter: RateLimiter | None = None,
        policy: FailurePolicy | None = None,
        progress: Progress | None = None,
        seed: int = 0,
    ) -> None:
        self.calls = 0
        """Calls that were answered, with any answer."""
        self.usd = 0.0
        """What all calls cost; 0 if no price is known."""
        self.consecutive_failures = 0
        """Timeouts, and failed calls of requests that were given up, since the last success."""
        self.limiter = limiter or RateLimiter(32)
        self.policy = policy or FailurePolicy()
        self._endpoint, self._cache, self._budget = endpoint, cache, budget
        self._price, self._count_tokens = price, count_tokens
        self._compute_cost = price is not None and price.uses_reported_cost
        self._progress, self._random = progress, Random(seed)
        self._connection: asyncio.Task[None] | None = None
        self._timeouts = 0  # since the last success
        self._asked_again: set[str] | None = set() if budget.spending.ask_again else None
        self._connected = False
        self._ended: RunError | None = None  # after it, nothing more is sent
        self._answered = False  # whether any request has a reply, from the cache or the endpoint
        self._succeeded = False  # whether the endpoint has answered a request
        self._last_failure: RequestFailed | None = None
        self._succeeded_at = 0.0
        self._reported: set[str] = set()
        self._prompt_share = 1.0  # input tokens / their upper bound, a moving average
        self._in_progress: dict[str, asyncio.Event] = {}
        self._sending: set[asyncio.Task[Reply]] = set()
        self._settled = asyncio.Event()

    async def complete(self, request: Request) -> Reply:
        """The reply to a request, from the cache or the endpoint.

        Raises:
            RequestFailed: The request has no usable reply, or the budget does not allow it.
            RunError: No request can succeed, or too many failed in a row.
        """
        try:
            reply = await self._complete(request)
        except RequestFailed as failure:
            self._note_call(request, failure)
            raise
        self._note_call(request, reply)
        if reply.from_cache:  # the use of another is noted when it is stored
            self._note_use(request)
        return reply

    def forget(self, request: Request) -> None:
        """Remove a stored reply that turned out to be unusable."""
        self._cache.forget(request.key)

    async def _complete(self, request: Request) -> Reply:
        while (same := self._in_progress.get(request.key)) is not None:
            await same.wait()  # identical requests at the same time are paid for once
        if (reply := self._find(request)) is not None:
            return reply
        done = self._in_progress[request.key] = asyncio.Event()
        try:
            return await self._with_retries(request)
        except RunError as error:
            self._ended = error
            raise
        finally:
            del self._in_progress[request.key]
            done.set()

    def _note_call(self, request: Request, outcome: Reply | RequestFailed) -> None:
        if self._budget.spending.on_call is not None:
            self._budget.spending.on_call(request, outcome)

    def _note_use(self, request: Request) -> None:
        for account in self._budget.spending.accounts[:1]:
            self._cache.note_use(account.ledger, request.key)

    def check_answered(self, model: str) -> None:
        """Check, at the end of a run, that not every request failed.

        Raises:
            RunError: Requests failed, and none has a reply.
        """
        if self._last_failure is not None and not self._answered:
            raise self._run_error(model, "answered no request", self._last_failure.reason)

    async def drain(self) -> None:
        """Wait for the calls that were sent: their replies are paid for, and are kept."""
        if self._sending:
            count = len(self._sending)
            calls = "1 call that was" if count == 1 else f"{count} calls that were"
            self._report("drain", f"waiting for {calls} already sent")
        await asyncio.gather(*self._sending, return_exceptions=True)

    async def aclose(self) -> None:
        """Cancel the calls in flight, which stay charged, and close the connections."""
        for task in self._sending:
            task.cancel()
        await asyncio.gather(*self._sending, return_exceptions=True)
        if self._connected:
            await close_connections()

    # One request
    # ----------------------------------------------------------------------------------------------

    async def _with_retries(self, request: Request) -> Reply:
        prompt_tokens = self._count_tokens(request)
        worst_case = None
        if self._price is not None:
            worst_case = self._price.worst_case(prompt_tokens, request.max_tokens)
        failed = timed_out = rate_limited = 0
        started = self._now()
        failed_at = started
        while True:
            sent_at = self._now()
            try:
                return await self._attempt(request, prompt_tokens, worst_case)
            except RetryableError as error:
                if error.kind == "rate_limited":
                    rate_limited += 1
                    self._check_rate_limit(request, error, rate_limited, started)
                else:
                    failed += 1
                    timed_out += error.timed_out
                    if error.timed_out:
                        await self._check_hanging(request, error)
                    # A success between two failures: the endpoint works, this request does not.
                    endpoint_works = failed_at < self._succeeded_at < sent_at
                    failed_at = self._now()
                    outage = not (endpoint_works or error.maybe_billed)
                    self._check_attempts(request, error, failed, failed - timed_out, outage)
                wait = self.policy.wait(failed + rate_limited, error.retry_after, self._random)
            await asyncio.sleep(wait)

    async def _attempt(
        self, request: Request, prompt_tokens: int, worst_case: float | None
    ) -> Reply:
        tokens = 0
        if self.limiter.counts_tokens:
            tokens = round(prompt_tokens * self._prompt_share) + request.max_tokens
        await self._check_connection(request)
        await self.limiter.acquire(tokens)
        try:
            self._check_ended()
            reserved = await self._reserve(request, worst_case)
        except BaseException:
            self.limiter.release(tokens)
            raise
        if isinstance(reserved, Reply):
            self.limiter.release(tokens)
            return reserved
        # A task of its own: cancelling the caller does not cancel a call that is paid for.
        task = asyncio.create_task(self._send(request, reserved, prompt_tokens, tokens, worst_case))
        self._sending.add(task)
        task.add_done_callback(self._note_sent)
        return await asyncio.shield(task)

    def _note_sent(self, task: asyncio.Task[Reply]) -> None:
        self._sending.discard(task)
        if not task.cancelled():
            task.exception()  # a caller that was cancelled does not retrieve it

    def _find(self, request: Request) -> Reply | None:
        if self._asked_again is not None and request.key not in self._asked_again:
            return None
        reply = self._cache.find(request.key)
        self._answered = self._answered or reply is not None
        return reply

    async def _reserve(self, request: Request, worst_case: float | None) -> Reservation | Reply:
        """Reserve the worst case; while calls are in flight, wait for them to make room.

        Returns:
            The reservation, or the reply if another process has paid for it meanwhile.
        """
        key = request.key if self._asked_again is None else None
        while (reservation := self._budget.reserve(worst_case, key)) is None:
            if (reply := self._find(request)) is not None:
                return reply
            if not self._budget.in_flight:
                raise RequestFailed("unpaid", "the budget is spent")
            self._settled.clear()
            await self._settled.wait()
            self._check_ended()
        return reservation

    async def _send(
        self,
        request: Request,
        reservation: Reservation,
        prompt_tokens: int,
        tokens: int,
        worst_case: float | None,
    ) -> Reply:
        """Make the call, then settle it and keep its reply in one commit."""
        started, unused = self._now(), 0
        self._connected = True
        try:
            answer = await call_litellm(self._endpoint, request, compute_cost=self._compute_cost)
        except BaseException as error:
            self._settle_failure(reservation, error, worst_case)
            # Before the call's slot is free: nothing is sent after the failure that ends the run.
            self._note_failure(request, error, started)
            raise
        else:
            usage = answer.usage
            if usage.prompt:
                unused = max(0, tokens - usage.prompt - usage.completion)
                share = usage.prompt / max(prompt_tokens, 1)
                self._prompt_share += 0.05 * (share - self._prompt_share)
            self._note_success(answer)
            return self._settle(request, answer, reservation, worst_case)
        finally:
            self.limiter.release(unused)
            self._settled.set()

    # Money
    # ----------------------------------------------------------------------------------------------

    def _settle(
        self, request: Request, answer: Answer, reservation: Reservation, worst_case: float | None
    ) -> Reply:
        cost = worst_case  # what an endpoint that counts no tokens may have billed
        if self._price is not None and answer.usage.prompt:
            cost = self._price.cost(answer.usage, answer.cost_usd)
        self.usd += cost or 0.0
        with self._cache.transaction():
            reservation.settle(cost)
            if isinstance(answer.outcome, RequestFailed):
                answer.outcome.cost_usd = cost
            else:
                reply = replace(answer.outcome, cost_usd=cost)
                if self._asked_again is not None:
                    self._asked_again.add(request.key)
                    self._cache.forget(request.key)
                self._cache.keep(request, reply)
                self._note_use(request)
        if isinstance(answer.outcome, RequestFailed):
            raise answer.outcome
        return reply

    def _settle_failure(
        self, reservation: Reservation, error: BaseException, worst_case: float | None
    ) -> None:
        """Charge the worst case of a call whose reply was lost, nothing for a rejected one."""
        if isinstance(error, RetryableError):
            billed = error.maybe_billed
        elif isinstance(error, RequestFailed):
            billed = not error.rejected
            error.cost_usd = worst_case if billed else 0.0
            self.calls += 1
        else:
            billed = not isinstance(error, RunError)  # cancelled, above all
        if billed:
            reservation.settle(None)
            self.usd += worst_case or 0.0
        else:
            reservation.release()

    # Stopping and slowing down
    # ----------------------------------------------------------------------------------------------

    def _note_success(self, answer: Answer) -> None:
        self.calls += 1
        self.consecutive_failures = self._timeouts = 0
        self._answered = self._succeeded = True
        self._succeeded_at = self._now()
        self.limiter.speed_up()
        self.limiter.read_headers(answer.headers, self._succeeded_at)

    def _note_failure(self, request: Request, error: BaseException, started: float) -> None:
        """Slow down, and count what counts as a failure at once.

        A timeout does, so that an endpoint that hangs ends the run after a few timeouts of many
        calls, rather than after many timeouts of a few.

        Raises:
            RunError: Too many calls failed in a row.
        """
        failure = None
        if isinstance(error, RunError):
            self._ended = error
        elif isinstance(error, RetryableError):
            self._slow_down(error, started)
            if error.timed_out:
                failure = RequestFailed("unanswered", error.reason)
        elif isinstance(error, RequestFailed) and error.rejected and error.kind != "too_long":
            failure = error
        if failure is not None:
            self._count_failures(request, failure, 1)

    def _check_ended(self) -> None:
        if self._ended is not None:
            raise self._ended

    def _slow_down(self, error: RetryableError, started: float) -> None:
        now = self._now()
        self.limiter.read_headers(error.headers, now)
        if error.retry_after is not None:
            self.limiter.pause(error.retry_after, now)
        elif error.kind == "rate_limited" or error.timed_out:
            self.limiter.slow_down(started, now)

    def _check_rate_limit(
        self, request: Request, error: RetryableError, attempt: int, started: float
    ) -> None:
        self._check_retry_after(request, error)
        if attempt >= REPEATED:
            self._report("rate_limit", f"the endpoint limits the rate of calls ({error.reason})")
        seconds = self._now() - max(started, self._succeeded_at)
        if seconds >= self.policy.rate_limited_seconds:
            what = f"answered nothing but 429 for {seconds:.0f} s"
            raise self._run_error(request.model, what, error.reason)

    async def _check_connection(self, request: Request) -> None:
        """Before the first call, check that the endpoint accepts connections.

        The check at a run's start is left out where replies are stored.
        """
        if self._connection is None:
            check = asyncio.to_thread(check_connection, request.model, self._endpoint)
            self._connection = asyncio.create_task(check)
        await asyncio.shield(self._connection)

    async def _check_hanging(self, request: Request, error: RetryableError) -> None:
        """After timeouts without a success, end the run if the server answers nothing at all.

        Otherwise it is left to the limit of consecutive failures, which takes many timeouts.
        """
        self._timeouts += 1
        first = 1 if not self._succeeded else HANGING
        if self._timeouts != first:
            return
        if not await asyncio.to_thread(answers_http, self._endpoint) and self._timeouts >= first:
            what = "accepts connections and answers nothing, not even a request for /models"
            raise self._run_error(request.model, what, error.reason)

    def _check_attempts(
        self,
        request: Request,
        error: RetryableError,
        attempt: int,
        uncounted: int,
        outage: bool,
    ) -> None:
        """Give a request up after its attempts, of which it has more in an outage.

        `uncounted` of them did not count as failures at once.

        Raises:
            RequestFailed: It is given up.
            RunError: It could never be sent, or too many calls failed in a row.
        """
        self._check_retry_after(request, error)
        if error.kind == "unknown_host" and not self._succeeded:
            raise RunError(
                f"{error.reason}. Check `api_base`, and that this machine reaches the network",
                code="RK653",
            )
        if attempt >= REPEATED:
            self._report("failing", f"calls fail and are retried ({error.reason})")
        outage = outage and error.kind == "failed"
        limit = self.policy.max_attempts * (self.policy.outage_factor if outage else 1)
        if attempt < limit:
            return
        if error.kind in ("unreachable", "unknown_host"):
            what = f"could not be reached in {attempt} attempts"
            raise self._run_error(request.model, what, error.reason)
        reason = f"{attempt} attempts failed (last: {error.reason})"
        failure = RequestFailed("unanswered", reason)
        self._count_failures(request, failure, uncounted)
        raise failure

    def _check_retry_after(self, request: Request, error: RetryableError) -> None:
        seconds = error.retry_after or 0.0
        if seconds > self.policy.longest_retry_after:
            raise self._run_error(request.model, f"asks to wait {seconds:.0f} s", error.reason)
        if seconds >= LONG_WAIT:
            self._report("wait", f"the endpoint asks to wait {seconds:.0f} s ({error.reason})")

    def _count_failures(self, request: Request, failure: RequestFailed, calls: int) -> None:
        """Count failed calls since the last success; end the run after too many."""
        self._check_ended()  # the first error ends the run
        self._last_failure = failure
        self.consecutive_failures += calls
        if self.consecutive_failures >= self.policy.max_consecutive_failures:
            what = f"{self.consecutive_failures} calls failed one after another"
            code = "RK655" if failure.rejected else "RK650"
            self._ended = self._run_error(request.model, what, failure.reason, code)
            raise self._ended

    def _run_error(self, model: str, what: str, reason: str, code: str = "RK650") -> RunError:
        location = f"{model} at {self._endpoint.location(model)}"
        return RunError(f"{location}: {what} (last: {reason}). {CONTINUE}", code=code)

    def _report(self, event: str, message: str) -> None:
        """Warn once about each kind of event."""
        if self._progress is not None and event not in self._reported:
            self._progress.log(f"endpoint_{event}", message=message)
            self._progress.warn(message)
        self._reported.add(event)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()
