"""The pairs that are judged, and what was said of each: arrays sorted by (query, passage), about 35 bytes a pair.

The order of the arrays is the order of `judgments.arrow`, so that it is written in one pass; a judge sees the pairs of a query in
the order of the candidates, best first, and may answer in any order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recipekit.component import JudgeSpec, PairBatch, Verdicts
from recipekit.errors import ComponentError
from recipekit.records import JUDGMENTS, Bools, Dataset, Floats, Ints, Rows, Verdict, pair_keys

__all__ = ["GIVEN", "Pairs", "load_pairs"]

GIVEN = 0
"""The judge's code of what the sources gave; the recipe's judges are 1, 2, ... in their order."""

PAIRS_PER_BATCH = 4096
ROWS_PER_WRITE = 1 << 16


@dataclass
class Pairs:
    """Every candidate, and every given label of the mined queries."""

    keys: Rows
    """`pair_keys`, ascending."""
    query: Ints
    passage: Ints
    rank: Ints
    """Place among the query's candidates, from 1; 0 for a label on a passage that is no candidate."""
    given: Bools
    """Whether the source calls it a positive."""
    verdict: npt.NDArray[np.int8]
    """What was said last, `Verdict.UNJUDGED` where nobody spoke."""
    judge: npt.NDArray[np.int16]
    """Who said it: `GIVEN`, a judge's code, or -1."""
    grade: Floats
    confidence: Floats
    n_passages: int

    def __len__(self) -> int:
        return len(self.keys)

    def wanted(self, spec: JudgeSpec, audit_given: bool) -> Bools:
        """The candidates that a judge is to judge, now that those before it have spoken."""
        wanted: Bools = self.rank > 0
        if not audit_given:
            wanted &= ~self.given
        if spec.when is not None:
            wanted &= np.isin(self.verdict, [Verdict[word.upper()] for word in spec.when])
        return wanted

    def batches(self, wanted: Bools, before: npt.NDArray[np.int8]) -> Iterator[PairBatch]:
        """The candidates of every query that has a wanted one, whole queries together, each query's best first."""
        starts = np.flatnonzero(np.diff(self.query, prepend=-1))
        start = 0
        while start < len(self):
            found = np.searchsorted(starts, start + PAIRS_PER_BATCH)
            end = int(starts[found]) if found < len(starts) else len(self)
            rows = start + np.flatnonzero(self.rank[start:end])
            rows = rows[np.isin(self.query[rows], self.query[rows[wanted[rows]]])]
            rows = rows[np.lexsort((self.rank[rows], self.query[rows]))]
            if len(rows):
                yield PairBatch(self.query[rows], self.passage[rows], self.given[rows], before[rows], wanted[rows])
            start = end

    def apply(self, name: str, code: int, said: Verdicts, wanted: Bools) -> int:
        """Take verdicts over, and unmark their pairs in `wanted`. Returns how many there were.

        Raises:
            ComponentError: The judge `name` spoke of a pair that it was not asked about, or twice of one, or in no known word.
        """
        rows, found = self.positions(np.asarray(said.query), np.asarray(said.passage))
        codes = np.asarray(said.verdict)
        in_order = np.sort(rows)
        if not (found.all() and wanted[rows].all()) or (in_order[1:] == in_order[:-1]).any():
            raise ComponentError(f"judge '{name}' gave a verdict on a pair that it was not asked about, or two on one pair", code="RK231")
        if not np.isin(codes, [Verdict.NEGATIVE, Verdict.POSITIVE, Verdict.IGNORE]).all():
            raise ComponentError(f"judge '{name}' gave a verdict that is none of 0 (negative), 1 (positive), 2 (ignore)", code="RK232")
        self.verdict[rows] = codes
        self.judge[rows] = code
        self.grade[rows] = np.nan if said.grade is None else said.grade
        self.confidence[rows] = np.nan if said.confidence is None else said.confidence
        wanted[rows] = False
        return len(rows)

    def positions(self, query: npt.NDArray[Any], passage: npt.NDArray[Any]) -> tuple[Rows, Bools]:
        """Where pairs stand in these arrays, and whether they do at all."""
        keys = pair_keys(query, passage, self.n_passages)
        rows = np.minimum(np.searchsorted(self.keys, keys), max(len(self) - 1, 0))
        return rows, (self.keys[rows] == keys) if len(self) else np.zeros(len(keys), dtype=np.bool_)

    def judgments(self, names: Sequence[str], journals: Sequence[Iterable[pa.RecordBatch]]) -> Iterator[pa.RecordBatch]:
        """All verdicts as `JUDGMENTS`, in order. `names` by judge's code, `journals` of the judges 1, 2, ..."""
        reasons = _Reasons(self, journals)
        dictionary = pa.array(names, pa.string())
        for start in range(0, len(self), ROWS_PER_WRITE):
            rows = start + np.flatnonzero(self.verdict[start : start + ROWS_PER_WRITE] != Verdict.UNJUDGED)
            columns = [
                pa.array(self.query[rows]),
                pa.array(self.passage[rows]),
                pa.array(self.verdict[rows]),
                pa.array(self.grade[rows], from_pandas=True),  # NaN becomes null
                pa.array(self.confidence[rows], from_pandas=True),
                reasons.of(rows),
                pa.DictionaryArray.from_arrays(pa.array(self.judge[rows]), dictionary),
            ]
            yield pa.record_batch(columns, schema=JUDGMENTS)


class _Reasons:
    """Where each pair's reason stands in the memory-mapped journals: found once, fetched a slice at a time."""

    def __init__(self, pairs: Pairs, journals: Sequence[Iterable[pa.RecordBatch]]) -> None:
        self.columns: list[pa.Array] = []
        self.column_of: Ints | None = None
        self.row_of: Ints | None = None
        for code, journal in enumerate(journals, start=1):
            for batch in journal:
                if batch["reason"].null_count == len(batch):
                    continue
                if self.column_of is None or self.row_of is None:
                    self.column_of = np.full(len(pairs), -1, dtype=np.int32)
                    self.row_of = np.zeros(len(pairs), dtype=np.int32)
                rows, _ = pairs.positions(batch["query"].to_numpy(), batch["passage"].to_numpy())
                stands = pairs.judge[rows] == code  # a later judge may have replaced it, and its reason with it
                self.column_of[rows[stands]] = len(self.columns)
                self.row_of[rows[stands]] = np.flatnonzero(stands)
                self.columns.append(batch["reason"])

    def of(self, rows: Rows) -> pa.Array:
        if self.column_of is None or self.row_of is None:
            return pa.nulls(len(rows), pa.large_string())
        which, where = self.column_of[rows], self.row_of[rows]
        taken: list[pa.Array] = [pa.nulls(1, pa.large_string())]
        place = np.zeros(len(rows), dtype=np.int64)
        ahead = 1
        for column in np.unique(which[which >= 0]):
            here = np.flatnonzero(which == column)
            taken.append(self.columns[column].take(pa.array(where[here])))
            place[here] = ahead + np.arange(len(here))
            ahead += len(here)
        return pa.concat_arrays(taken).take(pa.array(place))


def load_pairs(dataset: Dataset, candidates: pa.Table) -> Pairs:
    """The candidates (`CANDIDATES`) and the labels of all queries of the mined splits, with the sources' word on each."""
    n_passages = len(dataset.passages)
    query, passage = candidates["query"].to_numpy(), candidates["passage"].to_numpy()
    first = np.flatnonzero(np.diff(query, prepend=-1))
    rank = np.arange(1, len(query) + 1) - np.repeat(first, np.diff(first, append=len(query)))

    labels = _labels_of_mined(dataset, query)
    label_query, label_passage = labels["query"].to_numpy(), labels["passage"].to_numpy()
    grades = labels["grade"].to_numpy()
    label_keys = pair_keys(label_query, label_passage, n_passages)

    candidate_keys = pair_keys(query, passage, n_passages)
    keys = np.sort(np.concatenate([candidate_keys, label_keys]))
    keys = keys[np.diff(keys, prepend=-1) > 0]
    pairs = Pairs(
        keys=keys,
        query=(keys // n_passages).astype(np.int32),
        passage=(keys % n_passages).astype(np.int32),
        rank=np.zeros(len(keys), dtype=np.int32),
        given=np.zeros(len(keys), dtype=np.bool_),
        verdict=np.full(len(keys), Verdict.UNJUDGED, dtype=np.int8),
        judge=np.full(len(keys), -1, dtype=np.int16),
        grade=np.full(len(keys), np.nan, dtype=np.float32),
        confidence=np.full(len(keys), np.nan, dtype=np.float32),
        n_passages=n_passages,
    )
    pairs.rank[np.searchsorted(keys, candidate_keys)] = rank
    at = np.searchsorted(keys, label_keys)
    pairs.given[at] = grades > 0
    pairs.verdict[at] = np.where(grades > 0, Verdict.POSITIVE, Verdict.NEGATIVE)
    pairs.judge[at] = GIVEN
    pairs.grade[at] = grades
    return pairs


def _labels_of_mined(dataset: Dataset, mined: npt.NDArray[Any]) -> pa.Table:
    splits = dataset.queries.table["split"].to_numpy()
    chosen = np.isin(splits, np.unique(splits[np.unique(mined)]))
    return dataset.labels.filter(pa.array(chosen[dataset.labels["query"].to_numpy()]))
