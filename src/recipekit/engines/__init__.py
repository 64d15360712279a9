"""Clients of Elasticsearch and Qdrant: connections, indices with ownership tags, and searching."""

from __future__ import annotations

from recipekit.engines.retry import retry_after

__all__ = ["retry_after"]
