"""Scripted judges, candidates and judge sections for tests of the judge stage."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field

from recipekit.artifacts.key import FileHashes
from recipekit.artifacts.store import Artifact, Store
from recipekit.component import Context, JudgeSpec, PairBatch, Slot, Verdicts
from recipekit.dataset import Dataset
from recipekit.records import Verdict
from recipekit.registry import Entry
from recipekit.stages.inputs import StageInputs
from recipekit.stages.judge.judge import judge
from recipekit.stages.judge.section import JudgeSection
from recipekit.tables import CANDIDATES, JUDGMENTS, read_table, write_table
from recipekit.testing import RecordingProgress

POSITIVE, NEGATIVE, IGNORE, UNJUDGED = (
    Verdict.POSITIVE,
    Verdict.NEGATIVE,
    Verdict.IGNORE,
    Verdict.UNJUDGED,
)


class ScriptedFilter(JudgeSpec):
    """A judge whose verdicts a function gives, in any order, and that can die on the way."""

    verdict: Callable[[int, int], int]
    reason: str | None = None
    dies_after: int | None = None
    confidence: Callable[[int, int], float] | None = None
    counts: Any = Field(default_factory=dict)
    silent: bool = False
    ungraded: bool = False
    batches: Any = Field(default_factory=list)
    """The batches that it got."""
    contexts: Any = Field(default_factory=list)
    """The contexts that it was built in."""
    pairs_per_yield: int = 3

    figures: ClassVar[dict[str, float]] = {}

    def build(self, context: Context):
        self.contexts.append(context)
        return self

    def judge(self, batches: Iterable[PairBatch]) -> Iterator[Verdicts]:
        for count, (batch, rows) in enumerate(self._pieces(batches)):
            if count == self.dies_after:
                raise MemoryError("killed")
            query, passage = batch.query[rows], batch.passage[rows]
            verdict = np.array(
                [self.verdict(q, p) for q, p in zip(query, passage, strict=True)], dtype=np.int8
            )
            reason = (
                [
                    f"{self.reason} {q}-{p}" if p % 2 else None
                    for q, p in zip(query, passage, strict=True)
                ]
                if self.reason
                else None
            )
            confidence = [
                self.confidence(q, p) if self.confidence else np.nan
                for q, p in zip(query, passage, strict=True)
            ]
            if not self.silent:
                grade, ungraded = passage.astype(np.float32), np.full(len(rows), self.ungraded)
                yield Verdicts(
                    query,
                    passage,
                    verdict,
                    grade,
                    np.array(confidence, np.float32),
                    reason,
                    ungraded,
                )

    def _pieces(self, batches):
        for batch in batches:
            self.batches.append(batch)
            rows = np.flatnonzero(batch.wanted)[::-1]
            yield from (
                (batch, rows[start : start + self.pairs_per_yield])
                for start in range(0, len(rows), self.pairs_per_yield)
            )


class ScriptedReader(ScriptedFilter):
    """The same as a judge that reads the texts, and therefore gets control pairs."""

    measured: ClassVar[bool] = True


def judge_inputs(
    tmp_path: Path, dataset: Dataset, progress: RecordingProgress | None = None
) -> StageInputs:
    """Stage inputs in which train query q has the candidates q+2, q+1, q+3, q+4, and q at rank 5.

    Passage q is its source positive, which no retriever found.
    """
    mine = tmp_path / "mine"
    mine.mkdir()
    rows = [
        (q, (q + step) % 36, step == 0, None if step == 0 else 1.0 / place)
        for q in range(12)
        for place, step in enumerate([2, 1, 3, 4, 0], 1)
    ]
    write_table(
        mine / "candidates.arrow",
        CANDIDATES,
        [pa.table(list(zip(*rows, strict=True)), schema=CANDIDATES)],
    )
    return StageInputs(
        recipe_name="test",
        seed=13,
        artifacts={
            "collect": Artifact("collect", "test-dataset", dataset.path),
            "mine": Artifact("mine", "m", mine),
        },
        encoders={},
        trained=None,
        store=Store(tmp_path / "store"),
        hashes=FileHashes(),
        progress=progress or RecordingProgress(),
    )


def section(policy: Mapping[str, Any] | None = None, **specs: JudgeSpec) -> JudgeSection:
    """A judge section with these judges in this order; `policy` has its other keys."""
    made = JudgeSection(judges={name: Slot(use=name) for name in specs}, **(policy or {}))
    for name, slot in made.judges.items():
        slot.bind(Entry("judge", name, "tests", "1", "tests:ScriptedFilter"), specs[name])
    return made


def run(
    inputs: StageInputs, tmp_path: Path, judges: JudgeSection, folder: str = "out"
) -> tuple[dict[tuple[int, int], dict[str, Any]], dict[str, Any]]:
    """Run the stage, and return the judgments by (query, passage) and the summary."""
    out = tmp_path / folder
    out.mkdir(exist_ok=True)
    summary = judge(inputs, judges, out)
    table = read_table(out / "judgments.arrow")
    assert table.schema == JUDGMENTS
    rows = table.to_pylist()
    keys = [(row["query"], row["passage"]) for row in rows]
    assert keys == sorted(set(keys)), "sorted, one row per pair"
    json.dumps(summary)
    return {(row["query"], row["passage"]): row for row in rows}, summary
