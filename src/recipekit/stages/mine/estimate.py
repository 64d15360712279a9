"""The expected work of mining."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from recipekit.component.method_errors import method_errors
from recipekit.recipe.slots import encoders_in
from recipekit.stages.estimate_inputs import EstimateInputs
from recipekit.stages.mine.section import MineSection

__all__ = ["estimate", "most_candidates_per_query"]


def estimate(inputs: EstimateInputs, section: MineSection) -> dict[str, Any]:
    """Return the queries, the most candidates, and each retriever's own estimate."""
    mined = inputs.sizes.within(section.splits)
    queries = mined.n_queries
    specs = {name: slot.spec for name, slot in section.retrievers.items()}
    encoders = {name: encoders_in(spec) for name, spec in specs.items()}
    retrievers: dict[str, Any] = {}
    for name, spec in specs.items():
        sizes = replace(mined, dimension=inputs.dimension(next(iter(encoders[name]), None)))
        with method_errors(spec, "estimate"):
            work = dict(spec.estimate(sizes, queries * min(spec.depth, mined.passages)))
        if work:
            retrievers[name] = work
    return {
        "queries": inputs.sizes.n_queries,
        "passages": inputs.sizes.passages,
        "queries to mine": queries,
        "candidates at most": queries * most_candidates_per_query(section, mined.passages),
        **inputs.encoding(dict.fromkeys(name for names in encoders.values() for name in names)),
        **({"retrievers": retrievers} if retrievers else {}),
    }


def most_candidates_per_query(section: MineSection, passages: int) -> int:
    """Return the most candidates that mining keeps of a query, source positives not counted."""
    retrieved = min(passages, sum(slot.spec.depth for slot in section.retrievers.values()))
    return min(retrieved, section.candidates_per_query or retrieved)
