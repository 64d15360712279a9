"""The expected work of the export."""

from __future__ import annotations

from typing import Any

from recipekit.stages.estimate_inputs import EstimateInputs
from recipekit.stages.export.section import ExportSection

__all__ = ["estimate"]


def estimate(inputs: EstimateInputs, section: ExportSection) -> dict[str, Any]:
    """Return the numbers of queries and passages."""
    return {"queries": inputs.sizes.n_queries, "passages": inputs.sizes.passages}
