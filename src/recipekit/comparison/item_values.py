"""Per-item values, measured here or published, and the rows that they give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from recipekit.evaluators.comparison_rows import comparison_rows
from recipekit.evaluators.item_statistics import statistic_of
from recipekit.evaluators.resampling import Resampling
from recipekit.evaluators.statistic_rows import sampled_metrics
from recipekit.tables import read_table

__all__ = ["ItemValues", "read_item_values", "rows_of_values", "without_differences"]

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ItemValues:
    """What `per_query.arrow` has of one system."""

    items: Sequence[int]
    """The numbers of the n queries or items of a file, ascending."""
    columns: Mapping[str, Values]
    """Metrics, or what metrics are computed from, (n,) each."""

    @property
    def metrics(self) -> Sequence[str]:
        """The metrics that the values decide."""
        return statistic_of(self.columns)[0]


def read_item_values(file: Path, system: str) -> ItemValues | None:
    """Return the values of a system from the file of an evaluator; None without any.

    Columns that lack a value of any item are left out.

    Raises:
        OSError: The file cannot be read.
        ArrowInvalid: It is damaged.
    """
    if not file.is_file():
        return None
    table = read_table(file)
    rows = table.filter(pc.equal(table["system"], system))
    found: dict[str, dict[int, float]] = {}
    columns = (rows[name].to_pylist() for name in ("metric", "query", "value"))
    for metric, query, value in zip(*columns, strict=True):
        found.setdefault(metric, {})[query] = value
    if not found:
        return None
    items = sorted(set().union(*found.values()))
    complete = {
        metric: np.array([values[item] for item in items], dtype=np.float64)
        for metric, values in found.items()
        if len(values) == len(items)
    }
    return ItemValues(items, complete) if complete else None


@dataclass(frozen=True)
class _Sampled:
    """The metrics of one system: observed, (M,), and in every bootstrap sample, (samples, M)."""

    metrics: Sequence[str]
    observed: Values
    samples: Values
    details: Mapping[str, Mapping[str, Any]]


def _sampled(values: ItemValues, samples: int, seed: int) -> _Sampled:
    metrics, statistic = statistic_of(values.columns)
    observed = statistic.of(np.ones((1, statistic.items)))[0]
    drawn = sampled_metrics([statistic], samples, seed)[:, 0]
    return _Sampled(metrics, observed, drawn, statistic.details)


def rows_of_values(
    spec: Resampling,
    values: Mapping[str, ItemValues],
    metrics: Sequence[str],
    reference: str,
    seed: int,
    shared: Mapping[str, Any],
) -> list[dict[str, Any]]:
    """Return rows of systems whose values of the same items are known, as evaluators do.

    Args:
        spec: How intervals are computed.
        values: The values of every item, by system; systems may lack metrics.
        metrics: The metrics that are wanted.
        reference: The system that is tested against the others.
        seed: Seed of the bootstrap, which draws the same items for all systems.
        shared: Keys that all rows have, such as `split`.
    """
    known = {name: _sampled(own, spec.bootstrap_samples, seed) for name, own in values.items()}
    counted = {**shared, "queries": len(next(iter(values.values())).items)} if values else {}
    rows: list[dict[str, Any]] = []
    for metric in metrics:
        having = {name: own for name, own in known.items() if metric in own.metrics}
        if not having:
            continue
        systems = sorted(having, key=lambda name: name == reference)
        places = [having[name].metrics.index(metric) for name in systems]
        observed = [having[n].observed[m] for n, m in zip(systems, places, strict=True)]
        samples = [having[n].samples[:, m] for n, m in zip(systems, places, strict=True)]
        table, drawn = np.array(observed)[:, None], np.stack(samples, axis=1)[:, :, None]
        found = comparison_rows(spec, systems, [metric], table, drawn, counted)
        for row in found:
            row.update(having[row["system"]].details.get(metric, {}))
        # Without the reference, no difference is tested.
        rows += found if systems[-1] == reference else without_differences(found)
    return rows


def without_differences(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return rows without what a system is tested against."""
    return [{key: value for key, value in row.items() if key != "differences"} for row in rows]
