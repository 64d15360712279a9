"""One attempt at one request, through litellm."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from recipekit.errors import RunError
from recipekit.llm.calls import Failure, Reply, Request, TokenChance, Usage
from recipekit.llm.endpoint import Endpoint
from recipekit.llm.environment import litellm
from recipekit.llm.prices import known_of
from recipekit.llm.setbacks import Setback, understood

__all__ = ["OWN_SERVERS", "Client", "Endpoint"]

OWN_SERVERS = ("openai", "hosted_vllm")
"""Providers, as litellm names them, that serve models of any name."""

Heard = Callable[[Mapping[str, str]], None]


class Client:
    """Asks an endpoint, once: retries are the caller's, who pays for them."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._connected = False

    async def ask(self, request: Request, heard: Heard = lambda headers: None) -> Reply | Failure:
        """Ask, and wait no longer than the endpoint's time-out for the whole answer.

        Args:
            request: What to ask.
            heard: Told the headers that came with an answer, good or bad.

        Returns:
            The reply without its cost, or why there is none for good.

        Raises:
            Setback: Another attempt may help.
            RunError: No request can succeed: wrong credentials, no such model, no credit.
        """
        litellm()  # its import takes seconds, which are not the endpoint's
        began = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(self.endpoint.timeout):
                response = await self._complete(request)
        except TimeoutError:
            reason = f"no whole answer in {self.endpoint.timeout:g} s"
            raise Setback(reason, "lost", maybe_paid=True, timed_out=True) from None
        except Exception as error:
            meaning = understood(error, self.endpoint, request.model)
            if isinstance(meaning, Failure):
                return meaning
            if isinstance(meaning, Setback):
                heard(meaning.headers)
            raise meaning from (None if isinstance(meaning, RunError) else error)
        heard(_headers(response))
        return self._read(request, response, asyncio.get_running_loop().time() - began)

    async def close(self) -> None:
        """Close the connections that litellm keeps for the running loop."""
        if not self._connected:
            return
        module = litellm()
        await module.close_litellm_async_clients()
        # They are remembered by the loop's id(), which a later loop may bear again.
        module.in_memory_llm_clients_cache.flush_cache()

    async def _complete(self, request: Request) -> Any:
        endpoint, self._connected = self.endpoint, True
        _make_known(request.model)
        given: dict[str, Any] = {
            "api_base": endpoint.api_base,
            "api_key": endpoint.key(request.model),
        }
        if endpoint.headers:
            given["extra_headers"] = dict(endpoint.headers)
        return await litellm().acompletion(
            model=request.model,
            messages=[dict(message) for message in request.messages],
            **request.sampling,
            **{name: value for name, value in given.items() if value is not None},
            timeout=endpoint.timeout,
            num_retries=0,
            max_retries=0,
            drop_params=True,
        )

    def _fills(self, request: Request, usage: Usage) -> bool:
        """Whether an answer has all the tokens that it may have, where litellm does not tell that
        it was cut (`ollama/`).
        """
        return request.model.startswith("ollama/") and usage.completion >= request.max_tokens

    def _read(self, request: Request, response: Any, seconds: float) -> Reply | Failure:
        usage = _usage(response)
        if not response.choices:
            raise Setback("an answer without choices", "lost", maybe_paid=True)
        choice = response.choices[0]
        message = choice.message
        refusal = getattr(message, "refusal", None) or (
            getattr(message, "provider_specific_fields", None) or {}
        ).get("refusal")
        if refusal:
            return Failure("refusal", self.endpoint.clean(str(refusal))[:300], usage=usage)
        if choice.finish_reason == "content_filter":
            return Failure(
                "content_filter", "the endpoint's content filter withheld the answer", usage=usage
            )
        if choice.finish_reason == "length" or self._fills(request, usage):
            return Failure(
                "cut",
                f"the answer did not end within {usage.completion or 'max_tokens'} tokens",
                usage=usage,
            )
        if not (message.content or "").strip():
            return Failure("unparsed", "an empty answer", usage=usage)
        return Reply(message.content, response.model or "", usage, None, seconds, _chances(choice))


@cache
def _make_known(model: str) -> None:
    """Enter a model of one's own server into litellm's table, once.

    litellm looks up every answer's price, and searches in vain, which takes a tenth of a call's
    processor time, where it does not know the model. The price entered there is never used: what a
    call costs is ours to say (`recipekit.llm.prices`).
    """
    provider = model.partition("/")[0]
    if provider in OWN_SERVERS and model not in litellm().model_cost and not known_of(model):
        told = {
            "litellm_provider": provider,
            "mode": "chat",
            "input_cost_per_token": 1e-6,
            "output_cost_per_token": 1e-6,
        }
        litellm().register_model({model: told})


def _usage(response: Any) -> Usage:
    counted = getattr(response, "usage", None)
    if counted is None:
        return Usage()
    cached = getattr(getattr(counted, "prompt_tokens_details", None), "cached_tokens", None)
    reasoning = getattr(
        getattr(counted, "completion_tokens_details", None), "reasoning_tokens", None
    )
    return Usage(
        counted.prompt_tokens or 0, cached or 0, counted.completion_tokens or 0, reasoning or 0
    )


def _chances(choice: Any) -> tuple[TokenChance, ...] | None:
    content = getattr(getattr(choice, "logprobs", None), "content", None)
    return (
        None if not content else tuple(TokenChance(piece.token, piece.logprob) for piece in content)
    )


def _headers(response: Any) -> Mapping[str, str]:
    hidden = getattr(response, "_hidden_params", None) or {}
    headers: Mapping[str, str] = hidden.get("headers") or hidden.get("additional_headers") or {}
    return headers
