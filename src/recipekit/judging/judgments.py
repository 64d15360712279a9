"""The judgments as a table, with each verdict's reason fetched from the judges' logs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recipekit.arrays import Rows, lookup_sorted, pair_keys
from recipekit.judging.candidate_pairs import CandidatePairs
from recipekit.judging.verdict_log import VerdictLog
from recipekit.records import Verdict
from recipekit.tables import JUDGMENTS

__all__ = ["Reasons", "judgment_batches"]

ROWS_PER_BATCH = 1 << 16


def judgment_batches(
    pairs: CandidatePairs, names: Sequence[str], logs: Sequence[VerdictLog]
) -> Iterator[pa.RecordBatch]:
    """All verdicts as record batches of `JUDGMENTS`, in the order of the pairs.

    Args:
        pairs: All pairs, judged.
        names: Who gave verdicts, by judge code: `source`, then the judges.
        logs: The logs of judges 1, 2, ...
    """
    verdicts = pairs.verdicts
    reasons = Reasons(pairs.keys, verdicts.judge, logs, pairs.n_passages)
    judge_names = pa.array(names, pa.string())
    for start in range(0, len(pairs), ROWS_PER_BATCH):
        verdict = verdicts.verdict[start : start + ROWS_PER_BATCH]
        rows = start + np.flatnonzero(verdict != Verdict.UNJUDGED)
        columns = [
            pa.array(pairs.query[rows]),
            pa.array(pairs.passage[rows]),
            pa.array(verdicts.verdict[rows]),
            pa.array(pairs.grade[rows], from_pandas=True),  # NaN becomes null
            pa.array(verdicts.confidence[rows], from_pandas=True),
            reasons.take(rows),
            pa.DictionaryArray.from_arrays(pa.array(verdicts.judge[rows]), judge_names),
        ]
        yield pa.record_batch(columns, schema=JUDGMENTS)


class Reasons:
    """The reasons of some pairs' verdicts, located once and fetched from disk in slices.

    Args:
        keys: `pair_keys` of the pairs, ascending, (n,).
        judge: The code of the judge whose reason counts, (n,).
        logs: The logs of judges 1, 2, ..., memory-mapped.
        n_passages: The number of passages, for `pair_keys`.
    """

    def __init__(
        self,
        keys: Rows,
        judge: npt.NDArray[np.int16],
        logs: Sequence[VerdictLog],
        n_passages: int,
    ) -> None:
        self._batches: list[pa.Array] = [pa.nulls(1, pa.large_string())]
        # Batch 0 is the null of pairs without a reason. 8 bytes per pair, if there are reasons.
        self._batch_of = self._row_of = np.empty(0, dtype=np.int32)
        for code, log in enumerate(logs, start=1):
            for batch in log.batches():
                reason = batch["reason"]
                if reason.null_count == len(batch):
                    continue
                if len(self._batches) == 1:
                    self._batch_of = np.zeros(len(keys), dtype=np.int32)
                    self._row_of = np.zeros(len(keys), dtype=np.int32)
                query, passage = batch["query"].to_numpy(), batch["passage"].to_numpy()
                at, found = lookup_sorted(keys, pair_keys(query, passage, n_passages))
                found[found] = judge[at[found]] == code
                self._batch_of[at[found]] = len(self._batches)
                self._row_of[at[found]] = np.flatnonzero(found)
                self._batches.append(reason)

    def take(self, at: Rows) -> pa.Array:
        """The reasons of some pairs, given as positions in `keys`, as a string array."""
        if len(self._batches) == 1 or not len(at):
            return pa.nulls(len(at), pa.large_string())
        batch_of, row_of = self._batch_of[at], self._row_of[at]
        by_batch = np.argsort(batch_of, kind="stable")
        numbers, starts = np.unique(batch_of[by_batch], return_index=True)
        parts = [
            self._batches[number].take(pa.array(row_of[rows]))
            for number, rows in zip(numbers, np.split(by_batch, starts[1:]), strict=True)
        ]
        in_given_order = np.argsort(by_batch)
        return pa.concat_arrays(parts).take(pa.array(in_given_order))
