"""Evaluators of texts of their own: they embed the texts with each system's encoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from recipekit.arrays import Floats
from recipekit.component import Context, System
from recipekit.evaluators.comparison_rows import comparison_rows
from recipekit.evaluators.per_query_file import write_per_query
from recipekit.evaluators.resampling import Resampling
from recipekit.evaluators.statistics import bootstrap_counts
from recipekit.records import Side

__all__ = ["Embed", "Statistic", "TextEvaluator", "means"]

Data = TypeVar("Data")
Values = npt.NDArray[np.float64]
Embed = Callable[[Sequence[str], Side], Floats]
"""Embeds texts of a side, float32 (n, dim); all ranks call it together."""

SAMPLED_WEIGHTS = 500_000
"""Weights of bootstrap samples in one call of a statistic, which may keep several copies."""


@dataclass(frozen=True)
class Statistic:
    """The metrics of one system as a function of the items' weights."""

    items: int
    """How many items there are: pairs, triplets, sentences or queries."""
    of: Callable[[Values], Values]
    """Metrics (b, M) from weights (b, items)."""
    details: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Further keys of a metric's row, such as its threshold, by metric."""
    values: Values | None = None
    """What is known of each item, (items, K); None if it has no value of its own."""


def means(values: Values, details: Mapping[str, Mapping[str, Any]] | None = None) -> Statistic:
    """Return the statistic of metrics that are means over items.

    Args:
        values: Each item's metrics, (items, M).
        details: Further keys of a metric's row, by metric.
    """

    def of(weights: Values) -> Values:
        found: Values = weights @ values / weights.sum(axis=1, keepdims=True)
        return found

    return Statistic(len(values), of, details or {}, values)


class TextEvaluator(Generic[Data]):
    """Measures every system that has an encoder. All ranks call `evaluate` together."""

    def __init__(
        self,
        context: Context,
        spec: Resampling,
        *,
        metrics: Sequence[str],
        item: str,
        read: Callable[[], Data],
        measure: Callable[[Data, Embed], Statistic],
        main: int | None = None,
        kept: Sequence[str] = (),
    ) -> None:
        """Join the parts.

        Args:
            context: The ranks, the seed and progress.
            spec: How intervals are computed.
            metrics: The names of the metrics, the main one first.
            item: What is counted and resampled: pair, triplet, sentence or query.
            read: Reads the data.
            measure: Returns the statistic of one system.
            main: The number of metrics whose p-values are adjusted apart from those after them.
            kept: The names of the first columns of each item's values, which are written to
                `per_query.arrow`; none for a statistic without such values.
        """
        self.context, self.spec = context, spec
        self.metrics, self.item = metrics, item
        self._read, self._measure, self._main, self._kept = read, measure, main, kept

    def evaluate(self, systems: Sequence[System]) -> Sequence[Mapping[str, Any]]:
        """Embed the texts with every encoder, and return rows as `comparison_rows` does.

        Writes `per_query.arrow` into the context's folder if items have values of their own. Ranks
        other than the main one return no rows.
        """
        data = self._read()
        found = {
            system.name: self._measure(data, system.embed)
            for system in systems
            if system.embed is not None
        }
        if not self.context.ranks.is_main or not found:
            return []
        statistics = list(found.values())
        items = statistics[0].items
        observed = np.concatenate([one.of(np.ones((1, items))) for one in statistics])
        shared = {"split": "", "queries": items, "item": self.item}
        rows = comparison_rows(
            self.spec,
            list(found),
            self.metrics,
            observed,
            self._sampled(statistics),
            shared,
            self._main,
        )
        for row in rows:
            row.update(found[row["system"]].details.get(row["metric"], {}))
        if self._kept:
            values = {name: one.values for name, one in found.items() if one.values is not None}
            write_per_query(self.context.scratch, np.arange(items), self._kept, values)
        return rows

    def _sampled(self, statistics: Sequence[Statistic]) -> Values:
        """Return the metrics of all systems in each bootstrap sample, (samples, S, M)."""
        items, samples = statistics[0].items, self.spec.bootstrap_samples
        step = max(1, SAMPLED_WEIGHTS // items)
        blocks = []
        for counts in bootstrap_counts(items, samples, self.context.seed):
            for start in range(0, len(counts), step):
                weights = counts[start : start + step].astype(np.float64)
                blocks.append(np.stack([one.of(weights) for one in statistics], axis=1))
        return np.concatenate(blocks)
