"""Values of a chat completion that servers write in several ways: its text and its token counts."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, Final

from recipekit.llm.completion import Usage

__all__ = ["reply_text", "unread_response", "usage_of"]

TEXT_PARTS: Final = (None, "text", "output_text")
"""The types of content parts that are the reply. Others are reasoning, images or tool calls."""


def reply_text(content: Any) -> str:
    """The reply in a message's content: a string, or the joined text of a list of parts."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else [content]
    return "".join(map(_part_text, parts))


def usage_of(counted: Any) -> Usage:
    """The token counts of a response's `usage`; 0 for each that is missing or not a number."""
    prompt_details = _member(counted, "prompt_tokens_details")
    completion_details = _member(counted, "completion_tokens_details")
    return Usage(
        prompt=_count(_member(counted, "prompt_tokens")),
        cached=_count(_member(prompt_details, "cached_tokens")),
        completion=_count(_member(counted, "completion_tokens")),
        reasoning=_count(_member(completion_details, "reasoning_tokens")),
    )


def unread_response(record: Any) -> Any:
    """The response that litellm received but could not convert, with members as attributes.

    litellm rejects a response whose content is a list of parts, or whose `usage` has unusual
    values, although the reply is there.

    Args:
        record: The call's `call_record`.

    Returns:
        None if there is no response with a reply in it.
    """
    received = getattr(record, "model_call_details", {}).get("original_response")
    if not isinstance(received, str):
        return None
    try:
        response = json.loads(received, object_hook=lambda found: SimpleNamespace(**found))
        content = response.choices[0].message.content
    except (ValueError, AttributeError, TypeError, LookupError, RecursionError):
        return None
    return response if reply_text(content).strip() else None


def _part_text(part: Any) -> str:
    if isinstance(part, str):
        return part
    text = _member(part, "text") if _member(part, "type") in TEXT_PARTS else None
    return text if isinstance(text, str) else ""


def _member(holder: Any, name: str) -> Any:
    return holder.get(name) if isinstance(holder, Mapping) else getattr(holder, name, None)


def _count(value: Any) -> int:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return 0
    return math.ceil(number) if 0 < number < math.inf else 0
