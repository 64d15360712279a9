"""One request, until it is answered: paced, within the budget, and as often as patience lasts."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from random import Random

from recipekit.component.context import Progress
from recipekit.endpoints import Patience
from recipekit.errors import RunError
from recipekit.llm.budget import Budget
from recipekit.llm.calls import Failure, Reply, Request
from recipekit.llm.circuit import SUSPICIOUS, Circuit
from recipekit.llm.client import Client
from recipekit.llm.commits import GroupCommit
from recipekit.llm.pace import Pace
from recipekit.llm.prices import Price
from recipekit.llm.setbacks import Setback
from recipekit.llm.store import CallStore

__all__ = ["UNPAID", "Answer", "Attempts", "Call"]

Answer = Reply | Failure

UNPAID = Failure("unpaid", "the budget is spent")
GO_ON = "What was answered is kept: run the same command again to go on"
LONG = 5.0
"""Seconds: a longer wait is told."""


@dataclass(eq=False)
class Call:
    """A request on its way."""

    request: Request
    tokens: int
    """In, at most."""
    most: float | None
    """USD, at most."""
    again: list[Request] = field(default_factory=list)
    """The same request, asked for again meanwhile."""
    failed: int = 0
    """Attempts so far that failed."""
    since: float = 0.0
    """When the first of them began."""
    served: int = 0
    """Calls that the endpoint had served by then."""


class Attempts:
    """Makes attempts at one endpoint, within one budget."""

    def __init__(
        self,
        client: Client,
        store: CallStore,
        budget: Budget,
        price: Price | None,
        pace: Pace,
        patience: Patience,
        progress: Progress | None,
        random: Random,
    ) -> None:
        self.made = 0
        """Calls that were answered, for good or bad."""
        self.usd = 0.0
        """What all attempts cost, as far as prices are known."""
        self.pace = pace
        self.circuit = Circuit()
        self._client, self._store, self._budget, self._price = client, store, budget, price
        self._patience, self._progress, self._random = patience, progress, random
        self._commits = GroupCommit(store)
        self._settled = asyncio.Event()
        self._active: set[Call] = set()
        self._suspect: Call | None = None
        self._good = self._refused = 0
        self._prompt_share = 1.0  # tokens in that were counted, of those that were reserved

    async def obtain(self, call: Call) -> Answer:
        """Attempt until there is an answer, good or bad; raises `RunError` where none can be had."""
        self._active.add(call)
        try:
            while isinstance(outcome := await self._once(call), float):
                await asyncio.sleep(outcome)
            return outcome
        finally:
            self._active.discard(call)
            self.circuit.left(call)

    async def _once(self, call: Call) -> Answer | float:
        """One attempt in its turn: the answer, or seconds to wait before the next."""
        tokens = round(call.tokens * self._prompt_share) + call.request.max_tokens if self.pace.limits_tokens else 0
        await self._admit(call, tokens)
        started, unused = self._now(), 0
        setback: Setback | None = None
        try:
            if not await self._reserve(call):
                return UNPAID
            answer = await self._attempt(call)
            unused = max(0, tokens - answer.usage.prompt - answer.usage.completion) if answer.usage.prompt else 0
        except Setback as error:
            setback = error
        finally:
            self.pace.done(unused)  # before the answer is kept: the next call's reservation shares its commit
        return await self._book(call, answer) if setback is None else await self._next(call, setback, started)

    async def _admit(self, call: Call, tokens: int) -> None:
        """Wait for the endpoint to be up and for the pace to allow a call, both at once."""
        while True:
            await self.circuit.admit(call)
            await self.pace.admit(tokens)
            if self.circuit.admits(call):
                return
            self.pace.done(tokens)

    async def _reserve(self, call: Call) -> bool:
        """Book the most that the call may cost. What is refused while others are in flight may fit once they are settled."""
        while not self._budget.exhausted:
            self._settled.clear()
            if await self._commits.write(lambda: self._budget.reserve(call.request, call.most), lambda made: self._take_back(call, made)):
                return True
            if not self._budget.exhausted:
                await self._settled.wait()
        self._settled.set()  # nobody settles any more: who waits here is to see that nothing is left
        return False

    def _take_back(self, call: Call, reserved: bool) -> None:
        if reserved:
            self._budget.release(call.request)

    async def _attempt(self, call: Call) -> Answer:
        """One attempt, whose reservation is ended where it brings no answer."""
        try:
            return await self._client.ask(call.request, self._heard)
        except Setback as setback:
            self._end(call, paid=setback.maybe_paid)
            raise
        except RunError:
            self._end(call, paid=False)
            raise
        except BaseException:
            self._end(call, paid=True)
            raise

    def _end(self, call: Call, *, paid: bool) -> None:
        if paid:
            self._budget.settle(call.request, None)
            self.usd += call.most or 0.0
        else:
            self._budget.release(call.request)
        self._settled.set()

    async def _book(self, call: Call, answer: Answer) -> Answer:
        """Keep a reply and book what it cost, in one commit."""
        usage = answer.usage
        if isinstance(answer, Failure) and answer.kind in ("bad_request", "too_long"):  # nothing was made, and nothing is billed
            self._end(call, paid=False)
        else:
            # An endpoint that counts no tokens is taken to have charged all that was reserved.
            cost = call.most if self._price is None or not usage.prompt else self._price.cost(usage)
            answer = replace(answer, cost_usd=cost)
            await self._commits.write(partial(self._keep, call, answer))
            self._settled.set()
            self.usd += cost or 0.0
            if call.tokens and usage.prompt:
                self._prompt_share += 0.05 * (usage.prompt / call.tokens - self._prompt_share)
        self.made += 1
        self.circuit.served()
        self.pace.served()
        self._see_refusals(call, answer)
        return answer

    def _keep(self, call: Call, answer: Answer) -> None:
        if isinstance(answer, Reply):
            self._store.keep(call.request, answer)
        self._budget.settle(call.request, answer.cost_usd)

    def _see_refusals(self, call: Call, answer: Answer) -> None:
        """Stop where an endpoint takes none of our requests: a million more will fare no better."""
        if not isinstance(answer, Failure) or answer.kind != "bad_request":
            self._good += 1
            return
        self._refused += 1
        if not self._good and self._refused >= SUSPICIOUS:
            raise RunError(f"{self._place(call)}: refuses every request ({answer.reason})", code="RK655")

    # Waiting ---------------------------------------------------------------------------------------------------------

    async def _next(self, call: Call, setback: Setback, started: float) -> Failure | float:
        """What follows a setback: seconds to wait before the next attempt, a failure for good, or the end of the run."""
        now = self._now()
        if not call.failed or (self.circuit.is_open and self.circuit.successes > call.served):
            call.failed, call.since, call.served = 0, started, self.circuit.successes
        call.failed += 1
        if setback.kind == "unknown_host" and not self.circuit.successes:
            raise RunError(f"{setback.reason}. Check `api_base`, and that this machine reaches the network", code="RK653")
        self._slow_down(setback, started, now)
        seconds = self._patience.delay(call.failed, setback.asked, self._random)
        if seconds is not None:
            return seconds
        if setback.asked is not None and setback.asked > self._patience.longest_asked:
            raise RunError(f"{self._place(call)}: asks to wait {setback.asked:.0f} s ({setback.reason}). {GO_ON}", code="RK650")
        if not (self.circuit.successes > call.served or await self._is_it_alone(call, setback)):
            raise RunError(
                f"{self._place(call)}: did not serve in {call.failed} attempts over {self._now() - call.since:.0f} s "
                f"(last: {setback.reason}). {GO_ON}",
                code="RK650",
            )
        if setback.kind == "limited":  # others get through: the limit is real, and its turn comes
            return self._random.uniform(0, self._patience.longest) + (setback.asked or 0.0)
        return Failure("unanswered", f"{call.failed} attempts failed while other requests were answered (last: {setback.reason})")

    async def _is_it_alone(self, call: Call, setback: Setback) -> bool:
        """Nobody was served while this call was tried in vain: whether that is its own fault, and not the endpoint's.

        Another call tells: it is served, or it is tried in vain as well. Where there is no other one, an endpoint that did
        serve, and answers this one with an error, is taken to be well.
        """
        if self._suspect is not None:
            return False
        self._suspect = call
        self.circuit.left(call)
        try:
            while self.circuit.successes == call.served:
                try:
                    async with asyncio.timeout(self._patience.longest if len(self._active) == 1 else None):
                        await self.circuit.change()
                except TimeoutError:
                    if len(self._active) == 1:
                        return setback.kind == "failed" and self.circuit.successes > 0
            return True
        finally:
            self._suspect = None

    def _slow_down(self, setback: Setback, started: float, now: float) -> None:
        if setback.kind == "limited" or setback.asked is not None:
            told = self.pace.resumes
            self.pace.limited(setback.asked, now)
            if setback.asked is not None and setback.asked >= LONG and told <= now:
                self._log("endpoint_waits", f"the endpoint asks to wait {setback.asked:.0f} s ({setback.reason})")
        if setback.timed_out:
            self.pace.crowded(started, now)
        if setback.kind != "limited" and self.circuit.failed():
            self._log("endpoint_down", f"{SUSPICIOUS} calls in a row failed; asking one at a time until one succeeds ({setback.reason})")

    def _log(self, event: str, message: str) -> None:
        if self._progress is not None:
            self._progress.log(event, message=message)
            self._progress.warn(message)

    def _heard(self, headers: Mapping[str, str]) -> None:
        self.pace.heard(headers, self._now())

    def _place(self, call: Call) -> str:
        return f"{call.request.model} at {self._client.endpoint.place(call.request.model)}"

    def _now(self) -> float:
        return asyncio.get_running_loop().time()
