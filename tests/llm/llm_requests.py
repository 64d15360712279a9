"""Short requests, and what they cost."""

from __future__ import annotations

from typing import Any

from recipekit.llm.calls import Request
from recipekit.llm.prices import Price

PRICE = Price(1e-6, 1e-7, 4e-6, 4e-6)
"""As the test server's ledger bills."""


def ask(question: object, *, tag: Any = None, sample: int = 0, **sampling: Any) -> Request:
    """A request with one short message."""
    return Request(
        "openai/test-model",
        ({"role": "user", "content": str(question)},),
        {"max_tokens": 40, **sampling},
        sample,
        tag,
    )
