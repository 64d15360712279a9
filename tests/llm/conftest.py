"""Asking the real test server through litellm's real client."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from llm_requests import PRICE, ask

from recipekit.component.context import Spending
from recipekit.engines import RetryPolicy
from recipekit.llm.asking import Asker
from recipekit.llm.budget import Budget
from recipekit.llm.calls import Request
from recipekit.llm.client import Client, Endpoint
from recipekit.llm.store import CallStore
from recipekit.llm.tokens import counter
from recipekit.testing import RecordingProgress
from servers.openai_server import OpenAIServer, always, serving, text

QUICK = RetryPolicy(
    attempts=4, first=0.01, longest=0.02, longest_asked=5.0, refusing=0.1, outage=0.1
)


@pytest.fixture(scope="session", autouse=True)
def warm() -> None:
    """litellm's import and first call take seconds; the time-outs of these tests are shorter."""
    with serving(always(text("warm"))) as server, CallStore(None) as store:
        asker = Asker(
            Client(Endpoint(f"{server.url}/v1")),
            store,
            Budget(store, Spending()),
            None,
            lambda request: 1,
        )
        with asker:
            list(asker.answers([ask("warm")]))


@pytest.fixture
def at(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """`at(server, timeout=..., concurrency=..., max_cost_usd=...)`: an asker with what belongs to
    it, on the test's own store.
    """
    opened: list[Any] = []

    def open_asker(
        server: OpenAIServer | str,
        *,
        spending: Mapping[str, Any] | None = None,
        timeout: float = 10.0,
        api_key: str | None = None,
        priced: bool = True,
        **options: Any,
    ) -> SimpleNamespace:
        url = server if isinstance(server, str) else f"{server.url}/v1"
        store = CallStore(tmp_path / "calls.sqlite")
        budget = Budget(store, Spending("test", **(spending or {})))
        progress = RecordingProgress()
        client = Client(Endpoint(url, api_key, timeout))
        count = counter("openai/gpt-4o").prompt_at_most
        options = {"patience": QUICK, "concurrency": 8, "progress": progress, **options}
        asker = Asker(client, store, budget, PRICE if priced else None, count, **options)
        opened.append((asker, store))

        def answers(requests: Iterable[Request | None]) -> dict[str, Any]:
            return {
                request.messages[0]["content"]: answer
                for request, answer in asker.answers(requests)
            }

        return SimpleNamespace(
            asker=asker,
            store=store,
            budget=budget,
            progress=progress,
            client=client,
            answers=answers,
        )

    yield open_asker
    for asker, store in opened:
        asker.close()
        store.close()
