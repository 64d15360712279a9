"""What a call costs: the recipe's price, else litellm's."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, ClassVar, Protocol

from pydantic import BaseModel, ConfigDict, Field

from recipekit.llm.completion import Usage
from recipekit.llm.litellm_import import litellm

__all__ = ["Price", "TokenPrice", "model_facts", "price_of"]

MILLION = 1_000_000
PROMPT_STEP = 256
"""Worst cases are computed for prompt lengths rounded up to multiples of this many tokens."""
LOCAL = ("ollama", "ollama_chat")
"""Providers whose models litellm looks up by asking a local server."""

UsdPerMillion = Annotated[float, Field(ge=0, le=1_000_000, allow_inf_nan=False)]


class Price(Protocol):
    """The price of a model's calls in USD."""

    uses_reported_cost: ClassVar[bool]
    """Whether `cost` wants litellm's own figure, which takes CPU time to compute."""

    def cost(self, usage: Usage, reported: float | None = None) -> float:
        """The cost of one call; `reported` is litellm's own figure, if there is one."""

    def worst_case(self, prompt_tokens: int, max_tokens: int) -> float:
        """The largest cost of a call with at most so many tokens in and out."""


class TokenPrice(BaseModel):
    """What a model costs, where litellm does not know it or your contract differs."""

    uses_reported_cost: ClassVar[bool] = False
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    input: UsdPerMillion
    """USD per million input tokens."""
    output: UsdPerMillion
    """USD per million output tokens, reasoning included."""
    cached_input: UsdPerMillion | None = None
    """USD per million input tokens that the endpoint reads from its prompt cache; by default the
    same as `input`."""

    def cost(self, usage: Usage, reported: float | None = None) -> float:
        """(prompt - cached) · input + cached · cached_input + completion · output."""
        cached_input = self.input if self.cached_input is None else self.cached_input
        cached = min(usage.cached, usage.prompt)
        input_cost = (usage.prompt - cached) * self.input + cached * cached_input
        return (input_cost + usage.completion * self.output) / MILLION

    def worst_case(self, prompt_tokens: int, max_tokens: int) -> float:
        """See `Price`."""
        dearest_input = max(self.input, self.cached_input or 0.0)
        return (prompt_tokens * dearest_input + max_tokens * self.output) / MILLION


class LitellmPrice:
    """The price of a model in litellm's table, with its tiers, cache and reasoning prices."""

    uses_reported_cost: ClassVar[bool] = True

    def __init__(self, model: str) -> None:
        self.model = model
        self._worst_case = cache(self._compute_worst_case)

    def cost(self, usage: Usage, reported: float | None = None) -> float:
        """See `Price`."""
        if reported is not None:
            return reported
        types = litellm().types.utils
        counted = litellm().Usage(
            prompt_tokens=usage.prompt,
            completion_tokens=usage.completion,
            total_tokens=usage.prompt + usage.completion,
            prompt_tokens_details=types.PromptTokensDetailsWrapper(cached_tokens=usage.cached),
            completion_tokens_details=types.CompletionTokensDetailsWrapper(
                reasoning_tokens=usage.reasoning
            ),
        )
        return float(sum(litellm().cost_per_token(model=self.model, usage_object=counted)))

    def worst_case(self, prompt_tokens: int, max_tokens: int) -> float:
        """See `Price`. The prompt is rounded up, so that few distinct cases are computed."""
        return self._worst_case(-(-prompt_tokens // PROMPT_STEP) * PROMPT_STEP, max_tokens)

    def _compute_worst_case(self, prompt_tokens: int, max_tokens: int) -> float:
        return max(
            self.cost(Usage(prompt_tokens, cached, max_tokens, reasoning))
            for cached in (0, prompt_tokens)
            for reasoning in (0, max_tokens)
        )


def price_of(model: str, declared: TokenPrice | None = None) -> Price | None:
    """The price of a model, None if it is unknown.

    Args:
        model: As litellm names it, with or without the provider.
        declared: The recipe's own price, which takes precedence.
    """
    return declared if declared is not None else _litellm_price(model)


@cache
def _litellm_price(model: str) -> LitellmPrice | None:
    if not _can_look_up(model):
        return None
    price = LitellmPrice(model)
    try:
        price.cost(Usage(1000, 0, 1000, 0))
    except Exception:  # litellm raises plain exceptions for models that it does not know
        return None
    return price


@cache
def model_facts(model: str) -> Mapping[str, Any]:
    """What litellm's table says of a model, {} if it does not know the model.

    Among its keys are `supports_response_schema` and `supports_reasoning`.
    """
    if not _can_look_up(model):
        return {}
    try:
        info = litellm().get_model_info(model)
    except Exception:  # as above
        return {}
    facts: Mapping[str, Any] = litellm().model_cost.get(info["key"], {})
    return facts


def _can_look_up(model: str) -> bool:
    """Whether litellm finds the model in its table, without asking a server."""
    return model.partition("/")[0] not in LOCAL or model in litellm().model_cost
