"""What is asked of a language model and what comes back, as values."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from recipekit.artifacts.key import canonical

__all__ = ["Failure", "Reply", "Request", "TokenChance", "Usage"]


@dataclass(frozen=True)
class Request:
    """One chat completion.

    Everything in it decides the answer, and so everything is part of its key.
    """

    model: str
    """As litellm names it: `openai/gpt-5-nano`, `hosted_vllm/...`."""
    messages: tuple[Mapping[str, str], ...]
    """`{"role": ..., "content": ...}`, in order."""
    sampling: Mapping[str, Any] = field(default_factory=dict)
    """What litellm takes beside.

    `max_tokens`, `temperature`, `seed`, `logprobs`, `reasoning_effort`, `response_format` ...
    """
    sample: int = 0
    """Tells apart requests that ask the same thing again on purpose."""
    tag: Any = field(default=None, compare=False)
    """The caller's own mark, no part of the key."""

    @cached_property
    def key(self) -> str:
        """SHA-256 of the canonical JSON of everything that decides the answer."""
        asked = {
            "model": self.model,
            "messages": list(self.messages),
            "sampling": dict(self.sampling),
            "sample": self.sample,
        }
        return hashlib.sha256(canonical(asked).encode()).hexdigest()

    @property
    def max_tokens(self) -> int:
        """The most tokens that the answer may have; what a budget reserves for it."""
        return int(self.sampling["max_tokens"])


@dataclass(frozen=True)
class Usage:
    """Tokens of one call, as the endpoint counted them."""

    prompt: int = 0
    """Tokens in, cached ones included."""
    cached: int = 0
    """Of these, read from the endpoint's own prompt cache."""
    completion: int = 0
    """Tokens out, reasoning included."""
    reasoning: int = 0


@dataclass(frozen=True)
class TokenChance:
    """A token of the answer with its log-probability."""

    token: str
    logprob: float


@dataclass(frozen=True)
class Reply:
    """A whole, usable answer."""

    text: str
    model: str
    """The model's name as the endpoint returned it."""
    usage: Usage
    cost_usd: float | None
    """What the call cost when it was made; None where no price is known."""
    seconds: float
    """From sending to the last byte."""
    chances: Sequence[TokenChance] | None = None
    """The answer's tokens with log-probabilities, where they were asked for and offered."""
    from_cache: bool = False
    """Whether it was paid for earlier."""


@dataclass(frozen=True)
class Failure:
    """No answer, for good: what is left when retrying does not help. Never cached."""

    kind: Literal[
        "refusal",
        "cut",
        "unparsed",
        "content_filter",
        "bad_request",
        "too_long",
        "unanswered",
        "unpaid",
    ]
    """`cut`: it ended at `max_tokens`; `unparsed`: it came whole, and empty, or the endpoint kept
    back what was no JSON; `too_long`: the prompt exceeds the model's context, the endpoint's
    largest request, or the account's tokens of a minute; `unanswered`: every attempt failed, while
    other requests were answered; `unpaid`: the budget is spent."""
    reason: str
    cost_usd: float | None = None
    """What the call cost all the same."""
    usage: Usage = field(default_factory=Usage)
    status: int | None = None
    """The HTTP status by which the endpoint declined the request.

    None where it answered, or none came.
    """
