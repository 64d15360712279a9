"""False negatives that were found: unlabelled passages that were retrieved and judged to be no
negatives.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from recipekit.dataset import Dataset
from recipekit.records import Verdict
from recipekit.report.folder import RunFolder
from recipekit.report.markdown import code, escape, excerpt

__all__ = ["FalseNegative", "false_negatives", "render_examples"]

GIVEN = "source"
"""The judge that stands for the sources' own labels."""


@dataclass(frozen=True)
class FalseNegative:
    """One pair, with what is known of it."""

    query: int
    passage: int
    verdict: str
    judge: str
    reason: str | None
    confidence: float | None
    rank: int
    """Its place among the query's fused candidates, from 1."""
    ranks: Mapping[str, int] = field(default_factory=dict)
    """Its place in the retrievers' own lists, by retriever."""


def false_negatives(folder: RunFolder, count: int = 8) -> list[FalseNegative]:
    """A random sample of them, at most one per query, those judged positive first; the run's seed
    decides it.
    """
    judgments, candidates = (
        folder.table("judge", "judgments.arrow"),
        folder.table("mine", "candidates.arrow"),
    )
    if judgments is None or candidates is None or folder.dataset is None:
        return []
    generator = np.random.default_rng(folder.run.get("seed", 0))
    found: list[FalseNegative] = []
    for verdict in (Verdict.POSITIVE, Verdict.IGNORE):
        rows = _judged(judgments, verdict)
        # A few pairs prove to be labelled or to share a query: draw more than are shown.
        drawn = generator.choice(rows, size=min(len(rows), 40 * count), replace=False)
        for example in _examples(judgments, candidates, folder.dataset.labels, drawn.tolist()):
            if len(found) < count and all(example.query != other.query for other in found):
                found.append(example)
    return found


def _judged(judgments: pa.Table, verdict: Verdict) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Rows to which a judge, not a source, gave this verdict."""
    rows, start = [], 0
    for batch in judgments.select(["verdict", "judge"]).to_batches():
        judge = batch["judge"]
        given = [code for code, name in enumerate(judge.dictionary.to_pylist()) if name == GIVEN]
        chosen = (batch["verdict"].to_numpy() == verdict) & ~np.isin(
            judge.indices.to_numpy(), given
        )
        rows.append(np.flatnonzero(chosen) + start)
        start += batch.num_rows
    return np.concatenate([np.empty(0, dtype=np.int64), *rows])


def _examples(
    judgments: pa.Table, candidates: pa.Table, labels: pa.Table, rows: list[int]
) -> Iterator[FalseNegative]:
    """The judged pairs of some rows that are unlabelled candidates."""
    queries = candidates["query"].to_numpy()
    for judged in judgments.take(pa.array(rows, pa.int64())).to_pylist():
        start, stop = np.searchsorted(queries, [judged["query"], judged["query"] + 1]).tolist()
        mine = candidates.slice(start, stop - start)
        place = np.flatnonzero(mine["passage"].to_numpy() == judged["passage"])
        if (
            len(place)
            and not mine["source_positive"][int(place[0])].as_py()
            and not _labelled(labels, judged["query"], judged["passage"])
        ):
            candidate = mine.slice(int(place[0]), 1).to_pylist()[0]
            yield _example(judged, candidate, rank=int(place[0]) + 1)


def _labelled(labels: pa.Table, query: int, passage: int) -> bool:
    """Whether a source labelled the pair, a judged negative perhaps."""
    start, stop = np.searchsorted(labels["query"].to_numpy(), [query, query + 1]).tolist()
    return bool(np.isin(passage, labels["passage"].slice(start, stop - start).to_numpy()))


def _example(judged: Mapping[str, Any], candidate: Mapping[str, Any], rank: int) -> FalseNegative:
    ranks = {
        name.removeprefix("rank."): place
        for name, place in candidate.items()
        if name.startswith("rank.") and place is not None
    }
    return FalseNegative(
        query=judged["query"],
        passage=judged["passage"],
        verdict=Verdict(judged["verdict"]).name.lower(),
        judge=judged["judge"],
        reason=judged["reason"],
        confidence=judged["confidence"],
        rank=rank,
        ranks=ranks,
    )


def render_examples(examples: list[FalseNegative], dataset: Dataset) -> str:
    """Examples as a Markdown list: query, passage, verdict and who gave it, ranks."""
    return "\n".join(_render(example, dataset) for example in examples)


def _render(example: FalseNegative, dataset: Dataset) -> str:
    query = dataset.queries.texts([example.query])[0]
    passage = dataset.passages.texts([example.passage])[0]
    passage_id = dataset.passages.column("id", [example.passage])[0]
    ranks = "".join(f", {escape(name)} {rank}" for name, rank in example.ranks.items())
    confidence = f", confidence {example.confidence:.2f}" if example.confidence is not None else ""
    reason = f": {excerpt(example.reason)}" if example.reason else ""
    return "\n".join(
        [
            f"- **{excerpt(query, 200)}**",
            f"  - {code(passage_id)} {excerpt(passage)}",
            f"  - {example.verdict}, by {code(example.judge)}{confidence}{reason}",
            f"  - rank {example.rank} among the candidates{ranks}",
        ]
    )
