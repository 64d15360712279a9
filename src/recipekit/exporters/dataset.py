"""The judged data: BEIR's layout, three-state judgments, and triplets for other toolkits."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from recipekit.component import Context, Exporter, ExporterSpec

__all__ = ["DatasetExporterSpec"]


class DatasetExporterSpec(ExporterSpec):
    """The judged data as a folder: BEIR's layout, three-state judgments, triplets, and a data card.

    - `corpus.jsonl`, `queries.jsonl`, `qrels/{train,dev,test}.tsv`: BEIR's layout. The train qrels
      hold the positives that judges found (with score 1) and lack what they refuted; dev and test
      are as the sources gave them, and stay comparable.
    - `judgments.parquet`: every verdict, with ids, grade, confidence, reason and who gave it.
    - `triplets.parquet`: columns `query`, `positive`, `negative_1` ... as sentence-transformers'
      losses take them.
    - `README.md`: a data card that tells how to repeat it.
    """

    triplets: bool = True
    """Write `triplets.parquet`: a row for each positive of a train query."""
    negatives: Annotated[int, Field(ge=1, le=100)] = 5
    """Negatives of a triplet: the query's best-ranked passages that were judged negative. A query
    with fewer has no triplets, since sentence-transformers wants every column filled; 5 is a usual
    number of hard negatives."""

    def build(self, context: Context) -> Exporter:
        """Make the exporter of the collected data."""
        from recipekit.exporters.dataset_writer import DatasetWriter

        return DatasetWriter(self, context.dataset, context.progress)
