"""Writes the judged data: BEIR's layout, three-state judgments, triplets, and a data card."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recipekit.component import Progress
from recipekit.dataset import Dataset
from recipekit.exporters.beir_folder import Ids, write_qrels, write_texts
from recipekit.exporters.data_card import write_data_card
from recipekit.exporters.triplets import triplets
from recipekit.records import SPLITS, Verdict
from recipekit.tables import JUDGMENTS, read_table

if TYPE_CHECKING:
    from recipekit.exporters.dataset import DatasetExporterSpec

__all__ = ["DatasetWriter"]

VERDICT_NAMES = pa.array(
    [verdict.name.lower() for verdict in sorted(Verdict) if verdict >= 0], pa.string()
)
"""The names of verdicts, by code."""

ROWS_PER_WRITE = 1 << 16


class DatasetWriter:
    """Writes one data set; see `DatasetExporterSpec`."""

    def __init__(self, spec: DatasetExporterSpec, dataset: Dataset, progress: Progress) -> None:
        self.spec = spec
        self.dataset = dataset
        self.progress = progress

    def export(
        self, files: Mapping[str, Path], card: Mapping[str, Any], folder: Path
    ) -> Mapping[str, Any]:
        """Write the folder.

        Returns:
            `rows`, the number of rows in each file.

        Raises:
            DataError: An id has a tab or a line break, which qrels cannot hold.
        """
        queries, passages = Ids.of(self.dataset.queries), Ids.of(self.dataset.passages)
        judgments = (
            read_table(files["judgments"])
            if "judgments" in files
            else _source_judgments(self.dataset)
        )
        rows = {
            "corpus.jsonl": write_texts(folder / "corpus.jsonl", self.dataset.passages, passages),
            "queries.jsonl": write_texts(folder / "queries.jsonl", self.dataset.queries, queries),
        }
        (folder / "qrels").mkdir(exist_ok=True)
        for split in SPLITS:
            name = f"qrels/{split}.tsv"
            rows[name] = write_qrels(
                folder / name, split, self.dataset, judgments, queries, passages
            )
        rows["judgments.parquet"] = _write_judgments(
            folder / "judgments.parquet", judgments, queries, passages
        )
        if self.spec.triplets:
            candidates = read_table(files["candidates"]) if "candidates" in files else None
            rows["triplets.parquet"] = self._write_triplets(
                folder / "triplets.parquet", judgments, candidates
            )
        write_data_card(card, rows, folder)
        return {"rows": rows}

    def _write_triplets(self, file: Path, judgments: pa.Table, candidates: pa.Table | None) -> int:
        names = [
            "query",
            "positive",
            *(f"negative_{number}" for number in range(1, self.spec.num_negatives + 1)),
        ]
        schema = pa.schema([(name, pa.large_string()) for name in names])
        rows = 0
        with (
            pq.ParquetWriter(file, schema) as writer,
            self.progress.track("triplets", unit="rows") as tracker,
        ):
            for chosen in triplets(self.dataset, judgments, candidates, self.spec.num_negatives):
                columns = [
                    self.dataset.queries.texts(chosen.query),
                    self.dataset.passages.texts(chosen.positive),
                ]
                columns += [
                    self.dataset.passages.texts(negatives) for negatives in chosen.negatives.T
                ]
                writer.write_batch(
                    pa.record_batch(
                        [pa.array(column, pa.large_string()) for column in columns], schema=schema
                    )
                )
                rows += len(chosen.query)
                tracker.advance(len(chosen.query))
        return rows


def _source_judgments(dataset: Dataset) -> pa.Table:
    """The source labels as judgments, for a recipe without judges."""
    labels = dataset.labels
    grade = labels["grade"].to_numpy()
    judge = pa.DictionaryArray.from_arrays(
        pa.array(np.zeros(len(grade), dtype=np.int16)), pa.array(["source"], pa.string())
    )
    verdict = np.where(grade > 0, Verdict.POSITIVE, Verdict.NEGATIVE).astype(np.int8)
    nothing = (pa.nulls(len(grade), pa.float32()), pa.nulls(len(grade), pa.large_string()))
    return pa.table(
        [labels["query"], labels["passage"], verdict, labels["grade"], *nothing, judge],
        schema=JUDGMENTS,
    )


def _write_judgments(file: Path, judgments: pa.Table, queries: Ids, passages: Ids) -> int:
    text, verdict = pa.large_string(), pa.dictionary(pa.int8(), pa.string())
    named = [("query_id", text), ("passage_id", text), ("verdict", verdict)]
    schema = pa.schema(
        [*named, *(JUDGMENTS.field(name) for name in ("grade", "confidence", "reason", "judge"))]
    )
    with pq.ParquetWriter(file, schema) as writer:
        for batch in judgments.to_batches(ROWS_PER_WRITE):
            columns = [
                queries.take(batch["query"].to_numpy()),
                passages.take(batch["passage"].to_numpy()),
                pa.DictionaryArray.from_arrays(batch["verdict"], VERDICT_NAMES),
                *(batch[name] for name in ("grade", "confidence", "reason", "judge")),
            ]
            writer.write_batch(pa.record_batch(columns, schema=schema))
    return int(judgments.num_rows)
