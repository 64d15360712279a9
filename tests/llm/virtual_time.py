"""An asker whose hours pass at once: its loop's clock jumps to the next timer, and a policy stands
for the endpoint.
"""

from __future__ import annotations

import asyncio
import selectors
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recipekit.component.context import Spending
from recipekit.errors import RunError
from recipekit.llm import asking
from recipekit.llm.budget import Budget
from recipekit.llm.calls import Failure, Reply, Request, Usage
from recipekit.llm.client import Client
from recipekit.llm.endpoint import Endpoint
from recipekit.llm.prices import Price
from recipekit.llm.store import CallStore
from recipekit.testing import RecordingProgress

Policy = Callable[[str, float], Awaitable[Reply | Failure]]
"""A question and the time at which it is asked, to its answer."""

GOOD = Reply("yes", "m", Usage(10, 0, 5, 0), None, 0.3)


class _Selector(selectors.SelectSelector):
    now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if not ready and timeout:
            self.now += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """Waits for nothing."""

    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.now


class Scripted(Client):
    """A client whose answers a policy gives."""

    def __init__(self, policy: Policy) -> None:
        super().__init__(Endpoint("http://endpoint/v1"))
        self.policy = policy
        self.times: list[float] = []

    async def ask(
        self, request: Request, heard: Callable[[Mapping[str, str]], None] = lambda headers: None
    ) -> Reply | Failure:
        now = asyncio.get_running_loop().time()
        self.times.append(now)
        return await self.policy(request.messages[0]["content"], now)


@dataclass
class Told:
    """What came of it."""

    answers: Counter[str] = field(default_factory=Counter)
    """How many were good (`ok`), from the store (`found`), or failed, by kind."""
    error: RunError | None = None
    seconds: float = 0.0
    times: list[float] = field(default_factory=list)
    """When each call was sent."""
    spent_usd: float = 0.0
    """In the ledger, which all runs with one store share."""
    warnings: list[str] = field(default_factory=list)


def asked(
    policy: Policy,
    requests: Iterable[Request],
    path: Path | None = None,
    price: Price | None = None,
    **options: Any,
) -> Told:
    """Ask all, with a store at a path.

    `asking._Loop` must be the virtual one: see the fixture `hours`.
    """
    client, told, progress = Scripted(policy), Told(), RecordingProgress()
    with CallStore(path) as store:
        budget = Budget(store, Spending("test"))
        with asking.Asker(
            client, store, budget, price, lambda request: 20, progress=progress, **options
        ) as asker:
            try:
                for _, answer in asker.answers(requests):
                    kind = (
                        answer.kind
                        if isinstance(answer, Failure)
                        else "found"
                        if answer.from_cache
                        else "ok"
                    )
                    told.answers[kind] += 1
            except RunError as error:
                told.error = error
            told.seconds = asker._loop.time()
        assert budget.reserved_usd == 0
        told.spent_usd = budget.spent_usd
    told.times, told.warnings = client.times, list(progress.warnings)
    return told
