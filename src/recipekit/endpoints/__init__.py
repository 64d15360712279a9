"""Talking to servers that may be busy, slow, or gone for a while."""

from __future__ import annotations

from recipekit.endpoints.patience import Patience, Transient, persist, retry_after

__all__ = ["Patience", "Transient", "persist", "retry_after"]
