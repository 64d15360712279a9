"""Clients of Elasticsearch and Qdrant: connections, indices with ownership tags, and searching."""

from __future__ import annotations

from recipekit.engines.retry import retry_after
from recipekit.engines.retry_policy import RetryPolicy

__all__ = ["RetryPolicy", "retry_after"]
