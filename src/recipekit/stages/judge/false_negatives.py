"""False negatives that the judges found: retrieved passages without a label that are relevant."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from recipekit.arrays import Rows
from recipekit.dataset import Dataset
from recipekit.records import Verdict
from recipekit.report.blocks import Code, Example, Examples
from recipekit.report.numbers import excerpt
from recipekit.report.run_folder import RunFolder

__all__ = ["FalseNegative", "examples_block", "false_negatives"]

SOURCE = "source"
"""The judge column's name for the sources' own labels."""
SHOWN = {"ignore": "ignored"}
"""Verdicts whose name reads badly in a sentence."""
DRAWN_PER_EXAMPLE = 40
"""Pairs drawn for each example shown, since some turn out to be labelled or to share a query."""


@dataclass(frozen=True)
class FalseNegative:
    """An unlabelled candidate that a judge did not call negative."""

    query: int
    passage: int
    verdict: str
    judge: str
    reason: str | None
    confidence: float | None
    rank: int
    """Rank among the query's fused candidates, from 1."""
    ranks: Mapping[str, int] = field(default_factory=dict)
    """Rank in the list of each retriever that found the passage."""


def false_negatives(run: RunFolder, count: int = 8) -> list[FalseNegative]:
    """A random sample, at most one per query, positive verdicts first; seeded by the run's seed."""
    judgments = run.table("judge", "judgments.arrow")
    candidates = run.table("mine", "candidates.arrow")
    if judgments is None or candidates is None or run.dataset is None:
        return []
    generator = np.random.default_rng(run.run.get("seed", 0))
    found: list[FalseNegative] = []
    for verdict in (Verdict.POSITIVE, Verdict.IGNORE):
        rows = _judged(judgments, verdict)
        size = min(len(rows), DRAWN_PER_EXAMPLE * count)
        drawn = generator.choice(rows, size=size, replace=False)
        for example in _unlabelled(judgments, candidates, run.dataset.labels, drawn.tolist()):
            if len(found) < count and all(example.query != other.query for other in found):
                found.append(example)
    return found


def _judged(judgments: pa.Table, verdict: Verdict) -> Rows:
    """Rows in which a judge, not a source, gave the verdict."""
    parts = [np.empty(0, dtype=np.int64)]
    start = 0
    for batch in judgments.select(["verdict", "judge"]).to_batches():
        judge = batch["judge"]
        names = judge.dictionary.to_pylist()
        source = [code for code, name in enumerate(names) if name == SOURCE]
        chosen = batch["verdict"].to_numpy() == verdict
        chosen &= ~np.isin(judge.indices.to_numpy(), source)
        parts.append(np.flatnonzero(chosen) + start)
        start += batch.num_rows
    return np.concatenate(parts)


def _unlabelled(
    judgments: pa.Table, candidates: pa.Table, labels: pa.Table, rows: list[int]
) -> Iterator[FalseNegative]:
    """The judged pairs in some rows that are candidates and have no label."""
    queries = candidates["query"].to_numpy()
    for judged in judgments.take(pa.array(rows, pa.int64())).to_pylist():
        query, passage = judged["query"], judged["passage"]
        start, stop = np.searchsorted(queries, [query, query + 1]).tolist()
        ranked = candidates.slice(start, stop - start)
        positions = np.flatnonzero(ranked["passage"].to_numpy() == passage)
        if not len(positions) or _has_label(labels, query, passage):
            continue
        position = int(positions[0])
        candidate = ranked.slice(position, 1).to_pylist()[0]
        if not candidate["source_positive"]:
            yield _false_negative(judged, candidate, rank=position + 1)


def _has_label(labels: pa.Table, query: int, passage: int) -> bool:
    start, stop = np.searchsorted(labels["query"].to_numpy(), [query, query + 1]).tolist()
    return bool(np.isin(passage, labels["passage"].slice(start, stop - start).to_numpy()))


def _false_negative(
    judged: Mapping[str, Any], candidate: Mapping[str, Any], rank: int
) -> FalseNegative:
    ranks = {
        name.removeprefix("rank."): value
        for name, value in candidate.items()
        if name.startswith("rank.") and value is not None
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


def examples_block(found: list[FalseNegative], dataset: Dataset) -> Examples:
    """False negatives with their texts."""
    return Examples([_example(example, dataset) for example in found])


def _example(found: FalseNegative, dataset: Dataset) -> Example:
    confidence = "" if found.confidence is None else f", confidence {found.confidence:.2f}"
    reason = f": {excerpt(found.reason)}" if found.reason else ""
    ranks = "".join(f", {name} {rank}" for name, rank in found.ranks.items())
    return Example(
        query=excerpt(dataset.queries.texts([found.query])[0], 200),
        passage_id=dataset.passages.column("id", [found.passage])[0],
        passage=excerpt(dataset.passages.texts([found.passage])[0]),
        facts=[
            (
                f"{SHOWN.get(found.verdict, found.verdict)} by ",
                Code(found.judge),
                f"{confidence}{reason}",
            ),
            f"rank {found.rank} among the candidates{ranks}",
        ],
    )
