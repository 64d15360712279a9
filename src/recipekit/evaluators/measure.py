"""Measure systems and their variants on the queries of a split, and test the differences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, cast

import numpy as np
import numpy.typing as npt

from recipekit.arrays import Rows
from recipekit.component import Context, CrossEncoder, Efficiency, Hits, System
from recipekit.errors import RunError
from recipekit.evaluators.comparison_rows import comparison_rows, variant_rows
from recipekit.evaluators.metrics import per_query_metrics
from recipekit.evaluators.rankings import Ranking, write_rankings
from recipekit.evaluators.retrieval import RetrievalSpec
from recipekit.evaluators.searches import Searches
from recipekit.evaluators.statistics import bootstrap_means
from recipekit.evaluators.variants import compressed_search, rerank
from recipekit.recipe.metrics import parse_metric

__all__ = ["RetrievalEvaluator"]

Values = npt.NDArray[np.float64]

RECALL_DEPTHS: Final = (1, 5, 10, 20, 50, 100)
"""Where recall is measured for the figure of the report, next to the depth of the search."""


class RetrievalEvaluator:
    """Measures systems on one split.

    Writes `per_query.arrow`, `top.arrow`, `efficiency.json` and `recall_by_depth.json` into the
    context's folder.
    """

    def __init__(self, spec: RetrievalSpec, context: Context) -> None:
        self.spec, self.context, self.dataset = spec, context, context.dataset

    def evaluate(self, systems: Sequence[System]) -> Sequence[Mapping[str, Any]]:
        """Measure the systems on the split's queries.

        Returns:
            Rows `{split, system, metric, value, low, high, queries, confidence_level,
            bootstrap_samples}` by system, then by metric. Rows of the last system also have
            `differences`: {other system: {difference, low, high, p_value, p_adjusted}}, where
            difference is last minus other, and p_adjusted is Holm's over all differences of this
            evaluator. Rows of variants follow, with `variant_of`, `variant` (`compression` or
            `rerank`), and the difference to the system that they are variants of.

        Raises:
            DataError: No query of the split has a positive.
            RunError: Nothing can be compressed or reranked as the recipe asks.
        """
        queries = self.spec.queries(self.dataset)
        searches = Searches(self.spec, self.dataset, queries, self.context.progress)
        rankings = [self._ranked(system, searches) for system in systems]
        variants = [
            *self._compressed(systems, searches),
            *self._reranked(rankings, queries),
        ]
        write_rankings(
            self.context.scratch, self.dataset, queries, self.spec.metrics, rankings + variants
        )
        return self._rows(rankings, variants)

    # Rankings
    # ---------------------------------------------------------------------------------------------

    def _ranked(self, system: System, searches: Searches) -> Ranking:
        hits, seconds = searches.run(system.name, system.retriever())
        queries = searches.queries
        efficiency = replace(
            system.efficiency, search_ms_per_query=round(1000 * seconds / len(queries), 4)
        )
        depths = [depth for depth in RECALL_DEPTHS if depth < searches.depth]
        recalls = [f"recall@{depth}" for depth in (*depths, searches.depth)]
        found = self._metrics(hits, queries, [*self.spec.metrics, *recalls])
        return Ranking(
            system.name,
            hits,
            np.stack([found[name] for name in self.spec.metrics], axis=1),
            efficiency,
            recall={parse_metric(name)[1]: float(found[name].mean()) for name in recalls},
        )

    def _compressed(self, systems: Sequence[System], searches: Searches) -> Iterator[Ranking]:
        """Measure the compressed vectors of the last system that has vectors."""
        if not self.spec.compression:
            return
        base = next((one for one in reversed(systems) if one.vectors is not None), None)
        if base is None:
            raise RunError(
                "compression: there are no vectors to compress: no encoder is measured",
                code="RK648",
            )
        for keys in self.spec.compression:
            retriever, efficiency = compressed_search(base, keys, self.context.ranks.device)
            name = f"{base.name} {keys.name}"
            hits, _ = searches.run(name, retriever)
            yield Ranking(
                name,
                hits,
                self._values(hits, searches.queries),
                efficiency,
                variant_of=base.name,
                variant="compression",
            )

    def _reranked(self, rankings: Sequence[Ranking], queries: Rows) -> Iterator[Ranking]:
        """Measure the second stage after each of the systems that the recipe names."""
        keys = self.spec.rerank
        if keys is None:
            return
        by_name = {ranking.system: ranking for ranking in rankings}
        scorer = cast(CrossEncoder, self.context.encoder(keys.encoder))
        for name in keys.systems or [rankings[-1].system]:
            if name not in by_name:
                raise RunError(
                    f"rerank.systems: '{name}' was not measured (there are: {', '.join(by_name)})",
                    code="RK640",
                )
            found = rerank(
                name,
                by_name[name].hits,
                keys.depth,
                scorer,
                self.dataset,
                queries,
                self.context.progress,
            )
            device, precision = scorer.device_name, scorer.arithmetic
            yield Ranking(
                f"{name} + {keys.encoder}",
                found.hits,
                self._values(found.hits, queries),
                Efficiency(parameters=scorer.parameters, device=device, precision=precision),
                variant_of=name,
                variant="rerank",
                costs={"depth": keys.depth, **found.costs(len(queries))},
            )

    def _values(self, hits: Hits, queries: Rows) -> Values:
        found = self._metrics(hits, queries, self.spec.metrics)
        return np.stack([found[name] for name in self.spec.metrics], axis=1)

    def _metrics(self, hits: Hits, queries: Rows, metrics: Sequence[str]) -> dict[str, Values]:
        return per_query_metrics(hits, queries, self.dataset.labels, metrics)

    # Rows
    # ---------------------------------------------------------------------------------------------

    def _rows(
        self, rankings: Sequence[Ranking], variants: Sequence[Ranking]
    ) -> list[dict[str, Any]]:
        spec, every = self.spec, [*rankings, *variants]
        shape = (len(every), len(spec.metrics))
        stacked = np.concatenate([ranking.values for ranking in every], axis=1)  # (queries, S * M)
        observed = stacked.mean(axis=0).reshape(shape)
        means = bootstrap_means(stacked, spec.bootstrap_samples, self.context.seed)
        means = means.reshape(-1, *shape)
        shared = {"split": spec.split, "queries": len(stacked)}
        names = [ranking.system for ranking in every]
        n = len(rankings)
        rows = comparison_rows(spec, names[:n], spec.metrics, observed[:n], means[:, :n], shared)
        for kind in ("compression", "rerank"):
            bases = {
                variant.system: variant.variant_of
                for variant in variants
                if variant.variant == kind and variant.variant_of is not None
            }
            keys = {**shared, "variant": kind}
            rows += variant_rows(spec, bases, names, spec.metrics, observed, means, keys)
        return rows
