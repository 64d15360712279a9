"""What follows a failed attempt: a wait, giving up on that one request, or the end of the run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random

from recipekit.component.context import Progress
from recipekit.engines import RetryPolicy
from recipekit.errors import RunError
from recipekit.llm.calls import Failure, Request
from recipekit.llm.circuit import SUSPICIOUS, Circuit
from recipekit.llm.endpoint import Endpoint
from recipekit.llm.pace import Pace
from recipekit.llm.setbacks import Setback

__all__ = ["GO_ON", "Call", "Waiting"]

GO_ON = "What was answered is kept: run the same command again to go on"
EMPTY = 2
"""Empty answers to one request that are taken for what the model says."""
MANY = 10
"""How many times as many calls must have been answered as are left, that these be given up."""
UNSENT = ("unreached", "unknown_host")
"""Setbacks that say nothing of the request."""
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
    sent: bool = False
    """Whether it is with the endpoint, or its answer is being kept."""
    refused: int = 0
    """Attempts so far that met a 429."""
    failed: int = 0
    """Attempts so far that failed otherwise."""
    empty: int = 0
    """Answers so far that were empty."""
    since: float = 0.0
    """When the first that was refused or failed began."""
    served: int = 0
    """Calls that the endpoint had served when the first one failed."""


class Waiting:
    """Decides, over all calls to one endpoint, what a failed one waits for.

    Another call tells whether an endpoint is down or takes one request ill. A call whose patience
    is over while others are served is given up as `unanswered`. Where none is served, it lets
    another one try:

    - An endpoint that never served is down once a second call was tried in vain, or there is no
      other one.
    - One that did serve is tried again, by one call after another, for as long as
      `RetryPolicy.outage`. Then the run ends, unless nothing else is left to ask: what is left may
      well be what fails (an earlier run gave it up, and finds all else in the store), and is given
      up where the endpoint does answer, if only with an error, or where it is but a few calls, or
      few beside those that were answered. The very last call is not tried for that long. What never
      reached the endpoint is not given up: it was not taken ill.

    A 429 is no failure: it ends a run when there was nothing else for `RetryPolicy.refusing`. Nor
    is an empty answer: who gives it serves.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        pace: Pace,
        patience: RetryPolicy,
        progress: Progress | None,
        random: Random,
    ) -> None:
        self.circuit = Circuit()
        self.active: set[Call] = set()
        """Calls that are not answered yet."""
        self.found = 0
        """Calls whose answers an earlier run kept, for which the endpoint did serve."""
        self.stalled: set[Call] = set()
        """Active calls that the endpoint may take ill.

        They are to hold up no others, which are asked beside them.
        """
        self.on_stall: Callable[[], None] = lambda: None
        """Called when there is one more."""
        self.drained = False
        """Whether nothing but the active calls is left to ask, as far as is known."""
        self._endpoint, self._pace, self._patience, self._progress, self._random = (
            endpoint,
            pace,
            patience,
            progress,
            random,
        )
        self._suspect: Call | None = (
            None  # whose patience was over first since the endpoint last served
        )
        self._given_up = 0  # calls since then
        self._told_limited = False
        self._served_at = self._failed_at = self._down_at = 0.0

    def served(self) -> None:
        """The endpoint answered a call."""
        self.circuit.served()
        self._pace.served()
        self._suspect, self._given_up, self._served_at = None, 0, self._now()

    @property
    def _served_before(self) -> bool:
        return self.found + self.circuit.successes > 0

    async def take_turns(self, call: Call) -> None:
        """In an outage, the calls try in turn: the first of them may be taken ill when the endpoint
        is well again.
        """
        if self._suspect is not None and self._served_before:
            await self.circuit.pass_on(call)

    def again(self, call: Call) -> float | None:
        """Seconds after which a call whose answer was empty is tried again.

        None where that would change nothing.
        """
        call.empty += 1
        return None if call.empty >= EMPTY else self._patience.wait(call.empty, None, self._random)

    def after(self, call: Call, setback: Setback, started: float) -> Failure | float:
        """What follows a setback: seconds to wait before the next attempt, a failure for good, or,
        raised, the end of the run.
        """
        now = self._now()
        if setback.kind == "unknown_host" and not self.circuit.successes:
            raise RunError(
                f"{setback.reason}. Check `api_base`, and that this machine reaches the network",
                code="RK653",
            )
        if setback.asked is not None and setback.asked > self._patience.longest_asked:
            raise RunError(
                f"{self.place(call)}: asks to wait {setback.asked:.0f} s ({setback.reason}). {GO_ON}",
                code="RK650",
            )
        # An error status may be for the request itself, which another outage does not excuse; what
        # was never sent is not to blame.
        excused = setback.kind in UNSENT or (setback.kind != "failed" and self.circuit.is_open)
        if not call.failed or (excused and self.circuit.successes > call.served):
            call.failed, call.served = 0, self.circuit.successes
            call.since = call.since if call.refused else started
        self._slow_down(setback, started, now)
        self._failed_at = self._failed_at if setback.kind == "limited" else now
        return (
            self._refused(call, setback, now)
            if setback.kind == "limited"
            else self._failed(call, setback, now)
        )

    def place(self, call: Call) -> str:
        """The model and where it is, for a message."""
        return f"{call.request.model} at {self._endpoint.place(call.request.model)}"

    def _refused(self, call: Call, setback: Setback, now: float) -> float:
        call.refused += 1
        if call.refused >= SUSPICIOUS and not self._told_limited:
            self._told_limited = True
            self.info(
                "endpoint_limits",
                f"the endpoint refuses calls for their number, and is asked more slowly ({setback.reason})",
            )
        if call.refused < self._patience.attempts:
            return self._patience.wait(call.refused, setback.asked, self._random)
        if (
            seconds := now - max(call.since, self._served_at, self._failed_at)
        ) < self._patience.refusing:
            return self._any_wait(setback)
        raise self._over(call, f"refused everything for {seconds:.0f} s", setback)

    def _failed(self, call: Call, setback: Setback, now: float) -> Failure | float:
        call.failed += 1
        if setback.kind not in UNSENT:
            self.stalled.add(call)
            self.on_stall()
        over = call.failed >= self._patience.attempts
        if over and self.circuit.successes > call.served:
            return self._unanswered(call, setback)
        if over and not self._served_before:
            if self._suspect not in (None, call) or len(self.active) == 1:
                raise self._over(
                    call,
                    f"did not serve in {call.failed} attempts over {now - call.since:.0f} s",
                    setback,
                )
            self._suspected(call, setback, now)
        elif over or (self._suspect is not None and self._served_before):
            return self._outlast(call, setback, now)
        return self._patience.wait(call.failed, setback.asked, self._random)

    def _outlast(self, call: Call, setback: Setback, now: float) -> Failure | float:
        """Go on with an endpoint that did serve, and serves nobody now."""
        self._suspected(call, setback, now)
        seconds = now - self._down_at
        alone = (
            self.drained and setback.kind not in UNSENT
        )  # no others are to be had, which could tell more
        left = self._given_up + len(self.active)
        few = left < SUSPICIOUS
        last = len(self.active) == 1 and call.failed > self._patience.attempts
        over = seconds >= self._patience.outage and (
            few or setback.kind == "failed" or left * MANY <= self.circuit.successes + self.found
        )
        if alone and (over or (few and last)):
            self._given_up += 1
            return self._unanswered(call, setback)
        if seconds >= self._patience.outage:
            raise self._over(call, f"has not served for {seconds:.0f} s", setback)
        return self._any_wait(setback)

    def _suspected(self, call: Call, setback: Setback, now: float) -> None:
        """The first call whose patience is over makes room for another one at once."""
        if self._suspect is None:
            self._suspect = call
            self.circuit.left(call)
        if self.circuit.open():
            self._went_down(setback, now)

    def _any_wait(self, setback: Setback) -> float:
        return self._random.uniform(0, self._patience.longest) + (setback.asked or 0.0)

    def _unanswered(self, call: Call, setback: Setback) -> Failure:
        return Failure(
            "unanswered",
            f"{call.failed} attempts failed, while others were answered (last: {setback.reason})",
        )

    def _over(self, call: Call, what: str, setback: Setback) -> RunError:
        return RunError(
            f"{self.place(call)}: {what} (last: {setback.reason}). {GO_ON}", code="RK650"
        )

    def _slow_down(self, setback: Setback, started: float, now: float) -> None:
        if setback.kind == "limited" or setback.asked is not None:
            told = self._pace.resumes
            self._pace.limited(setback.asked, now)
            if setback.asked is not None and setback.asked >= LONG and told <= now:
                self.info(
                    "endpoint_waits",
                    f"the endpoint asks to wait {setback.asked:.0f} s ({setback.reason})",
                )
        if setback.timed_out:
            self._pace.crowded(started, now)
        if setback.kind != "limited" and self.circuit.failed():
            self._went_down(setback, now)

    def _went_down(self, setback: Setback, now: float) -> None:
        self._down_at = now
        until = ""
        if self._served_before:
            end = datetime.now().astimezone() + timedelta(seconds=self._patience.outage)
            until = f", until {end:%H:%M} at the latest"
        self.info(
            "endpoint_down",
            f"calls fail one after another; asking one at a time until one succeeds{until} ({setback.reason})",
        )

    def info(self, event: str, message: str) -> None:
        """Say it to the person, and in the log."""
        if self._progress is not None:
            self._progress.log(event, message=message)
            self._progress.warn(message)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()
