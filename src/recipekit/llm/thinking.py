"""Whether a model is told to think before it answers, by settings that go to the endpoint as they
are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["Thinking", "thinking_in"]

SWITCHES: Final = frozenset(
    {"thinking", "reasoning", "enable_thinking", "thinking_config", "thinkingconfig"}
)
"""Anthropic's, OpenRouter's, Qwen's and Gemini's names."""
BUDGETS: Final = frozenset({"budget_tokens", "thinking_budget", "thinkingbudget"})
OFF: Final = (False, None, 0, "disabled", "none", "off")


@dataclass(frozen=True)
class Thinking:
    """What settings say of it."""

    asked: bool | None = None
    """Whether the model is to think; None where nothing is said."""
    budget: int = 0
    """Tokens for thoughts that are named, 0 where none are."""


def thinking_in(settings: Any) -> Thinking:
    """What stands anywhere in nested settings.

    `{thinking: {type: enabled, budget_tokens: 4000}}`, `{reasoning: {effort: high}}`, ...
    """
    asked: bool | None = None
    budget = 0
    items = (
        settings.items()
        if isinstance(settings, Mapping)
        else enumerate(settings)
        if isinstance(settings, list)
        else ()
    )
    for name, value in items:
        word = str(name).lower()
        inner = thinking_in(value)
        if word in BUDGETS and isinstance(value, int):
            inner = Thinking(value not in OFF, max(value, 0))
        elif word in SWITCHES:
            inner = Thinking(not _is_off(value) and inner.asked is not False, inner.budget)
        asked = inner.asked if inner.asked is not None else asked
        budget = max(budget, inner.budget)
    return Thinking(asked, budget if asked else 0)


def _is_off(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(
            not isinstance(value[key], dict | list) and value[key] in OFF
            for key in ("type", "enabled", "effort")
            if key in value
        )
    return not isinstance(value, list) and value in OFF
