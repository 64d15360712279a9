"""A chat completion as values: the request, and the reply or why there is none."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from recipekit.artifacts.key import canonical

__all__ = ["FailureKind", "Reply", "Request", "RequestFailed", "TokenLogprob", "Usage"]


@dataclass(frozen=True)
class Request:
    """One chat completion. Every field decides the reply, so every field is part of the key."""

    model: str
    """As litellm names it: `openai/gpt-5-nano`, `hosted_vllm/...`."""
    messages: tuple[Mapping[str, str], ...]
    """`{"role": ..., "content": ...}`, in order."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """Further arguments of litellm's `acompletion`: `max_tokens`, `temperature`, `seed`, ..."""
    sample: int = 0
    """Distinguishes requests that repeat the same question on purpose."""

    @cached_property
    def json(self) -> str:
        """The canonical JSON of all fields."""
        return canonical(
            {
                "model": self.model,
                "messages": list(self.messages),
                "parameters": dict(self.parameters),
                "sample": self.sample,
            }
        )

    @cached_property
    def key(self) -> str:
        """SHA-256 of the canonical JSON."""
        return hashlib.sha256(self.json.encode()).hexdigest()

    @property
    def max_tokens(self) -> int:
        """The largest number of tokens that the reply may have."""
        return int(self.parameters["max_tokens"])


@dataclass(frozen=True)
class Usage:
    """Tokens of one call, as the endpoint counted them."""

    prompt: int = 0
    """Input tokens, cached ones included."""
    cached: int = 0
    """Input tokens that the endpoint read from its prompt cache."""
    completion: int = 0
    """Output tokens, reasoning included."""
    reasoning: int = 0


@dataclass(frozen=True)
class TokenLogprob:
    """A token of a reply with its log-probability."""

    token: str
    logprob: float


@dataclass(frozen=True)
class Reply:
    """A complete reply."""

    text: str
    model: str
    """The model's name as the endpoint returned it."""
    usage: Usage
    cost_usd: float | None
    """What the call cost when it was made; None if no price is known."""
    seconds: float
    """From sending the request to the last byte."""
    logprobs: Sequence[TokenLogprob] | None = None
    """The reply's tokens, if log-probabilities were requested and returned."""
    from_cache: bool = False
    """Whether the reply was paid for earlier."""


FailureKind = Literal[
    "refusal",
    "content_filter",
    "cut",
    "empty",
    "too_long",
    "bad_request",
    "unanswered",
    "unpaid",
]


class RequestFailed(Exception):
    """A request has no usable reply, and retrying it unchanged does not help.

    Failures are never cached. `kind` is one of:

    - `refusal`: the model declined to answer.
    - `content_filter`: the endpoint's filter withheld the reply or rejected the request.
    - `cut`: the reply reached `max_tokens`.
    - `empty`: the reply has no text, or the endpoint withheld it because it was not JSON.
    - `too_long`: the prompt exceeds the model's context or the endpoint's largest request.
    - `bad_request`: the endpoint rejected the request for another reason.
    - `unanswered`: every attempt failed.
    - `unpaid`: the budget does not allow the call.
    """

    def __init__(
        self,
        kind: FailureKind,
        reason: str,
        *,
        usage: Usage | None = None,
        status: int | None = None,
    ) -> None:
        super().__init__(reason)
        self.kind: FailureKind = kind
        self.reason = reason
        self.usage = usage or Usage()
        self.status = status
        """The HTTP status that rejected the request; None if the endpoint answered."""
        self.cost_usd: float | None = None
        """What the call cost nevertheless."""

    @property
    def rejected(self) -> bool:
        """Whether the endpoint rejected the request, which it does not bill."""
        return self.kind in ("bad_request", "too_long") or self.status == 403
