"""The expected size of the data, before it is collected."""

from __future__ import annotations

from typing import Any

from recipekit.component import Sizes
from recipekit.stages.collect.section import CollectSection
from recipekit.stages.estimate_inputs import EstimateInputs

__all__ = ["estimate", "expected_sizes"]


def expected_sizes(section: CollectSection, before: Sizes | None) -> Sizes | None:
    """Return the sizes that `collect.expected_size` states; None where the recipe lacks it."""
    expected = section.expected_size
    if expected is None:
        return None
    queries = {str(split): count for split, count in expected.queries.items()}
    return Sizes.foreseen(
        queries,
        expected.passages,
        query_characters=expected.query_characters,
        passage_characters=expected.passage_characters,
        positives_per_query=expected.positives_per_query,
        dimension=expected.dimension,
    )


def estimate(inputs: EstimateInputs, section: CollectSection) -> dict[str, Any]:
    """Return the expected numbers of queries and passages, and the bytes of their texts."""
    sizes = inputs.sizes
    texts = sizes.passages * sizes.passage_bytes + sizes.n_queries * sizes.query_bytes
    return {"queries": sizes.n_queries, "passages": sizes.passages, "bytes of text": texts}
