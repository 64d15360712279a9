"""What `Retrieval` builds: search with a split's queries, measure, and test the differences."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from recipekit.arrays import Ints, Rows, pair_keys
from recipekit.component import Hits, Progress, QueryBatch, Retriever, System
from recipekit.dataset import Dataset
from recipekit.evaluators.metrics import per_query_metrics
from recipekit.evaluators.retrieval import RetrievalSpec
from recipekit.evaluators.statistics import (
    Estimate,
    bootstrap_means,
    difference_p_value,
    holm,
    percentile_interval,
)
from recipekit.tables import write_table

__all__ = ["PER_QUERY", "TOP", "RetrievalEvaluator"]

Values = npt.NDArray[np.float64]

PER_QUERY = pa.schema(
    [
        ("query", pa.int32()),
        ("system", pa.dictionary(pa.int16(), pa.string())),
        ("metric", pa.dictionary(pa.int16(), pa.string())),
        ("value", pa.float64()),
    ]
)
"""Each query's value of each metric by each system, so that differences can be tested later,
between runs too.
"""

TOP = pa.schema(
    [
        ("query", pa.int32()),
        ("system", pa.dictionary(pa.int16(), pa.string())),
        ("rank", pa.int32()),
        ("passage", pa.int32()),
        ("score", pa.float32()),
        ("positive", pa.bool_()),
    ]
)
"""The first passages of each ranking; `positive` marks the source's positives."""

TOP_DEPTH = 10
SEARCH_BLOCK = 512  # queries per search, so that progress is seen and texts are not all in memory


class RetrievalEvaluator:
    """Measures systems on one split. Writes `per_query.arrow` and `top.arrow` into `folder`."""

    def __init__(
        self, spec: RetrievalSpec, dataset: Dataset, folder: Path, progress: Progress, seed: int
    ) -> None:
        self.spec = spec
        self.dataset = dataset
        self.folder = folder
        self.progress = progress
        self.seed = seed

    def evaluate(self, systems: Sequence[System]) -> Sequence[Mapping[str, Any]]:
        """Rows `{split, system, metric, value, low, high, queries, confidence, resamples}` by
        system, then by metric.

        Rows of the last system also have `differences`: {other system: {difference, low, high,
        p_value, p_adjusted}}, where difference is last minus other, and p_adjusted is Holm's over
        all differences of this evaluator.

        Raises:
            DataError: No query of the split has a positive.
        """
        queries = self.spec.queries(self.dataset)
        tables: dict[str, Values] = {}
        names = [system.name for system in systems]
        tops = []
        for number, system in enumerate(systems):
            hits = self._search(system, queries)
            per_query = per_query_metrics(hits, queries, self.dataset.labels, self.spec.metrics)
            tables[system.name] = np.stack(
                [per_query[metric] for metric in self.spec.metrics], axis=1
            )
            tops.append(self._top(_repeated(names, number), queries, hits))
        write_table(self.folder / "top.arrow", TOP, tops)
        write_table(self.folder / "per_query.arrow", PER_QUERY, self._per_query(queries, tables))
        return self._rows(tables)

    def _search(self, system: System, queries: Rows) -> Hits:
        """The system's ranking for every query, (n, depth)."""
        retriever = system.retriever()
        depth, same = self.spec.depth, self._same_id(queries) if self.spec.exclude_same_id else None
        found = []
        with self.progress.track(f"search {system.name}", len(queries), "queries") as tracker:
            for start in range(0, len(queries), SEARCH_BLOCK):
                rows = queries[start : start + SEARCH_BLOCK]
                found.append(
                    self._search_block(
                        retriever,
                        rows,
                        depth,
                        None if same is None else same[start : start + SEARCH_BLOCK],
                    )
                )
                tracker.advance(len(rows))
        return Hits(
            np.concatenate([hits.rows for hits in found]),
            np.concatenate([hits.scores for hits in found]),
        )

    def _search_block(
        self, retriever: Retriever, rows: Rows, depth: int, same: Ints | None
    ) -> Hits:
        batch = QueryBatch(rows, self.dataset.queries.texts(rows))
        if same is None:
            return retriever.search(batch, depth)
        hits = retriever.search(batch, depth + 1)
        # A stable sort by "is the query itself" moves that passage last, where the cut takes it or
        # else the spare one.
        order = np.argsort(hits.rows == same[:, None], axis=1, kind="stable")[:, :depth]
        return Hits(
            np.take_along_axis(hits.rows, order, axis=1),
            np.take_along_axis(hits.scores, order, axis=1),
        )

    def _same_id(self, queries: Rows) -> Ints:
        """The passage with each query's own id, of the same source; -2 where there is none."""

        def names(table: pa.Table) -> pa.ChunkedArray:
            return pc.binary_join_element_wise(
                table["source"], table["id"], pa.scalar("\x00", pa.large_string())
            )

        wanted = names(self.dataset.queries.table.select(["source", "id"]).take(pa.array(queries)))
        position = pc.index_in(names(self.dataset.passages.table), value_set=wanted)
        passages = np.flatnonzero(pc.is_valid(position).to_numpy())
        same = np.full(len(queries), -2, dtype=np.int32)
        same[pc.drop_null(position).to_numpy()] = passages
        return same

    def _rows(self, tables: Mapping[str, Values]) -> list[dict[str, Any]]:
        metrics, names = self.spec.metrics, list(tables)
        stacked = np.concatenate(
            [tables[name] for name in names], axis=1
        )  # (queries, systems * metrics)
        observed = stacked.mean(axis=0).reshape(len(names), len(metrics))
        means = bootstrap_means(stacked, self.spec.resamples, self.seed).reshape(
            -1, len(names), len(metrics)
        )
        rows = []
        for (s, name), (m, metric) in product(enumerate(names), enumerate(metrics)):
            estimate = percentile_interval(observed[s, m], means[:, s, m], self.spec.confidence)
            row = {
                "split": self.spec.split,
                "system": name,
                "metric": metric,
                **vars(estimate),
                "queries": len(stacked),
            }
            rows.append(
                {**row, "confidence": self.spec.confidence, "resamples": self.spec.resamples}
            )
        for m, differences in enumerate(self._differences(names, observed, means)):
            rows[-len(metrics) + m]["differences"] = differences
        return rows

    def _differences(
        self, names: Sequence[str], observed: Values, means: Values
    ) -> Sequence[dict[str, dict[str, float]]]:
        """For each metric, the last system's difference to every other one."""
        pairs = list(product(range(len(self.spec.metrics)), range(len(names) - 1)))
        differences: list[tuple[Estimate, float]] = []
        for m, s in pairs:
            value, resampled = observed[-1, m] - observed[s, m], means[:, -1, m] - means[:, s, m]
            differences.append(
                (
                    percentile_interval(value, resampled, self.spec.confidence),
                    difference_p_value(value, resampled),
                )
            )
        adjusted = holm([p for _, p in differences])
        found: list[dict[str, dict[str, float]]] = (
            [{} for _ in self.spec.metrics] if len(names) > 1 else []
        )
        for (m, s), (estimate, p), p_adjusted in zip(pairs, differences, adjusted, strict=True):
            interval = {"difference": estimate.value, "low": estimate.low, "high": estimate.high}
            found[m][names[s]] = {**interval, "p_value": p, "p_adjusted": p_adjusted}
        return found

    def _top(self, system: Callable[[int], pa.Array], queries: Rows, hits: Hits) -> pa.RecordBatch:
        rows, scores = hits.rows[:, :TOP_DEPTH], hits.scores[:, :TOP_DEPTH]
        there = rows >= 0
        query = np.broadcast_to(queries[:, None], rows.shape)[there].astype(np.int32)
        rank = np.broadcast_to(np.arange(1, rows.shape[1] + 1, dtype=np.int32), rows.shape)[there]
        positives, count = self.dataset.positives, len(self.dataset.passages)
        keys = pair_keys(positives["query"].to_numpy(), positives["passage"].to_numpy(), count)
        given = np.isin(pair_keys(query, rows[there], count), keys)
        columns = [
            query,
            system(len(query)),
            rank,
            rows[there].astype(np.int32),
            scores[there].astype(np.float32),
            given,
        ]
        return pa.RecordBatch.from_arrays([pa.array(column) for column in columns], schema=TOP)

    def _per_query(self, queries: Rows, tables: Mapping[str, Values]) -> Iterator[pa.RecordBatch]:
        query, metrics = pa.array(queries.astype(np.int32)), self.spec.metrics
        for (s, values), m in product(enumerate(tables.values()), range(len(metrics))):
            columns = [
                query,
                _repeated(list(tables), s)(len(query)),
                _repeated(metrics, m)(len(query)),
                pa.array(values[:, m]),
            ]
            yield pa.RecordBatch.from_arrays(columns, schema=PER_QUERY)


def _repeated(names: Sequence[str], number: int) -> Callable[[int], pa.Array]:
    """A column of one name, `count` times; all batches share the dictionary of all names, as an
    Arrow file wants it.
    """
    return lambda count: pa.DictionaryArray.from_arrays(
        pa.array(np.full(count, number, dtype=np.int16)), pa.array(names)
    )
