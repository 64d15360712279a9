"""Calls to the real test server through litellm's real client."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from helpers.llm_requests import PRICE, ask
from recipekit.component.context import Account, Spending
from recipekit.llm.budget import Budget
from recipekit.llm.client import Client
from recipekit.llm.completion import Reply, Request, RequestFailed
from recipekit.llm.endpoint import Endpoint
from recipekit.llm.endpoint_health import FailurePolicy
from recipekit.llm.rate_limiter import RateLimiter
from recipekit.llm.reply_cache import ReplyCache
from recipekit.llm.token_counter import token_counter
from recipekit.testing import RecordingProgress
from servers.openai_server import OpenAIServer, always, serving, text

QUICK = FailurePolicy(max_attempts=4, max_consecutive_failures=20, restart_seconds=0.1)

Outcome = Reply | RequestFailed


class Calls:
    """A client on the test's own cache, and what belongs to it.

    `complete(requests)` makes all requests at once and returns the outcomes by question. The first
    error that ends a run is raised after the calls that were sent have been kept.
    """

    def __init__(self, make: Callable[[], Client], cache: ReplyCache, budget: Budget) -> None:
        self.make, self.cache, self.budget = make, cache, budget
        self.progress = RecordingProgress()
        self.client: Client
        self.finished: list[str] = []

    def complete(self, requests: Iterable[Request]) -> dict[str, Outcome]:
        return asyncio.run(self._complete(list(requests)))

    async def _complete(self, requests: list[Request]) -> dict[str, Outcome]:
        self.client = self.make()
        tasks = [asyncio.create_task(self._one(request)) for request in requests]
        try:
            outcomes = await asyncio.gather(*tasks)
        except BaseException:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.client.drain()
            raise
        finally:
            await self.client.aclose()
        questions = [request.messages[0]["content"] for request in requests]
        return dict(zip(questions, outcomes, strict=True))

    async def _one(self, request: Request) -> Outcome:
        try:
            outcome: Outcome = await self.client.complete(request)
        except RequestFailed as failure:
            outcome = failure
        self.finished.append(request.messages[0]["content"])
        return outcome


@pytest.fixture(scope="session", autouse=True)
def warm() -> None:
    """Make litellm's first call, which takes longer than these tests' time-outs."""
    with serving(always(text("warm"))) as server, ReplyCache(None) as cache:
        endpoint = Endpoint(f"{server.url}/v1")

        def make() -> Client:
            return Client(endpoint, cache, Budget(cache, Spending()), None, lambda request: 1)

        Calls(make, cache, Budget(cache, Spending())).complete([ask("warm")])


@pytest.fixture
def at(tmp_path: Path, short_waits: None) -> Callable[..., Any]:
    """`at(server, timeout=..., concurrency=..., spending=...)`: a client on the test's cache."""
    opened: list[ReplyCache] = []

    def open_client(
        server: OpenAIServer | str,
        *,
        spending: Mapping[str, Any] | None = None,
        timeout: float = 10.0,
        api_key: str | None = None,
        priced: bool = True,
        concurrency: int = 8,
        requests_per_minute: float | None = None,
        policy: FailurePolicy = QUICK,
    ) -> Calls:
        url = server if isinstance(server, str) else f"{server.url}/v1"
        cache = ReplyCache(tmp_path / "calls.sqlite")
        opened.append(cache)
        budget = Budget(cache, Spending((Account("test", **(spending or {})),)))

        def make() -> Client:
            return Client(
                Endpoint(url, api_key, timeout),
                cache,
                budget,
                PRICE if priced else None,
                token_counter("openai/gpt-4o").prompt_bound,
                limiter=RateLimiter(concurrency, requests_per_minute),
                policy=policy,
                progress=calls.progress,
            )

        calls = Calls(make, cache, budget)
        return calls

    yield open_client
    for cache in opened:
        cache.close()


@pytest.fixture
def response() -> Callable[..., Any]:
    """A chat completion as litellm returns it."""

    def make(content: str, completion_tokens: int) -> SimpleNamespace:
        message = SimpleNamespace(content=content)
        choice = SimpleNamespace(message=message, finish_reason="stop", logprobs=None)
        usage = SimpleNamespace(prompt_tokens=9, completion_tokens=completion_tokens)
        return SimpleNamespace(usage=usage, choices=[choice], model="m")

    return make
