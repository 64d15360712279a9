"""Export judged data: BEIR's layout, three-state judgments, and triplets for other toolkits."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from recipekit.component import Context, Exporter, ExporterSpec

__all__ = ["DatasetExporterSpec"]


class DatasetExporterSpec(ExporterSpec):
    """Write the judged data as a folder that BEIR tools, `datasets` and sentence-transformers read.

    - `corpus.jsonl`, `queries.jsonl`, `qrels/{train,dev,test}.tsv`: BEIR's layout. The train qrels
      include positives that judges found (with score 1) and exclude those that judges refuted. The
      dev and test qrels are the sources' own, and stay comparable.
    - `judgments.parquet`: every verdict with ids, grade, confidence, reason and judge.
    - `triplets.parquet`: columns `query`, `positive`, `negative_1` …, as the losses of
      sentence-transformers take them.
    - `README.md`: a data card.
    """

    triplets: bool = True
    """Write `triplets.parquet`, with a row for each positive of a train query."""
    num_negatives: Annotated[int, Field(ge=1, le=100)] = 5
    """Negatives per triplet: the query's best-ranked passages that were judged negative.

    A query with fewer has no triplets, since sentence-transformers needs every column filled. 5 is
    a usual number of hard negatives.
    """

    def build(self, context: Context) -> Exporter:
        """Make the exporter of the data set."""
        from recipekit.exporters.dataset_writer import DatasetWriter

        return DatasetWriter(self, context.dataset, context.progress)
