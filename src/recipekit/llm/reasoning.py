"""Whether a model reasons before it answers, by request parameters or by default."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from recipekit.llm.pricing import model_facts

__all__ = ["ReasoningRequest", "reasons_by_default", "requested_reasoning"]

SWITCHES: Final = frozenset(
    {"thinking", "reasoning", "enable_thinking", "thinking_config", "thinkingconfig"}
)
"""Parameter names of Anthropic, OpenRouter, Qwen and Gemini, in lower case."""
BUDGETS: Final = frozenset({"budget_tokens", "thinking_budget", "thinkingbudget"})
OFF: Final = (False, None, 0, "disabled", "none", "off")
ON_REQUEST: Final = ("claude", "gemini-2.5-flash-lite")
"""Models that reason on request only, where litellm's table does not say so."""


@dataclass(frozen=True)
class ReasoningRequest:
    """What request parameters ask for."""

    enabled: bool | None = None
    """None if no parameter mentions reasoning."""
    budget: int = 0
    """Reasoning tokens that a parameter names, else 0."""


def requested_reasoning(parameters: Any) -> ReasoningRequest:
    """Find reasoning switches and token budgets anywhere in nested request parameters.

    Examples are `{thinking: {type: enabled, budget_tokens: 4000}}` and
    `{reasoning: {effort: high}}`.
    """
    switches: list[bool] = []
    budgets: list[int] = []
    for name, value in _items(parameters):
        if name in BUDGETS and isinstance(value, int):
            switches.append(value not in OFF)
            budgets.append(max(value, 0))
        elif name in SWITCHES:
            switches.append(not _is_off(value))
    if not switches:
        return ReasoningRequest()
    enabled = all(switches)
    return ReasoningRequest(enabled, max(budgets, default=0) if enabled else 0)


def reasons_by_default(model: str) -> bool:
    """Whether a model reasons if the request does not mention it, as far as litellm knows."""
    facts = model_facts(model)
    if facts.get("thinking_always_on") or facts.get("thinking_on_by_default"):
        return True
    if facts.get("default_reasoning_effort") == "none":
        return False
    on_request = any(name in model.lower() for name in ON_REQUEST)
    return bool(facts.get("supports_reasoning")) and not on_request


def _items(parameters: Any) -> Iterator[tuple[str, Any]]:
    """Every (lower-case name, value) of nested mappings and lists."""
    if isinstance(parameters, Mapping):
        for name, value in parameters.items():
            yield str(name).lower(), value
            yield from _items(value)
    elif isinstance(parameters, list):
        for value in parameters:
            yield from _items(value)


def _is_off(value: Any) -> bool:
    if isinstance(value, Mapping):
        states = [value[key] for key in ("type", "enabled", "effort") if key in value]
        return any(not isinstance(state, dict | list) and state in OFF for state in states)
    return not isinstance(value, list) and value in OFF
