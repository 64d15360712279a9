"""Evaluators of texts of their own: they embed the texts with each system's encoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

import numpy as np

from recipekit.component import Context, Embed, System
from recipekit.evaluators.item_statistics import Statistic
from recipekit.evaluators.per_query_file import write_per_query
from recipekit.evaluators.resampling import Resampling
from recipekit.evaluators.statistic_rows import statistic_rows

__all__ = ["TextEvaluator"]

Data = TypeVar("Data")


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
        items = next(iter(found.values())).items
        shared = {"split": "", "queries": items, "item": self.item}
        rows = statistic_rows(
            self.spec, found, self.metrics, self.context.seed, shared, main=self._main
        )
        if self._kept:
            values = {name: one.values for name, one in found.items() if one.values is not None}
            write_per_query(self.context.scratch, np.arange(items), self._kept, values)
        return rows
