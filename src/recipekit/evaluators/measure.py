"""Search with the queries of a split, measure the rankings, and test the differences."""

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
from recipekit.component import Hits, Progress, QueryBatch, System
from recipekit.dataset import Dataset
from recipekit.evaluators.comparison_rows import comparison_rows
from recipekit.evaluators.metrics import per_query_metrics
from recipekit.evaluators.retrieval import RetrievalSpec
from recipekit.evaluators.statistics import bootstrap_means
from recipekit.own_texts import own_texts
from recipekit.query_pairs import QueryPairs
from recipekit.search.exclusion import most_excluded, without
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
"""Each query's value of each metric by each system, which allows paired tests between runs."""

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
"""The first passages of each ranking; `positive` marks source positives."""

TOP_DEPTH = 10
"""Passages of each ranking that `top.arrow` keeps."""
SEARCH_BLOCK = 512
"""Queries per search, so that not all texts are in memory and progress shows."""


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
        """Measure the systems on the split's queries.

        Returns:
            Rows `{split, system, metric, value, low, high, queries, confidence_level,
            bootstrap_samples}` by system, then by metric. Rows of the last system also have
            `differences`: {other system: {difference, low, high, p_value, p_adjusted}}, where
            difference is last minus other, and p_adjusted is Holm's over all differences of this
            evaluator.

        Raises:
            DataError: No query of the split has a positive.
        """
        queries = self.spec.queries(self.dataset)
        tables: dict[str, Values] = {}
        names = [system.name for system in systems]
        tops = []
        for number, system in enumerate(systems):
            hits = self._search(system, queries)
            values = per_query_metrics(hits, queries, self.dataset.labels, self.spec.metrics)
            tables[system.name] = np.stack([values[name] for name in self.spec.metrics], axis=1)
            tops.append(self._top(_repeated(names, number), queries, hits))
        write_table(self.folder / "top.arrow", TOP, tops)
        write_table(self.folder / "per_query.arrow", PER_QUERY, self._per_query(queries, tables))
        return self._rows(tables)

    def _search(self, system: System, queries: Rows) -> Hits:
        """The system's ranking for every query, (n, depth)."""
        retriever = system.retriever()
        excluded = self._excluded(queries)
        n_passages = len(self.dataset.passages)
        depth = min(self.spec.depth, n_passages)
        found = []
        with self.progress.track(f"search {system.name}", len(queries), "queries") as tracker:
            for start in range(0, len(queries), SEARCH_BLOCK):
                positions = np.arange(start, min(start + SEARCH_BLOCK, len(queries)))
                rows = queries[positions]
                batch = QueryBatch(rows, self.dataset.queries.texts(rows))
                out = excluded.take(positions)
                deeper = min(depth + most_excluded(out), n_passages)
                found.append(without(retriever.search(batch, deeper), out, depth))
                tracker.advance(len(rows))
        return Hits(
            np.concatenate([hits.rows for hits in found]),
            np.concatenate([hits.scores for hits in found]),
        )

    def _excluded(self, queries: Rows) -> QueryPairs:
        """The passages to leave out of each ranking, by position in `queries`."""
        n, n_passages = len(queries), len(self.dataset.passages)
        keys = [np.empty(0, dtype=np.int64)]
        if self.spec.exclude_same_id:
            same = self._same_id(queries)
            has_one = np.flatnonzero(same >= 0)
            keys.append(pair_keys(has_one, same[has_one], n_passages))
        if self.spec.exclude_own_text:
            own = own_texts(self.dataset).take(queries)
            keys.append(pair_keys(own.query, own.passage, n_passages))
        pairs = np.unique(np.concatenate(keys))
        return QueryPairs.from_sorted(pairs // n_passages, pairs % n_passages, n)

    def _same_id(self, queries: Rows) -> Ints:
        """The passage with each query's own source and id, (n,); -2 if there is none."""
        table = self.dataset.queries.table.select(["source", "id"]).take(pa.array(queries))
        names = _qualified_ids(table)
        position = pc.index_in(_qualified_ids(self.dataset.passages.table), value_set=names)
        passages = np.flatnonzero(pc.is_valid(position).to_numpy())
        same = np.full(len(queries), -2, dtype=np.int32)
        same[pc.drop_null(position).to_numpy()] = passages
        return same

    def _rows(self, tables: Mapping[str, Values]) -> list[dict[str, Any]]:
        spec, names = self.spec, list(tables)
        shape = (len(names), len(spec.metrics))
        stacked = np.concatenate([tables[name] for name in names], axis=1)  # (queries, S * M)
        observed = stacked.mean(axis=0).reshape(shape)
        means = bootstrap_means(stacked, spec.bootstrap_samples, self.seed).reshape(-1, *shape)
        shared = {"split": spec.split, "queries": len(stacked)}
        return comparison_rows(spec, names, spec.metrics, observed, means, shared)

    def _top(self, system: _Column, queries: Rows, hits: Hits) -> pa.RecordBatch:
        rows, scores = hits.rows[:, :TOP_DEPTH], hits.scores[:, :TOP_DEPTH]
        exists = rows >= 0
        ranks = np.arange(1, rows.shape[1] + 1, dtype=np.int32)
        query = np.broadcast_to(queries[:, None], rows.shape)[exists].astype(np.int32)
        rank = np.broadcast_to(ranks, rows.shape)[exists]
        passage = rows[exists].astype(np.int32)
        positives, n_passages = self.dataset.positives, len(self.dataset.passages)
        known = pair_keys(
            positives["query"].to_numpy(), positives["passage"].to_numpy(), n_passages
        )
        positive = np.isin(pair_keys(query, passage, n_passages), known)
        score = scores[exists].astype(np.float32)
        columns = [query, system(len(query)), rank, passage, score, positive]
        return pa.RecordBatch.from_arrays([pa.array(column) for column in columns], schema=TOP)

    def _per_query(self, queries: Rows, tables: Mapping[str, Values]) -> Iterator[pa.RecordBatch]:
        query, metrics, systems = (
            pa.array(queries.astype(np.int32)),
            self.spec.metrics,
            list(tables),
        )
        for (s, values), m in product(enumerate(tables.values()), range(len(metrics))):
            system, metric = _repeated(systems, s), _repeated(metrics, m)
            columns = [query, system(len(query)), metric(len(query)), pa.array(values[:, m])]
            yield pa.RecordBatch.from_arrays(columns, schema=PER_QUERY)


def _qualified_ids(table: pa.Table) -> pa.ChunkedArray:
    """Source and id as one text, since ids are unique within their source."""
    separator = pa.scalar("\x00", pa.large_string())
    return pc.binary_join_element_wise(table["source"], table["id"], separator)


_Column = Callable[[int], pa.Array]
"""Makes a column of n equal values."""


def _repeated(names: Sequence[str], number: int) -> _Column:
    """A column of one name; its dictionary has all names, since an Arrow file has only one."""
    return lambda n: pa.DictionaryArray.from_arrays(
        pa.array(np.full(n, number, dtype=np.int16)), pa.array(names)
    )
