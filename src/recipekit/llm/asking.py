"""Asking a stream of requests, many at a time: from the store what was paid before, and the rest
within the budget.

with Asker(Client(endpoint), store, budget, price, counter.prompt_at_most) as asker:
    for request, answer in asker.answers(requests):
        ...
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from random import Random

from recipekit.component.context import Progress
from recipekit.engines import RetryPolicy
from recipekit.errors import RunError
from recipekit.llm.attempts import UNPAID, Answer, Attempts, Call
from recipekit.llm.budget import Budget
from recipekit.llm.calls import Reply, Request, Usage
from recipekit.llm.client import Client
from recipekit.llm.pace import Pace
from recipekit.llm.prices import Price
from recipekit.llm.store import CallStore

__all__ = ["Answer", "Asker"]

LOOKAHEAD = 64
"""Requests looked up in the store before the calls in flight are attended to again."""


class _Loop(asyncio.SelectorEventLoop):
    """An event loop whose clock stands still while it does not run: no call times out because its
    caller was busy elsewhere.
    """

    def __init__(self) -> None:
        self._stood = 0.0
        self._stopped: float | None = time.monotonic()
        super().__init__()

    def time(self) -> float:
        return (time.monotonic() if self._stopped is None else self._stopped) - self._stood

    def run_forever(self) -> None:
        if self._stopped is not None:
            self._stood += time.monotonic() - self._stopped
        self._stopped = None
        try:
            super().run_forever()
        finally:
            self._stopped = time.monotonic()


@dataclass
class _Round:
    """One stream of requests: those in flight, by key, and what is ready to be yielded."""

    calls: dict[str, Call] = field(default_factory=dict)
    tasks: dict[asyncio.Task[None], Call] = field(default_factory=dict)
    ready: deque[tuple[Request, Answer]] = field(default_factory=deque)
    fatal: BaseException | None = None
    waiting: int = 0
    """Requests whose answer is to come."""
    ended: bool = False
    stirred: asyncio.Event = field(default_factory=asyncio.Event)


class Asker:
    """Asks one endpoint. It owns an event loop, which runs in the caller's thread while an answer
    is waited for.

    Args:
        client: Asks once.
        store: Where paid replies are found and kept.
        budget: What may be spent.
        price: What the model costs; None where it is not known.
        count_tokens: Of a request, at least as many tokens in as the endpoint will count
            (`TokenCounter.prompt_at_most`).
        concurrency: The most calls in flight.
        requests_per_minute: The endpoint's limit, if it is known. What its headers and its 429s say
            is respected in any case.
        tokens_per_minute: Likewise for tokens, in and out.
        patience: How long to go on when the endpoint does not serve.
        progress: Told when the endpoint is down, or makes us wait.
        seed: For the jitter of waits.
    """

    def __init__(
        self,
        client: Client,
        store: CallStore,
        budget: Budget,
        price: Price | None,
        count_tokens: Callable[[Request], int],
        *,
        concurrency: int = 32,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        patience: RetryPolicy | None = None,
        progress: Progress | None = None,
        seed: int = 0,
    ) -> None:
        # With one call in flight, another one waits beside it: it can tell whether the endpoint is
        # down or takes just that one ill.
        self._window = max(concurrency, 2)
        self._store, self._budget, self._price = store, budget, price
        self._client, self._count_tokens = client, count_tokens
        pace = Pace(concurrency, requests_per_minute, tokens_per_minute)
        self._attempts = Attempts(
            client, store, budget, price, pace, patience or RetryPolicy(), progress, Random(seed)
        )
        self._began: float | None = None
        self._loop = _Loop()
        self._runner = asyncio.Runner(loop_factory=lambda: self._loop)
        self._busy = False

    def __enter__(self) -> Asker:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the endpoint's connections and the event loop."""
        if self._began is not None:
            self._runner.run(self._client.close())
        self._runner.close()
        self._loop.close()

    @property
    def calls(self) -> int:
        """Calls that were made and answered, for good or bad."""
        return self._attempts.made

    @property
    def usd(self) -> float:
        """What calls cost, those included that failed and may have been billed; 0 where no price is
        known.
        """
        return self._attempts.usd

    @property
    def figures(self) -> Mapping[str, float | str]:
        """What to show beside a count: calls a second, USD spent, and, where nothing may start, for
        how long.
        """
        elapsed = time.monotonic() - self._began if self._began is not None else 0.0
        attempts = self._attempts
        shown: dict[str, float | str] = {
            "calls/s": round(self.calls / elapsed, 1) if elapsed else 0.0
        }
        if self.usd:  # 0 also stands for a price that is not known, and would be read as free
            shown["usd"] = round(self.usd, 4)
        if (seconds := attempts.pace.waits(self._loop.time())) >= 1:
            shown["waiting"] = f"{seconds:.0f} s"
        elif attempts.waiting.circuit.is_open:
            shown["waiting"] = "for the endpoint"
        return shown

    def answers(
        self, requests: Iterable[Request | None]
    ) -> Generator[tuple[Request, Answer], None, None]:
        """Ask, and yield each request with its answer, in the order in which they come.

        A reply from the store costs nothing, and a paid one is in the store before it is yielded.
        Once the budget is spent, what is not in the store is answered `Failure("unpaid")`. Who
        cannot go on throws its RunError in, so that nothing more is sent and what is on its way is
        waited for and kept; merely closed, the calls in flight are ended.

        Args:
            requests: Drawn as calls finish, so that no more than `concurrency` (at least 2) are
                held. None says that there is nothing to ask until another answer has come: for who
                asks again after what was answered.

        Raises:
            RunError: The endpoint is down for longer than patience lasts, or refuses every request.
                Nothing more is sent then; what is on its way is waited for first, within its
                time-out, and whatever was paid is kept.
        """
        if self._busy:
            raise RuntimeError("an asker answers one stream of requests at a time")
        self._busy, work, source = True, _Round(), iter(requests)
        self._began = time.monotonic() if self._began is None else self._began
        try:
            while True:
                self._draw(source, work)
                if work.tasks:
                    self._runner.run(self._attend(work))
                if work.fatal:
                    self._runner.run(self._land(work))
                while work.ready:
                    try:
                        yield work.ready.popleft()
                    except RunError as error:
                        work.fatal = error
                        self._runner.run(self._land(work))
                        work.ready.clear()
                if work.fatal:
                    raise work.fatal
                if work.ended and not work.waiting:
                    return
        finally:
            self._busy = False
            if work.tasks:
                self._runner.run(self._abandon(work))

    # One stream
    # ------------------------------------------------------------------------------------------------------

    def _draw(self, source: Iterator[Request | None], work: _Round) -> None:
        """Take requests while there is room, and answer at once what needs no call."""
        for _ in range(LOOKAHEAD):
            if work.fatal or not self._has_room(work):
                return
            try:
                request = next(source)
            except StopIteration:
                work.ended = self._attempts.waiting.drained = True
                return
            self._attempts.waiting.drained = request is None
            if request is None:
                if not work.waiting and not work.ready:
                    raise RuntimeError("no request was given, and no answer is outstanding")
                return
            if (flying := work.calls.get(request.key)) is not None:
                flying.again.append(request)
                work.waiting += 1
            elif (found := self._store.find(request.key)) is not None:
                self._attempts.found()
                work.ready.append((request, found))
            elif self._budget.exhausted:
                work.ready.append((request, UNPAID))
            else:
                self._launch(request, work)

    def _has_room(self, work: _Round) -> bool:
        return not work.ended and work.waiting < self._window + len(self._attempts.waiting.stalled)

    def _launch(self, request: Request, work: _Round) -> None:
        tokens = self._count_tokens(request)
        call = Call(
            request,
            tokens,
            None if self._price is None else self._price.most(tokens, request.max_tokens),
        )
        work.calls[request.key] = call
        work.waiting += 1
        task = self._loop.create_task(self._answer(call, work))
        work.tasks[task] = call
        task.add_done_callback(work.tasks.pop)

    async def _attend(self, work: _Round) -> None:
        """Let the calls go on, until one is answered if nothing else is, or there is room for
        others.
        """
        waiting = self._attempts.waiting
        waiting.on_stall = work.stirred.set
        if work.ready:
            await asyncio.sleep(0)
        while not work.ready and not work.fatal and work.tasks:
            work.stirred.clear()
            await work.stirred.wait()
            if waiting.stalled and not waiting.drained and self._has_room(work):
                return

    async def _land(self, work: _Round) -> None:
        """Send nothing more, and keep what the calls that are on their way bring: it is paid."""
        self._attempts.ending = True
        tasks = dict(work.tasks)
        for task, call in tasks.items():
            if not call.sent:
                task.cancel()
        if sent := sum(call.sent and not task.done() for task, call in tasks.items()):
            self._attempts.waiting.info(
                "endpoint_ends",
                f"the run ends; waiting for {sent} {'answer that is' if sent == 1 else 'answers that are'} on the way",
            )
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # what they left to be written is written
        self._attempts.ending = False

    async def _abandon(self, work: _Round) -> None:
        """End the calls in flight, whose answers nobody waits for any more: they may have been
        paid, and are booked so.
        """
        tasks = list(work.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # what they left to be written is written

    async def _answer(self, call: Call, work: _Round) -> None:
        try:
            answer = await self._attempts.obtain(call)
        except Exception as error:
            work.fatal = work.fatal or error
        else:
            work.ready.append((call.request, answer))
            repeated = (
                replace(answer, from_cache=True)
                if isinstance(answer, Reply)
                else replace(answer, cost_usd=None, usage=Usage())
            )
            work.ready.extend((request, repeated) for request in call.again)
            work.waiting -= 1 + len(call.again)
        finally:
            del work.calls[call.request.key]
            work.stirred.set()
