"""The expected work of the evaluation."""

from __future__ import annotations

from typing import Any

from recipekit.stages.estimate_inputs import EstimateInputs
from recipekit.stages.evaluate.section import EvaluateSection

__all__ = ["estimate"]


def estimate(inputs: EstimateInputs, section: EvaluateSection) -> dict[str, Any]:
    """Return the numbers of queries and passages, and the work of encoding them."""
    sizes = inputs.sizes
    counts = {"queries": sizes.n_queries, "passages": sizes.passages}
    return counts | inputs.encoding([section.encoder])
