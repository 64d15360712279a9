"""A small run folder with real tables."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from recipekit.artifacts.manifest import manifest
from recipekit.dataset import Dataset
from recipekit.evaluators.per_query_file import PER_QUERY
from recipekit.evaluators.rankings import TOP
from recipekit.records import Verdict
from recipekit.tables import CANDIDATES, JUDGMENTS, write_table

RECIPE = """
recipe: 1
name: tiny
description: Finds *tiny* things.
seed: 13
encoders: {student: {use: bi_encoder, model: ./model}}
collect: {sources: {mine: {use: pairs}}}
mine: {retrievers: {lexical: {use: bm25}}, fusion: rrf, candidates_per_query: 50}
judge: {judges: {cautious: {use: margin}}}
train:
  encoder: student
  dev_metric: mrr@10
  phases:
    contrastive:
      {use: coordinate_ascent, loss: {use: exact_softmax}, query_epochs: 3, cycles: 2}
evaluate: {evaluators: {held_out: {use: retrieval}}}
export: {exporters: {model: {use: sentence_transformers}}}
"""


def row(system: str, metric: str, value: float, **more: Any) -> dict[str, Any]:
    interval = {"low": value - 0.02, "high": value + 0.02}
    sample = {"queries": 6, "confidence_level": 0.95, "bootstrap_samples": 1000}
    return {
        "evaluator": "held_out",
        "split": "test",
        "system": system,
        "metric": metric,
        "value": value,
        **interval,
        **sample,
        **more,
    }


def difference(value: float, p: float) -> dict[str, float]:
    return {
        "difference": value,
        "low": value - 0.01,
        "high": value + 0.01,
        "p_value": p / 2,
        "p_adjusted": p,
    }


METRICS = [
    row("bm25", "ndcg@10", 0.4),
    row("bm25", "recall@100", 0.9),
    row("untrained", "ndcg@10", 0.5),
    row("untrained", "recall@100", 0.8),
    row(
        "trained",
        "ndcg@10",
        0.6,
        differences={"bm25": difference(0.2, 0.0004), "untrained": difference(0.1, 0.012)},
    ),
    row(
        "trained",
        "recall@100",
        0.85,
        differences={"bm25": difference(-0.05, 0.03), "untrained": difference(0.05, 0.4)},
    ),
]

CURVE = {
    "curve": [
        {"step": step, "loss": 2.0 - step / 10, "learning_rate": 5e-5} for step in range(1, 9)
    ],
    "dev": {
        "points": [{"step": step, "value": 0.5 + step / 100} for step in (0, 4, 8)],
        "summary": {"kept_step": 8},
    },
}

BANDS = {
    "1-10": {"negative": 0, "positive": 2, "ignore": 1},
    "11-50": {"negative": 1, "positive": 0, "ignore": 0},
}

SUMMARIES: dict[str, dict[str, Any]] = {
    "collect": {
        "passages": 36,
        "queries": {"train": 12, "dev": 6, "test": 6},
        "labels": {"positive": 24, "negative": 0},
        "dropped": {"queries_without_positive": 2},
    },
    "mine": {
        "candidates": 120000,
        "recall": {
            "retrievers": {"lexical": {"10": 0.51234, "50": 0.75}},
            "fused": {"10": 0.6, "50": 0.8},
        },
    },
    "judge": {
        "judges": {
            "cautious": {
                "pairs": 5,
                "judged": 4,
                "verdicts": {"negative": 1, "positive": 2, "ignore": 1},
                "by_rank": BANDS,
            }
        },
        "false_negatives": {"positive": 2, "ignore": 1},
    },
    "train": {
        "steps": 8,
        "truncated": {"query": 0.0, "passage": 0.9936},
        "notes": ["the exact loss read the whole corpus"],
    },
    "evaluate": {"figures": 6},
    "export": {},
}


@pytest.fixture
def summaries() -> dict[str, dict[str, Any]]:
    """The summary of each stage."""
    return SUMMARIES


@pytest.fixture
def write_run(tiny_dataset: Dataset, tmp_path: Path) -> Callable[..., Path]:
    """`write_run(stages, **run)` writes a run folder with these stages."""

    def write(stages: Mapping[str, Mapping[str, Any]] = SUMMARIES, **run: Any) -> Path:
        folder = tmp_path / "runs" / "tiny" / "20250101T000000Z-abc"
        (folder / "stages").mkdir(parents=True)
        (folder / "recipe.resolved.yaml").write_text(RECIPE)
        identity = {
            "recipe": "tiny.yaml",
            "name": "tiny",
            "seed": 13,
            "command": "recipekit run tiny.yaml --set seed=13",
        }
        times = {
            "started": "2025-01-01T00:00:00+00:00",
            "finished": "2025-01-01T00:01:00+00:00",
            "status": "finished",
        }
        (folder / "run.json").write_text(
            json.dumps({**identity, **times, "ran": ["judge", "train"], **run})
        )
        for stage, summary in stages.items():
            artifact = tiny_dataset.path if stage == "collect" else tmp_path / "cache" / stage
            artifact.mkdir(parents=True, exist_ok=True)
            _fill(artifact, stage)
            content = manifest(
                stage=stage,
                key=f"{stage}0123456789",
                identity={},
                inputs={},
                summary=summary,
                seconds=75.2,
                peak_bytes=812_000_000,
                device=None if stage in ("collect", "export") else "CPU, bf16 in fp32",
            )
            (artifact / "manifest.json").write_text(json.dumps(content))
            (folder / "stages" / stage).symlink_to(artifact)
        (folder.parent / "latest").symlink_to(folder.name)
        return folder

    return write


def _fill(artifact: Path, stage: str) -> None:
    if stage == "mine":
        schema = pa.schema(
            [*CANDIDATES, ("rank.lexical", pa.int32()), ("score.lexical", pa.float32())]
        )
        pairs = [(0, 5), (0, 0), (0, 6), (1, 7), (1, 8), (2, 9), (2, 2)]
        query, passage = zip(*pairs, strict=True)
        given, score = [q == p for q, p in pairs], [0.5] * len(pairs)
        write_table(
            artifact / "candidates.arrow",
            schema,
            [pa.table([query, passage, given, score, [3] * len(pairs), score], schema=schema)],
        )
    if stage == "judge":
        judged = [
            (0, 0, Verdict.POSITIVE, "source", None),
            (0, 5, Verdict.NEGATIVE, "cautious", None),
            (0, 6, Verdict.POSITIVE, "cautious", "scores *above* the positive"),
            (1, 1, Verdict.POSITIVE, "source", None),
            (1, 7, Verdict.IGNORE, "cautious", None),
            (2, 2, Verdict.POSITIVE, "cautious", "an overruled source positive"),
            (2, 9, Verdict.POSITIVE, "cautious", None),
        ]
        query, passage, verdict, judge, reason = (
            list(column) for column in zip(*judged, strict=True)
        )
        judge = pa.array(judge).dictionary_encode().cast(JUDGMENTS.field("judge").type)
        none = [None] * len(judged)
        columns = [
            query,
            passage,
            [int(v) for v in verdict],
            none,
            [0.75] * len(judged),
            reason,
            judge,
        ]
        arrays = [
            column if isinstance(column, pa.Array) else pa.array(column, f.type)
            for column, f in zip(columns, JUDGMENTS, strict=True)
        ]
        write_table(
            artifact / "judgments.arrow",
            JUDGMENTS,
            [pa.Table.from_arrays(arrays, schema=JUDGMENTS)],
        )
    if stage == "train":
        (artifact / "training.json").write_text(json.dumps(CURVE))
    if stage == "evaluate":
        (artifact / "metrics.json").write_text(json.dumps(METRICS))
        _fill_rankings(artifact / "rankings" / "held_out")
    if stage == "export":
        (artifact / "model").mkdir(exist_ok=True)


def _fill_rankings(folder: Path) -> None:
    """Training wins query 18, loses 19 and 20, and changes nothing for 21."""
    folder.mkdir(parents=True, exist_ok=True)
    values = {
        "untrained": {18: 0.0, 19: 1.0, 20: 0.5, 21: 0.5},
        "trained": {18: 1.0, 19: 0.25, 20: 0.4, 21: 0.5},
    }
    per_query = [
        {"query": query, "system": system, "metric": metric, "value": value}
        for system, by_query in values.items()
        for query, value in by_query.items()
        for metric in ("ndcg@10", "recall@100")
    ]
    rankings = {
        ("untrained", 18): [5, 6],
        ("trained", 18): [18, 5],
        ("untrained", 19): [19, 7],
        ("trained", 19): [8, 19],
        ("untrained", 20): [9],
        ("trained", 20): [9],
    }
    top = [
        {
            "query": query,
            "system": system,
            "rank": rank,
            "passage": passage,
            "score": 1.0 / rank,
            "positive": passage == query,
        }
        for (system, query), passages in rankings.items()
        for rank, passage in enumerate(passages, start=1)
    ]
    recall = {
        "bm25": {"1": 0.3, "10": 0.7, "100": 0.9},
        "trained": {"1": 0.5, "10": 0.8, "100": 0.85},
    }
    (folder / "recall_by_depth.json").write_text(json.dumps(recall))
    for name, rows, schema in (("per_query", per_query, PER_QUERY), ("top", top, TOP)):
        plain = pa.schema(
            [(f.name, pa.string() if pa.types.is_dictionary(f.type) else f.type) for f in schema]
        )
        table = pa.Table.from_pylist(rows, schema=plain).cast(schema)
        write_table(folder / f"{name}.arrow", schema, [table])
