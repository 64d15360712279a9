"""An async client for language models: `reply = await client.complete(request)`.

A reply that was paid for earlier comes from the cache. Any other call is reserved in the budget,
waits for the rate limiter, is retried where that may help, and is settled and cached in one commit.
`EndpointHealth` decides when a request is given up and when the run ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random
from time import monotonic

from recipekit.component.context import Progress
from recipekit.errors import RunError
from recipekit.llm.budget import Budget, Reservation
from recipekit.llm.completion import Reply, Request, RequestFailed
from recipekit.llm.endpoint import Endpoint
from recipekit.llm.endpoint_health import EndpointHealth, FailurePolicy
from recipekit.llm.failures import RetryableError
from recipekit.llm.litellm_call import Answer, call_litellm, close_connections
from recipekit.llm.pricing import Price
from recipekit.llm.rate_limiter import RateLimiter
from recipekit.llm.reply_cache import ReplyCache
from recipekit.retries import backoff

__all__ = ["Client"]


@dataclass(frozen=True)
class _Call:
    """A request with the most that one attempt at it can take."""

    request: Request
    prompt_tokens: int
    """An upper bound on its input tokens."""
    worst_case: float | None
    """Its worst-case cost in USD; None if no price is known."""


class Client:
    """Calls one endpoint. Use it in one event loop, and close it with `aclose`.

    Args:
        endpoint: Where the model is served.
        cache: Where paid replies are found and kept.
        budget: What may be spent.
        price: What the model costs; None if unknown.
        count_tokens: An upper bound on a request's input tokens (`TokenCounter.prompt_bound`).
        limiter: Limits the rate and the number of calls in flight.
        policy: When a request is given up, and when the run ends.
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
        self.limiter = limiter or RateLimiter(32)
        self.health = EndpointHealth(endpoint, policy or FailurePolicy(), progress)
        self._endpoint, self._cache, self._budget = endpoint, cache, budget
        self._price, self._count_tokens = price, count_tokens
        self._compute_cost = price is not None and price.uses_reported_cost
        self._asked_again: set[str] | None = set() if budget.spending.ask_again else None
        self._random = Random(seed)
        self._connected = False
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
            self.health.end(error)
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

    async def drain(self) -> None:
        """Wait for the calls that were sent: their replies are paid for, and are kept."""
        if self._sending:
            count = len(self._sending)
            calls = "1 call that was" if count == 1 else f"{count} calls that were"
            self.health.report("drain", f"waiting for {calls} already sent")
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
        call = _Call(request, prompt_tokens, worst_case)
        attempts = failed = 0
        while True:
            try:
                return await self._attempt(call)
            except RetryableError as error:
                attempts += 1
                if error.kind != "rate_limited":
                    failed += 1
                self.health.check_retry(error, attempts, failed)
                wait = backoff(attempts, self._random) + (error.retry_after or 0.0)
            await asyncio.sleep(wait)

    async def _attempt(self, call: _Call) -> Reply:
        tokens = 0
        if self.limiter.counts_tokens:
            tokens = round(call.prompt_tokens * self._prompt_share) + call.request.max_tokens
        await self.health.check_connection(call.request.model)
        await self.limiter.acquire(tokens)
        try:
            self.health.check_ended()
            reserved = await self._reserve(call)
        except BaseException:
            self.limiter.release(tokens)
            raise
        if isinstance(reserved, Reply):
            self.limiter.release(tokens)
            return reserved
        # A task of its own: cancelling the caller does not cancel a call that is paid for.
        task = asyncio.create_task(self._send(call, reserved, tokens))
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
        self.health.has_replies |= reply is not None
        return reply

    async def _reserve(self, call: _Call) -> Reservation | Reply:
        """Reserve the worst case; while calls are in flight, wait for them to make room.

        Returns:
            The reservation, or the reply if another process has paid for it meanwhile.
        """
        key = call.request.key if self._asked_again is None else None
        while (reservation := self._budget.reserve(call.worst_case, key)) is None:
            if (reply := self._find(call.request)) is not None:
                return reply
            if not self._budget.in_flight:
                raise RequestFailed("unpaid", "the budget is spent")
            self._settled.clear()
            await self._settled.wait()
            self.health.check_ended()
        return reservation

    async def _send(self, call: _Call, reservation: Reservation, tokens: int) -> Reply:
        """Make the call, then settle it and keep its reply in one commit."""
        request, started, unused = call.request, monotonic(), 0
        self._connected = True
        try:
            answer = await call_litellm(self._endpoint, request, compute_cost=self._compute_cost)
        except BaseException as error:
            self._settle_failure(call, error, reservation)
            # Before the call's slot is free: nothing is sent after the failure that ends the run.
            if isinstance(error, RetryableError):
                self._slow_down(error, started)
            self.health.note_failure(request.model, error)
            raise
        else:
            usage = answer.usage
            if usage.prompt:
                unused = max(0, tokens - usage.prompt - usage.completion)
                share = usage.prompt / max(call.prompt_tokens, 1)
                self._prompt_share += 0.05 * (share - self._prompt_share)
            self.calls += 1
            self.health.note_success()
            self.limiter.speed_up()
            self.limiter.read_headers(answer.headers, monotonic())
            return self._settle(call, answer, reservation)
        finally:
            self.limiter.release(unused)
            self._settled.set()

    def _slow_down(self, error: RetryableError, started: float) -> None:
        now = monotonic()
        self.limiter.read_headers(error.headers, now)
        if error.retry_after is not None:
            self.limiter.pause(error.retry_after, now)
        elif error.kind == "rate_limited" or error.timed_out:
            self.limiter.slow_down(started, now)

    # Money
    # ----------------------------------------------------------------------------------------------

    def _settle(self, call: _Call, answer: Answer, reservation: Reservation) -> Reply:
        request = call.request
        cost = call.worst_case  # what an endpoint that counts no tokens may have billed
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

    def _settle_failure(self, call: _Call, error: BaseException, reservation: Reservation) -> None:
        """Charge the worst case of a call whose reply was lost, nothing for a rejected one."""
        if isinstance(error, RetryableError):
            billed = error.maybe_billed
        elif isinstance(error, RequestFailed):
            billed = not error.rejected
            error.cost_usd = call.worst_case if billed else 0.0
            self.calls += 1
        else:
            billed = not isinstance(error, RunError)  # cancelled, above all
        if billed:
            reservation.settle(None)
            self.usd += call.worst_case or 0.0
        else:
            reservation.release()
