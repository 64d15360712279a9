"""Several retrievers as one: their rankings are fused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from recipekit.component import (
    Context,
    Hits,
    Name,
    QueryBatch,
    Retriever,
    RetrieverSpec,
    Sizes,
    Slot,
)

__all__ = ["HybridSpec"]


class HybridSpec(RetrieverSpec):
    """Search with several retrievers and fuse their rankings, such as BM25 and embeddings.

    Each retrieves its own `depth` of passages, or as many as are asked for if that is more.
    """

    retrievers: Annotated[dict[Name, Slot[RetrieverSpec]], Field(min_length=2)]
    """The retrievers, by names of your own."""
    fusion: Literal["rrf", "score"] = "rrf"
    """How to fuse the rankings: `rrf` sums weight / (60 + rank), and `score` sums the scores,
    scaled to 0..1 per query."""
    fusion_weights: dict[str, Annotated[float, Field(gt=0, allow_inf_nan=False)]] = Field(
        default={}
    )
    """Weights of retrievers in the fusion; 1 for a retriever that is not named."""

    @model_validator(mode="after")
    def _weights_have_retrievers(self) -> Self:
        for name in self.fusion_weights:
            if name not in self.retrievers:
                known = ", ".join(self.retrievers)
                raise ValueError(
                    f"fusion_weights: there is no retriever '{name}' (there are: {known})"
                )
        return self

    def estimate(self, sizes: Sizes, pairs: int) -> dict[str, float | str]:
        """The work of all retrievers together."""
        work: dict[str, float | str] = {}
        for slot in self.retrievers.values():
            for unit, figure in slot.spec.estimate(sizes, pairs).items():
                known = work.get(unit, 0.0)
                if isinstance(known, str) or isinstance(figure, str):
                    work[unit] = figure if isinstance(figure, str) else known
                else:
                    work[unit] = known + figure
        return work

    def build(self, context: Context) -> Retriever:
        """Build all of them, each with a folder of its own."""
        built = {name: slot.build(context) for name, slot in self.retrievers.items()}
        depths = {name: slot.spec.depth for name, slot in self.retrievers.items()}
        return _HybridRetriever(built, depths, self)


@dataclass(frozen=True)
class _HybridRetriever(Retriever):
    retrievers: Mapping[str, Retriever]
    depths: Mapping[str, int]
    spec: HybridSpec

    @property
    def counts(self) -> dict[str, Any]:
        """Those of the retrievers, by name."""
        found = {name: dict(retriever.counts) for name, retriever in self.retrievers.items()}
        return {name: counts for name, counts in found.items() if counts}

    @property
    def index_bytes(self) -> int | None:
        """Bytes of what all of them search on servers; None if one does not know."""
        sizes = [getattr(retriever, "index_bytes", 0) for retriever in self.retrievers.values()]
        known = [size for size in sizes if size is not None]
        return sum(known) if len(known) == len(sizes) else None

    @property
    def searches_on_all_ranks(self) -> bool:
        """Whether those of all of its retrievers do."""
        return all(retriever.searches_on_all_ranks for retriever in self.retrievers.values())

    def search(self, queries: QueryBatch, depth: int) -> Hits:
        """The passages of the highest fused score; the lower row first among equal ones."""
        import numpy as np

        from recipekit.arrays import positions_in_groups
        from recipekit.search.fusion import fuse

        hits = {
            name: retriever.search(queries, max(depth, self.depths[name]))
            for name, retriever in self.retrievers.items()
        }
        fused = fuse(hits, self.spec.fusion, self.spec.fusion_weights)
        place = positions_in_groups(fused.query)
        kept = place < depth
        rows = np.full((len(queries), depth), -1, np.int32)
        scores = np.full((len(queries), depth), -np.inf, np.float32)
        rows[fused.query[kept], place[kept]] = fused.passage[kept]
        scores[fused.query[kept], place[kept]] = fused.score[kept]
        return Hits(rows, scores)
