"""Talking to servers that may be busy, slow, or gone for a while."""

from __future__ import annotations

from recipekit.engines.retry import RetryPolicy, Transient, persist, retry_after

__all__ = ["RetryPolicy", "Transient", "persist", "retry_after"]
