"""The queries that a system wins and loses most against another, with what each of them found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recipekit.dataset import Dataset
from recipekit.report.blocks import Block, Code, Example, Examples, Line, ReportSection, Text
from recipekit.report.metric_labels import metric_label
from recipekit.report.metrics import Difference, EvaluatorMetrics
from recipekit.report.numbers import excerpt, plural, signed
from recipekit.report.run_folder import RunFolder, read_dataset
from recipekit.stages.evaluate.section import FURTHER_DATA

__all__ = ["changed_queries"]

MAX_QUERIES = 25
"""Queries shown of those won, and of those lost."""
IN_MARKDOWN = 3


@dataclass(frozen=True)
class _Ranked:
    """One of the first passages of a ranking."""

    rank: int
    passage: int
    positive: bool


@dataclass(frozen=True)
class _Rankings:
    """Values and first passages of every query by both systems."""

    main: Difference
    before: Mapping[int, float]
    after: Mapping[int, float]
    top: pa.Table
    dataset: Dataset

    def first_passages(self, query: int, system: str) -> list[_Ranked]:
        """The first passages of a system for a query, best first; empty if none are kept."""
        chosen = pc.and_(pc.equal(self.top["query"], query), pc.equal(self.top["system"], system))
        rows = self.top.filter(chosen).select(["rank", "passage", "positive"]).to_pylist()
        return sorted((_Ranked(**row) for row in rows), key=lambda found: found.rank)


def changed_queries(run: RunFolder, measured: EvaluatorMetrics) -> ReportSection | None:
    """Queries won and lost most by the last system against the system before it.

    None if nothing was compared, or if the evaluator kept no values per query.
    """
    rankings = _read(run, measured)
    if rankings is None:
        return None
    main = rankings.main
    change = {
        query: value - rankings.before[query]
        for query, value in rankings.after.items()
        if query in rankings.before
    }
    won = sorted((q for q in change if change[q] > 0), key=lambda q: (-change[q], q))
    lost = sorted((q for q in change if change[q] < 0), key=lambda q: (change[q], q))
    same = len(change) - len(won) - len(lost)
    counts = (
        f"By {metric_label(main.metric)}, {main.system} wins "
        f"{plural(len(won), 'query', 'queries')} against {main.other}, loses "
        f"{len(lost):,}, and equals it on {same:,}."
    )
    blocks: list[Block] = [Text(counts)]
    for title, queries in (("Won most", won), ("Lost most", lost)):
        items = [_example(rankings, query) for query in queries[:MAX_QUERIES]]
        if items:
            blocks.append(ReportSection(title, [Examples(items, shown=IN_MARKDOWN)]))
    return ReportSection(f"Queries that changed most: {measured.title}", blocks)


def _read(run: RunFolder, measured: EvaluatorMetrics) -> _Rankings | None:
    metric = measured.metrics[0]
    differences = [found for found in measured.differences() if found.metric == metric]
    rankings = run.file("evaluate", "rankings")
    if not differences or rankings is None:
        return None
    main = differences[-1]
    folder = Path("rankings", measured.evaluator)
    values = run.table("evaluate", str(folder / "per_query.arrow"))
    top = run.table("evaluate", str(folder / "top.arrow"))
    if values is None or top is None:
        return None
    dataset = _measured_data(run, measured.evaluator)
    if dataset is None:
        return None
    values = values.filter(pc.equal(values["metric"], metric))
    before, after = _by_query(values, main.other), _by_query(values, main.system)
    return _Rankings(main, before, after, top, dataset)


def _measured_data(run: RunFolder, evaluator: str) -> Dataset | None:
    """The data set that an evaluator measured; None if it is no longer in the cache."""
    slot = (run.section("evaluate").get("evaluators") or {}).get(evaluator) or {}
    source = slot.get("source")
    if not source:
        return run.dataset
    for manifest, folder in run.by_products("evaluate", FURTHER_DATA):
        if manifest["identity"].get("name") == source:
            return read_dataset(folder, str(manifest["key"]))
    return None


def _by_query(values: pa.Table, system: str) -> dict[int, float]:
    rows = values.filter(pc.equal(values["system"], system))
    pairs = zip(rows["query"].to_pylist(), rows["value"].to_pylist(), strict=True)
    return {query: value for query, value in pairs if value is not None and np.isfinite(value)}


def _example(rankings: _Rankings, query: int) -> Example:
    """A query, the positive that the better system found, and what the other ranks first."""
    main, before, after = rankings.main, rankings.before[query], rankings.after[query]
    better, worse = (main.system, main.other) if after > before else (main.other, main.system)
    found = rankings.first_passages(query, better)
    missed = rankings.first_passages(query, worse)
    shown = next((each for each in found if each.positive), found[0] if found else None)
    facts: list[Line] = [
        f"{metric_label(main.metric)} from {before:.3f} ({main.other}) to {after:.3f} "
        f"({main.system}): {signed(after - before)}"
    ]
    texts = rankings.dataset.passages
    if shown is None:
        return Example(_text(rankings.dataset, query), "", "", facts)
    label = "positive" if shown.positive else "not labelled positive"
    facts.append(f"{label}: {better} rank {shown.rank}, {worse} {_rank(missed, shown.passage)}")
    facts += _first(rankings.dataset, worse, missed[:1], shown)
    return Example(
        query=_text(rankings.dataset, query),
        passage_id=texts.column("id", [shown.passage])[0],
        passage=excerpt(texts.texts([shown.passage])[0]),
        facts=facts,
    )


def _text(dataset: Dataset, query: int) -> str:
    return excerpt(dataset.queries.texts([query])[0], 200)


def _rank(found: Sequence[_Ranked], passage: int) -> str:
    rank = next((each.rank for each in found if each.passage == passage), None)
    return f"not among its first {len(found)}" if rank is None else f"rank {rank}"


def _first(
    dataset: Dataset, system: str, first: Sequence[_Ranked], shown: _Ranked
) -> Iterator[Line]:
    """What a system ranks first, if that is another passage."""
    for each in first:
        if each.passage != shown.passage:
            label = " (positive)" if each.positive else ""
            name = Code(dataset.passages.column("id", [each.passage])[0])
            text = excerpt(dataset.passages.texts([each.passage])[0], 160)
            yield (f"{system} ranks first{label}: ", name, f" {text}")
