"""The keys of bootstrap intervals, which every evaluator of our own has."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Resampling"]


class Resampling(BaseModel):
    """How intervals and p-values are computed."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, defer_build=True)

    bootstrap_samples: Annotated[int, Field(ge=100, le=1_000_000)] = 1000
    """Bootstrap samples for intervals and p-values.

    The smallest possible p-value is 1 / (bootstrap_samples + 1).
    """
    confidence_level: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    """The confidence level of the intervals."""
