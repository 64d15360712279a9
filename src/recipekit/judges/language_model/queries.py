"""Batches of pairs to queries with their texts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from recipekit.component import PairBatch
from recipekit.judges.language_model.grouping import QueryTexts
from recipekit.judges.language_model.texts import ShownTexts

__all__ = ["queries_of"]


def queries_of(
    batches: Iterable[PairBatch],
    queries: ShownTexts,
    passages: ShownTexts,
    *,
    references: int,
    by_verdict: bool,
) -> Iterator[QueryTexts]:
    """Every query with wanted pairs, with its texts.

    Args:
        batches: The pairs, whole queries together, each query's best candidate first.
        queries: The queries' texts.
        passages: The passages' texts.
        references: How many known positives to show, of those that are not judged blind.
        by_verdict: Whether pairs are apart by the verdict before, which selected them.
    """
    for batch in batches:
        starts = np.flatnonzero(np.diff(batch.query, prepend=-1))
        ends = np.append(starts[1:], len(batch))
        spans = [
            (start, end)
            for start, end in zip(starts.tolist(), ends.tolist(), strict=True)
            if batch.wanted[start:end].any()
        ]
        known = [
            start
            + np.flatnonzero(batch.source_positive[start:end] & ~batch.wanted[start:end])[
                :references
            ]
            for start, end in spans
        ]
        asked = [start + np.flatnonzero(batch.wanted[start:end]) for start, end in spans]
        if not spans:
            continue
        query_texts = queries.of(batch.query[[start for start, _ in spans]])
        passage_texts = passages.of(batch.passage[np.concatenate([*asked, *known])])
        for (start, _), wanted, shown in zip(spans, asked, known, strict=True):
            row = int(batch.query[start])
            rows = tuple(batch.passage[wanted].tolist())
            yield QueryTexts(
                row=row,
                query=query_texts[row],
                passages=tuple(passage_texts[passage] for passage in rows),
                rows=rows,
                strata=tuple(np.asarray(batch.previous_verdict)[wanted].tolist())
                if by_verdict
                else (0,) * len(rows),
                references=tuple(
                    passage_texts[passage].text for passage in batch.passage[shown].tolist()
                ),
            )
