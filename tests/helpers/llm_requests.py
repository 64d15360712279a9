"""Short requests, and what they cost at the test server."""

from __future__ import annotations

from typing import Any

from recipekit.llm.completion import Request
from recipekit.llm.pricing import TokenPrice

PRICE = TokenPrice(input=1.0, output=4.0, cached_input=0.1)
"""The prices of the test server's ledger."""


def ask(question: object, *, sample: int = 0, **parameters: Any) -> Request:
    """A request with one short message."""
    messages = ({"role": "user", "content": str(question)},)
    return Request("openai/test-model", messages, {"max_tokens": 40, **parameters}, sample)
