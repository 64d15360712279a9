"""One attempt at one request, through litellm."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from recipekit.errors import RunError
from recipekit.llm.call_record import call_record
from recipekit.llm.completion import Reply, Request, RequestFailed, TokenLogprob, Usage
from recipekit.llm.endpoint import Endpoint
from recipekit.llm.failures import RetryableError, classify, no_complete_reply
from recipekit.llm.litellm_import import litellm
from recipekit.llm.response_values import reply_text, unread_response, usage_of

__all__ = ["Answer", "call_litellm", "close_connections"]


@dataclass(frozen=True)
class Answer:
    """What the endpoint answered, and may bill."""

    outcome: Reply | RequestFailed
    """A reply, still without its cost, or why the answer is not one."""
    usage: Usage
    cost_usd: float | None
    """The cost as litellm computed it; None if it did not, or does not know the model's price."""
    headers: Mapping[str, str]


async def call_litellm(
    endpoint: Endpoint, request: Request, *, compute_cost: bool = False
) -> Answer:
    """Make a call, and wait for the whole answer for at most the endpoint's time-out.

    Args:
        endpoint: Where the model is served.
        request: What is requested.
        compute_cost: Whether litellm computes the call's cost.

    Raises:
        RequestFailed: The endpoint rejected this request.
        RetryableError: Another attempt may succeed.
        RunError: No request can succeed.
    """
    module = litellm()  # importing it takes seconds, which do not count towards the time-out
    optional = {"api_base": endpoint.api_base, "api_key": endpoint.key(request.model)}
    arguments: dict[str, Any] = {k: v for k, v in optional.items() if v is not None}
    if endpoint.headers:
        arguments["extra_headers"] = dict(endpoint.headers)
    record = call_record(request, compute_cost=compute_cost)
    loop = asyncio.get_running_loop()
    started = loop.time()
    try:
        async with asyncio.timeout(endpoint.timeout):
            response = await module.acompletion(
                model=request.model,
                messages=[dict(message) for message in request.messages],
                **request.parameters,
                **arguments,
                timeout=endpoint.timeout,
                num_retries=0,
                max_retries=0,
                drop_params=True,
                litellm_logging_obj=record,
            )
    except TimeoutError:
        raise no_complete_reply(endpoint) from None
    except Exception as error:
        response = unread_response(record)
        if response is None:
            meaning = classify(error, endpoint, request.model)
            raise meaning from (None if isinstance(meaning, RunError) else error)
    return _read(endpoint, request, response, loop.time() - started)


async def close_connections() -> None:
    """Close the connections that litellm keeps for the running loop."""
    await litellm().close_litellm_async_clients()
    # litellm identifies the loop by its id(), which a later loop may have again.
    litellm().in_memory_llm_clients_cache.flush_cache()


def _read(endpoint: Endpoint, request: Request, response: Any, seconds: float) -> Answer:
    if not response.choices:
        raise RetryableError("unreadable", "an answer without choices", maybe_billed=True)
    usage = usage_of(getattr(response, "usage", None))
    choice = response.choices[0]
    hidden = getattr(response, "_hidden_params", None) or {}
    headers = hidden.get("headers") or hidden.get("additional_headers") or {}
    text = reply_text(choice.message.content)
    outcome: Reply | RequestFailed | None = _failure(endpoint, request, choice, text, usage)
    if outcome is None:
        model = str(getattr(response, "model", None) or "")
        outcome = Reply(text, model, usage, None, seconds, _logprobs(choice))
    return Answer(outcome, usage, hidden.get("response_cost"), headers)


def _failure(
    endpoint: Endpoint, request: Request, choice: Any, text: str, usage: Usage
) -> RequestFailed | None:
    message = choice.message
    finish_reason = getattr(choice, "finish_reason", None)
    provider_fields = getattr(message, "provider_specific_fields", None) or {}
    refusal = getattr(message, "refusal", None) or provider_fields.get("refusal")
    if refusal:
        return RequestFailed("refusal", endpoint.mask_secrets(str(refusal))[:300], usage=usage)
    if finish_reason == "content_filter":
        reason = "the endpoint's content filter withheld the reply"
        return RequestFailed("content_filter", reason, usage=usage)
    # For Ollama, litellm does not report that a reply was cut.
    filled = request.model.startswith("ollama/") and usage.completion >= request.max_tokens
    if finish_reason == "length" or filled:
        reason = f"the reply did not end within {usage.completion or 'max_tokens'} tokens"
        return RequestFailed("cut", reason, usage=usage)
    if not text.strip():
        return RequestFailed("empty", "the reply is empty", usage=usage)
    return None


def _logprobs(choice: Any) -> tuple[TokenLogprob, ...] | None:
    content = getattr(getattr(choice, "logprobs", None), "content", None)
    if not content:
        return None
    try:
        return tuple(TokenLogprob(str(piece.token), float(piece.logprob)) for piece in content)
    except (AttributeError, TypeError, ValueError):
        return None
