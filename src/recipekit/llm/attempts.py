"""One request, until it is answered: paced, within the budget, and as often as patience lasts."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from random import Random
from typing import Literal

from recipekit.component.context import Progress
from recipekit.engines import RetryPolicy
from recipekit.errors import RunError
from recipekit.llm.budget import Budget
from recipekit.llm.calls import Failure, Reply
from recipekit.llm.circuit import SUSPICIOUS
from recipekit.llm.client import Client
from recipekit.llm.commits import GroupCommit
from recipekit.llm.pace import Pace
from recipekit.llm.prices import Price
from recipekit.llm.setbacks import Setback, wrong_credentials
from recipekit.llm.store import CallStore
from recipekit.llm.waiting import GO_ON, Call, Waiting

__all__ = ["UNPAID", "Answer", "Attempts", "Call"]

Answer = Reply | Failure

UNPAID = Failure("unpaid", "the budget is spent")
ENDLESS = 1000
"""Requests refused in a row after good ones: more than a few hostile queries bring (each with 100
pairs, 10 a call, and 5 votes: 50 calls and their 100 halves), and few to lose where a key is
blocked."""
SELDOM = 20
"""Requests found in the store for each refused one, beyond which the refused ones are the few that
an earlier run met as well.
"""


class Attempts:
    """Makes attempts at one endpoint, within one budget."""

    def __init__(
        self,
        client: Client,
        store: CallStore,
        budget: Budget,
        price: Price | None,
        pace: Pace,
        patience: RetryPolicy,
        progress: Progress | None,
        random: Random,
    ) -> None:
        self.made = 0
        """Calls that were answered, for good or bad."""
        self.usd = 0.0
        """What all attempts cost, as far as prices are known."""
        self.pace = pace
        self.ending = False
        """Whether nothing is tried again any more, because the run ends."""
        self.waiting = Waiting(client.endpoint, pace, patience, progress, random)
        self._circuit = self.waiting.circuit
        self._client, self._store, self._budget, self._price = client, store, budget, price
        self._commits = GroupCommit(store)
        self._settled = asyncio.Event()
        self._good = False  # whether any request was ever taken, in this run or an earlier one
        self._taken = False  # whether in this one
        self._refused = self._found = 0  # requests since then, sent and found
        self._prompt_share = 1.0  # tokens in that were counted, of those that were reserved

    async def obtain(self, call: Call) -> Answer:
        """Attempt until there is an answer, good or bad; raises `RunError` where none can be had."""
        self.waiting.active.add(call)
        try:
            while isinstance(outcome := await self._once(call), float):
                await asyncio.sleep(outcome)
                await self.waiting.take_turns(call)
            return outcome
        finally:
            self.waiting.active.discard(call)
            self.waiting.stalled.discard(call)
            self._circuit.left(call)

    def found(self) -> None:
        """A request was answered from the store: the endpoint takes such requests, and did serve.

        Whether it still does is not told.
        """
        self._good = True
        self.waiting.found += 1
        self._found += 1
        if self._found > SELDOM * self._refused:
            self._refused = self._found = 0

    async def _once(self, call: Call) -> Answer | float:
        """One attempt in its turn: the answer, or seconds to wait before the next."""
        tokens = (
            round(call.tokens * self._prompt_share) + call.request.max_tokens
            if self.pace.limits_tokens
            else 0
        )
        await self._admit(call, tokens)
        started, unused = self._now(), 0
        setback: Setback | None = None
        try:
            booked = await self._reserve(call)
            if booked is not True:
                unused = tokens
                return booked
            answer = await self._attempt(call)
            unused = (
                max(0, tokens - answer.usage.prompt - answer.usage.completion)
                if answer.usage.prompt
                else 0
            )
        except Setback as error:
            setback = error
        finally:
            self.pace.done(
                unused
            )  # before the answer is kept: the next call's reservation shares its commit
        if setback is None:
            answer = await self._book(call, answer)
            if not _empty(answer) or self.ending or (seconds := self.waiting.again(call)) is None:
                return answer
            call.sent = False
            return seconds
        call.sent = False
        if self.ending:
            raise setback
        return self.waiting.after(call, setback, started)

    async def _admit(self, call: Call, tokens: int) -> None:
        """Wait for the endpoint to be up and for the pace to allow a call, both at once."""
        while True:
            await self._circuit.admit(call)
            await self.pace.admit(tokens)
            if self._circuit.admits(call):
                return
            self.pace.done(tokens)

    async def _reserve(self, call: Call) -> Answer | Literal[True]:
        """Book the most that the call may cost; or, where it is not to be made, the answer in its
        place.

        What is refused while others are in flight may fit once they are settled.
        """
        while not self._budget.exhausted:
            self._settled.clear()
            booked = await self._commits.write(
                partial(self._found_or_booked, call), lambda booked: self._take_back(call, booked)
            )
            if booked is not False:
                if (
                    booked is not True
                ):  # nothing is left to be settled: whoever waited for this one is to look again
                    self._settled.set()
                return booked
            if not self._budget.exhausted:
                await self._settled.wait()
        self._settled.set()  # nobody settles any more: who waits here is to see that nothing is left
        return UNPAID

    def _found_or_booked(self, call: Call) -> Reply | bool:
        """The reply, if another process has paid for it since it was looked for, and else whether
        the call is booked.
        """
        reply = self._store.find(call.request.key)
        if reply is None:
            return self._budget.reserve(call.request, call.most)
        self.found()
        return reply

    def _take_back(self, call: Call, booked: Reply | bool) -> None:
        if booked is True:
            self._budget.release(call.request)

    async def _attempt(self, call: Call) -> Answer:
        """One attempt, whose reservation is ended where it brings no answer."""
        call.sent = True
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
        if isinstance(answer, Failure) and answer.kind in (
            "bad_request",
            "too_long",
        ):  # nothing was made, and nothing is billed
            self._end(call, paid=False)
        else:
            # An endpoint that counts no tokens is taken to have charged all that was reserved, but
            # not where it shut the door.
            cost = (
                0.0
                if _forbidden(answer)
                else call.most
                if self._price is None or not usage.prompt
                else self._price.cost(usage)
            )
            answer = replace(answer, cost_usd=cost)
            await self._commits.write(partial(self._keep, call, answer))
            self._settled.set()
            self.usd += cost or 0.0
            if call.tokens and usage.prompt:
                self._prompt_share += 0.05 * (usage.prompt / call.tokens - self._prompt_share)
        self.made += 1
        self.waiting.served()
        self._see_refusals(call, answer)
        return answer

    def _keep(self, call: Call, answer: Answer) -> None:
        if isinstance(answer, Reply):
            self._store.keep(call.request, answer)
        self._budget.settle(call.request, answer.cost_usd)

    def _see_refusals(self, call: Call, answer: Answer) -> None:
        """Stop where an endpoint takes none of our requests, or no more of them: a million will
        fare no better.
        """
        if not isinstance(answer, Failure) or not (
            answer.kind == "bad_request" or _forbidden(answer)
        ):
            self._good = self._taken = True
            self._refused = self._found = 0
            return
        self._refused += 1
        place = self.waiting.place(call)
        if self._refused < (ENDLESS if self._good else SUSPICIOUS):
            return
        if _forbidden(answer) and not self._taken:
            raise wrong_credentials(place, answer.reason)
        if self._good:
            raise RunError(
                f"{place}: refused {self._refused} requests in a row ({answer.reason}). {GO_ON}",
                code="RK655",
            )
        raise RunError(f"{place}: refuses every request ({answer.reason})", code="RK655")

    def _heard(self, headers: Mapping[str, str]) -> None:
        self.pace.heard(headers, self._now())

    def _now(self) -> float:
        return asyncio.get_running_loop().time()


def _empty(answer: Answer) -> bool:
    """Whether the model said nothing of use, which proves that it serves."""
    return isinstance(answer, Failure) and answer.kind == "unparsed"


def _forbidden(answer: Answer) -> bool:
    """Whether a gate before the model turned the request away (403), for what it says or for who
    sends it.
    """
    return isinstance(answer, Failure) and answer.status == 403
