"""Retrieval evaluation of several systems over the same held-out queries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from recipekit.component import Context, CrossEncoderName, EvaluatorSpec, Name
from recipekit.encoding.compression_keys import Compression
from recipekit.errors import DataError
from recipekit.evaluators.resampling import Resampling
from recipekit.recipe.metrics import MetricName, parse_metric

if TYPE_CHECKING:
    from recipekit.arrays import Rows
    from recipekit.component import EncoderSpec, Sizes
    from recipekit.dataset import Dataset
    from recipekit.evaluators.measure import RetrievalEvaluator

__all__ = ["RerankKeys", "RetrievalSpec"]


class RerankKeys(BaseModel):
    """A second stage: a cross-encoder orders the first passages that a system found."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, defer_build=True)

    encoder: CrossEncoderName
    """One of the recipe's encoders, a `cross_encoder`."""
    depth: Annotated[int, Field(ge=1, le=10_000)] = 100
    """Passages per query that it scores. Later passages follow in the first stage's order."""
    systems: tuple[str, ...] = ()
    """The first stages, by their names in the tables: `[bm25, trained]`. By default the last
    system: the trained encoder, if there is one."""


class RetrievalSpec(Resampling, EvaluatorSpec):
    """Rank the whole corpus for each query of a split, and compare systems by retrieval metrics.

    Metrics are nDCG, MAP, MRR, recall and precision with a cut-off, as trec_eval computes them.
    Each has a bootstrap interval. The last system (the trained encoder, if there is one) is tested
    against each of the others. Queries without a source positive are left out.
    """

    version: ClassVar[int] = 2

    source: Name | None = None
    """Measure on this data set of `evaluate.sources`; by default on the recipe's own."""
    split: Literal["train", "dev", "test"] = "test"
    """The split whose queries are searched.

    Use dev for decisions that depend on the results, and test for the final figures.
    """
    metrics: Annotated[tuple[MetricName, ...], Field(min_length=1)] = (
        "ndcg@10",
        "mrr@10",
        "recall@100",
    )
    """Metrics with their cut-offs, the main one first.

    The largest cut-off, or the depth of `rerank`, is the number of passages retrieved per query.
    """
    exclude_same_id: bool = False
    """Leave out a passage whose id equals the query's id.

    For corpora that contain the queries themselves, such as ArguAna and Quora.
    """
    exclude_own_text: bool = True
    """Leave out a passage with the query's own text, unless the pair is labelled.

    It would be the first hit of every encoder and is not an answer. BEIR and MTEB leave out only
    equal ids (`exclude_same_id`): set this to false to repeat their figures on a corpus in which
    other passages have a query's text.
    """
    compression: tuple[Compression, ...] = ()
    """Measure the trained encoder's vectors compressed, too, or the untrained one's if there is no
    other: `[int8, binary, {pca: 128}, {dimensions: 128}, {pca: 128, precision: int8}]`. A table has
    each one's bytes and its loss against full vectors, with an interval."""
    rerank: RerankKeys | None = None
    """Measure a second stage, too: `{encoder: cross, depth: 100}`. A table has quality, time and
    cost of both stages."""
    bootstrap_samples: Annotated[int, Field(ge=100, le=1_000_000)] = 10_000
    """Bootstrap samples of the queries for intervals and p-values.

    The smallest possible p-value is 1 / (bootstrap_samples + 1).
    """

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [keys.name for keys in self.compression]
        repeated = next((name for name in names if names.count(name) > 1), None)
        if repeated is not None:
            raise ValueError(f"compression: '{repeated}' is listed twice")
        return self

    @property
    def depth(self) -> int:
        """The number of passages that the metrics read."""
        return max(parse_metric(name)[1] for name in self.metrics)

    @property
    def search_depth(self) -> int:
        """The number of passages retrieved per query."""
        return max(self.depth, self.rerank.depth if self.rerank else 0)

    @property
    def data_name(self) -> str | None:
        """The data set that it measures."""
        return self.source

    def queries(self, dataset: Dataset) -> Rows:
        """Rows of the split's queries that have a source positive.

        Raises:
            DataError: There are none.
        """
        from recipekit.evaluators.metrics import evaluated_queries

        return evaluated_queries(dataset, self.split)

    def distributions(self) -> set[str]:
        """Return scikit-learn if principal components are computed."""
        return {name for keys in self.compression for name in keys.distributions()}

    def measures_vectors(self) -> str | None:
        """Return `compression` if it lists any."""
        return "compression" if self.compression else None

    def refuses_encoder(self, encoder: EncoderSpec) -> tuple[str, str] | None:
        """Return which compression keeps more dimensions than an encoder's vectors have."""
        dimension = encoder.known_dimension()
        for keys in self.compression:
            kept = keys.pca or keys.dimensions
            if dimension is not None and kept is not None and kept > dimension:
                return (
                    "compression",
                    f"{keys.name} is more than the encoder's {dimension} dimensions",
                )
        return None

    def measured_queries(self, dataset: Dataset) -> Rows:
        """Return the queries that it measures."""
        return self.queries(dataset)

    def check(self, dataset: Dataset) -> None:
        """Make sure that the split has queries to evaluate, and the corpus passages enough."""
        if self.source is not None:
            return
        self.queries(dataset)
        n_passages = len(dataset.passages)
        for keys in self.compression:
            if keys.pca is not None and keys.pca > n_passages:
                raise DataError(
                    f"compression {{pca: {keys.pca}}} needs at least as many passages, and there "
                    f"are {n_passages:,}",
                    code="RK341",
                )

    def estimate(self, sizes: Sizes, pairs: int) -> dict[str, float | str]:
        """The pairs that the second stage scores."""
        if self.rerank is None:
            return {}
        queries = sizes.within((self.split,)).n_queries
        scored = queries * min(self.rerank.depth, sizes.passages)
        stages = max(1, len(self.rerank.systems))
        return {f"pairs for {self.rerank.encoder} to score at most": scored * stages}

    def build(self, context: Context) -> RetrievalEvaluator:
        """Make the evaluator; it writes rankings into the context's scratch folder."""
        from recipekit.evaluators.measure import RetrievalEvaluator

        return RetrievalEvaluator(self, context)
