"""The judge that looks pairs up in the labels of a file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

from recipekit.arrays import Floats, Ints, lookup_sorted, pair_keys
from recipekit.component import Judge, PairBatch, Verdicts
from recipekit.dataset import Dataset
from recipekit.human_labels.dataset_labels import DatasetLabels
from recipekit.judges.labels import LabelsSpec
from recipekit.records import Verdict
from recipekit.seeded_hashing import hash_uniforms, id_hashes, pair_hashes

__all__ = ["LabelLookup"]

Codes = npt.NDArray[np.int8]


class LabelLookup(Judge):
    """What `LabelsSpec` builds."""

    def __init__(
        self, spec: LabelsSpec, dataset: Dataset, labels: DatasetLabels, seed: int
    ) -> None:
        self.spec = spec
        self.labels = labels
        self.n_passages = len(dataset.passages)
        self.perfect = spec.coverage == 1 and spec.error_rate == 0
        if not self.perfect:
            self._query_hashes = id_hashes(dataset.queries.ids, seed)
            self._passage_hashes = id_hashes(dataset.passages.ids, seed)

    def judge(self, batches: Iterable[PairBatch]) -> Iterator[Verdicts]:
        """Stream the file's verdicts and grades on the wanted pairs that it lists."""
        for batch in batches:
            query, passage = batch.query[batch.wanted], batch.passage[batch.wanted]
            verdict = np.full(len(query), Verdict.UNJUDGED, dtype=np.int8)
            grade = np.full(len(query), np.nan, dtype=np.float32)
            if self.spec.unlisted_pairs == "negative":
                verdict[self.labels.listed_queries[query]] = Verdict.NEGATIVE
            keys = pair_keys(query, passage, self.n_passages)
            at, listed = lookup_sorted(self.labels.keys, keys)
            verdict[listed] = self.labels.verdict[at[listed]]
            grade[listed] = self.labels.grade[at[listed]]
            if not self.perfect:
                self._degrade(query, passage, verdict, grade)
            judged = verdict != Verdict.UNJUDGED
            if judged.any():
                yield Verdicts(query[judged], passage[judged], verdict[judged], grade[judged])

    def _degrade(self, query: Ints, passage: Ints, verdict: Codes, grade: Floats) -> None:
        """Apply `coverage` and `error_rate` in place."""
        pair = pair_hashes(self._query_hashes[query], self._passage_hashes[passage])
        unknown = hash_uniforms(pair, 1) >= self.spec.coverage
        wrong = hash_uniforms(pair, 2) < self.spec.error_rate
        wrong &= np.isin(verdict, [Verdict.POSITIVE, Verdict.NEGATIVE])
        verdict[wrong] = 1 - verdict[wrong]
        grade[wrong] = np.nan  # the grade would reveal the right verdict
        verdict[unknown] = Verdict.UNJUDGED
