"""The mine stage: per query, the best passages of every retriever, fused, and source positives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from recipekit.arrays import Bools, Ints, Rows, pair_keys, positions_in_groups
from recipekit.dataset import Dataset
from recipekit.errors import DataError
from recipekit.query_pairs import QueryPairs
from recipekit.search.fusion import Fused, cut, fuse
from recipekit.stages.inputs import StageInputs
from recipekit.stages.mine.retrieval import Retrieval
from recipekit.stages.mine.section import MineSection
from recipekit.tables import CANDIDATES, write_table

__all__ = ["mine"]

DEPTHS = (1, 5, 10, 20, 50, 100, 200, 500, 1000)
"""Depths at which recall is measured, up to the depth of the ranking."""


def mine(inputs: StageInputs, section: MineSection, out: Path) -> dict[str, Any]:
    """Write `out/candidates.arrow` (`CANDIDATES`) and return counts, recall and times.

    All ranks build the retrievers and share the queries of those that can search on all of them.
    Only the main rank searches with the others and writes; the other ranks return nothing.

    Raises:
        DataError: There is no query in the splits to mine.
        ComponentError: A retriever returned an invalid result.
    """
    assert inputs.dataset is not None
    rows = _query_rows(inputs.dataset, section)
    retrievers = {
        name: slot.spec.build(
            inputs.context(out / "scratch" / name, query_rows=rows, encodes_all=True)
        )
        for name, slot in section.retrievers.items()
    }
    depths = _depths(section, len(inputs.dataset.passages))
    summary: dict[str, Any] = {}
    if inputs.ranks.is_main:
        retrieval = Retrieval(inputs.dataset, retrievers, depths, inputs.ranks)
        summary = _Mining(inputs, section, retrieval, rows).write(out / "candidates.arrow")
        counted = {
            name: dict(counts)
            for name, retriever in retrievers.items()
            if (counts := retriever.counts)
        }
        summary |= {"engines": counted} if counted else {}
    elif any(retriever.searches_on_all_ranks for retriever in retrievers.values()):
        for _ in Retrieval(inputs.dataset, retrievers, depths, inputs.ranks).batches(rows):
            pass
    inputs.ranks.barrier()
    return summary


def _query_rows(dataset: Dataset, section: MineSection) -> Rows:
    rows = np.unique(
        np.concatenate([dataset.rows(split) for split in section.splits] or [np.empty(0, np.int64)])
    )
    if not len(rows):
        raise DataError(
            f"there is no query to mine in the splits {', '.join(section.splits)}",
            code="RK346",
        )
    return rows


class _Mining:
    """One pass over the queries, which writes candidates and collects figures."""

    def __init__(
        self, inputs: StageInputs, section: MineSection, retrieval: Retrieval, rows: Rows
    ) -> None:
        assert inputs.dataset is not None
        self.dataset, self.progress = inputs.dataset, inputs.progress
        self.section, self.retrieval, self.rows = section, retrieval, rows
        self.figures = _Figures(retrieval.depths, section.candidates_per_query)
        self.positives = QueryPairs.from_table(self.dataset.positives, len(self.dataset.queries))

    def write(self, path: Path) -> dict[str, Any]:
        """Retrieve, fuse and write, a batch of queries at a time."""
        names = list(self.retrieval.retrievers)
        columns = [(f"rank.{name}", pa.int32()) for name in names] + [
            (f"score.{name}", pa.float32()) for name in names
        ]
        schema = pa.schema([*CANDIDATES, *columns])
        candidates = write_table(path, schema, self._batches(schema))
        return self.figures.summary(candidates, self.retrieval)

    def _batches(self, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        with self.progress.track("mine", total=len(self.rows), unit="queries") as tracker:
            for rows, hits in self.retrieval.batches(self.rows):
                fused = fuse(hits, self.section.fusion, self.section.fusion_weights)
                query, at = self.positives.of(rows)
                passage = self.positives.passage[at]
                fused, positive = _with_positives(fused, query, passage, len(self.dataset.passages))
                self.figures.add(fused, positive, len(rows))
                kept = cut(fused, self.section.candidates_per_query, positive)
                yield _record_batch(fused.take(kept), positive[kept], rows, schema)
                tracker.advance(len(rows))


def _depths(section: MineSection, n_passages: int) -> dict[str, int]:
    """Return the depth of every retriever, which need not fill lists longer than the corpus."""
    return {name: min(slot.spec.depth, n_passages) for name, slot in section.retrievers.items()}


def _with_positives(
    fused: Fused, query: Rows, passage: Ints, n_passages: int
) -> tuple[Fused, Bools]:
    """Mark the source positives in a batch, and append those that no retriever found.

    Appended passages come last in their query.
    """
    wanted = pair_keys(query, passage, n_passages)
    keys = pair_keys(fused.query, fused.passage, n_passages)
    positive = np.isin(keys, wanted)
    missing = ~np.isin(wanted, keys)
    unranked, unscored = (
        np.zeros(missing.sum(), np.int32),
        np.full(missing.sum(), np.nan, np.float32),
    )
    whole = Fused(
        np.concatenate([fused.query, query[missing]]),
        np.concatenate([fused.passage, passage[missing]]),
        np.concatenate([fused.score, unscored]),
        {name: np.concatenate([ranks, unranked]) for name, ranks in fused.ranks.items()},
        {name: np.concatenate([scores, unscored]) for name, scores in fused.scores.items()},
    )
    order = np.argsort(whole.query, kind="stable")
    return whole.take(order), np.concatenate([positive, np.ones(len(unranked), bool)])[order]


def _record_batch(fused: Fused, positive: Bools, rows: Rows, schema: pa.Schema) -> pa.RecordBatch:
    arrays = [
        pa.array(rows[fused.query].astype(np.int32)),
        pa.array(fused.passage),
        pa.array(positive),
        pa.array(fused.score, mask=np.isnan(fused.score)),
        *(pa.array(ranks, mask=ranks == 0) for ranks in fused.ranks.values()),
        *(pa.array(scores, mask=fused.ranks[name] == 0) for name, scores in fused.scores.items()),
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


# Figures
# --------------------------------------------------------------------------------------------------


@dataclass
class _Recall:
    """Recall of the source positives at several depths, summed over queries."""

    depths: tuple[int, ...]
    sums: Any = 0.0

    @classmethod
    def to(cls, deepest: int) -> _Recall:
        return cls((*(depth for depth in DEPTHS if depth < deepest), deepest))

    def add(self, query: Rows, rank: Rows | Ints, n_queries: int) -> None:
        """Count pairs by query and rank (1-based, 0 for a pair that was not retrieved)."""
        share = 1 / np.bincount(query, minlength=n_queries)[query]
        self.sums = self.sums + np.array(
            [share[(rank > 0) & (rank <= depth)].sum() for depth in self.depths]
        )

    def mean(self, n_queries: int) -> dict[str, float]:
        """Return the recall by depth, over the queries that have a source positive."""
        return {
            str(depth): round(float(total) / n_queries, 4)
            for depth, total in zip(self.depths, self.sums, strict=True)
        }


class _Figures:
    """Counts, recall and overlap for the report."""

    def __init__(self, depths: Mapping[str, int], keep: int | None) -> None:
        self.nothing_found = dict.fromkeys(depths, 0)
        self.overlap = {(a, b): 0.0 for a, b in combinations(depths, 2)}
        self.recall = {name: _Recall.to(depth) for name, depth in depths.items()}
        self.fused = _Recall.to(min(sum(depths.values()), keep or sum(depths.values())))
        self.queries = self.with_positives = self.positives = self.retrieved = 0

    def add(self, fused: Fused, positive: Bools, n_queries: int) -> None:
        """Add a batch, before it is cut."""
        query = fused.query[positive]
        found = ~np.isnan(fused.score[positive])
        self.queries += n_queries
        self.positives += len(query)
        self.retrieved += int(found.sum())
        self.with_positives += len(np.unique(query))
        if len(query):
            self.fused.add(
                query, np.where(found, positions_in_groups(fused.query)[positive] + 1, 0), n_queries
            )
            for name, ranks in fused.ranks.items():
                self.recall[name].add(query, ranks[positive], n_queries)
        lists = {
            name: np.bincount(fused.query[ranks > 0], minlength=n_queries)
            for name, ranks in fused.ranks.items()
        }
        for name, sizes in lists.items():
            self.nothing_found[name] += int((sizes == 0).sum())
        for a, b in self.overlap:
            both = np.bincount(
                fused.query[(fused.ranks[a] > 0) & (fused.ranks[b] > 0)], minlength=n_queries
            )
            self.overlap[a, b] += float((both / np.maximum(1, lists[a] + lists[b] - both)).sum())

    def summary(self, candidates: int, retrieval: Retrieval) -> dict[str, Any]:
        """Return the figures as JSON values, with what retrieval has counted.

        Recall and overlap (shared passages over the union of two rankings) are means over queries.
        """
        recall: dict[str, Any] = {}
        if self.with_positives:
            recall = {
                "retrievers": {
                    name: part.mean(self.with_positives) for name, part in self.recall.items()
                },
                "fused": self.fused.mean(self.with_positives),
            }
        return {
            "queries": self.queries,
            "candidates": candidates,
            "candidates_per_query": round(candidates / self.queries, 2),
            "own_texts": retrieval.own_texts,
            "source_labels": {
                "pairs": self.positives,
                "queries": self.with_positives,
                "retrieved": self.retrieved,
            },
            "recall": recall,
            "overlap": {
                f"{a} & {b}": round(total / self.queries, 4)
                for (a, b), total in self.overlap.items()
            },
            "nothing_found": dict(self.nothing_found),
            "seconds": {name: round(seconds, 3) for name, seconds in retrieval.seconds.items()},
        }
