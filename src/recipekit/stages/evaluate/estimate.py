"""The expected work of the evaluation."""

from __future__ import annotations

from typing import Any

from recipekit.component.method_errors import method_errors
from recipekit.errors import DataError
from recipekit.recipe.sections import TRAINED
from recipekit.recipe.slots import encoders_in
from recipekit.stages import trained_encoder
from recipekit.stages.estimate_inputs import EstimateInputs
from recipekit.stages.evaluate.measured import measured_count
from recipekit.stages.evaluate.section import EvaluateSection

__all__ = ["estimate"]


def estimate(inputs: EstimateInputs, section: EvaluateSection) -> dict[str, Any]:
    """Return the numbers of queries and passages, and the work of encoding them."""
    queries = _measured(inputs, section)
    return {
        "queries": inputs.sizes.n_queries if queries is None else queries,
        "passages": inputs.sizes.passages,
        **inputs.encoding(_encoders(inputs, section), queries),
        **_evaluators(inputs, section),
    }


def _encoders(inputs: EstimateInputs, section: EvaluateSection) -> list[str]:
    """Return the encoder of each set of vectors that is searched: by encoder and weights."""
    names = [name for slot in section.baselines.values() for name in encoders_in(slot.spec)]
    if section.untrained and section.encoder in (inputs.recipe.encoders or {}):
        names.append(section.encoder)
    if trained_encoder(inputs.recipe) is not None:
        names.append(TRAINED)
    return [section.encoder if name == TRAINED else name for name in dict.fromkeys(names)]


def _evaluators(inputs: EstimateInputs, section: EvaluateSection) -> dict[str, Any]:
    """Return the work of evaluators of the recipe's own data, such as scoring pairs."""
    found = {}
    for name, slot in section.evaluators.items():
        if slot.spec.data_name is None:
            with method_errors(slot.spec, "estimate"):
                found[name] = dict(slot.spec.estimate(inputs.sizes, 0))
    found = {name: work for name, work in found.items() if work}
    return {"evaluators": found} if found else {}


def _measured(inputs: EstimateInputs, section: EvaluateSection) -> int | None:
    """Count the queries that the evaluators search with; None for all, or before collect."""
    if inputs.dataset is None:
        return None
    try:
        return measured_count(section, inputs.dataset)
    except DataError:  # the run reports it when the data is checked
        return None
