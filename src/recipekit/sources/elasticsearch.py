"""A corpus that lives in an Elasticsearch index, with queries and judgments from files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field

from recipekit.component import Context, LocalPath, NotIdentity, Progress, SourceSpec
from recipekit.engines.elasticsearch import ElasticsearchAccess, check_fields, index_fingerprint
from recipekit.sources.beir import BeirReader, QrelsOf
from recipekit.sources.files import delimited_rows, json_rows
from recipekit.sources.locations import LocatedSource, Record, RecordLocation, Row

__all__ = ["ElasticsearchSourceSpec"]


class ElasticsearchSourceSpec(ElasticsearchAccess, SourceSpec):
    """Passages from an Elasticsearch index (server 8 or 9), with queries and judgments in BEIR's
    form from files.

    The index is read as it is at one point in time, in parallel slices, and never written to. Its
    documents come in the order in which the server has them, which stays the same as long as
    nothing is written to the index.
    """

    live: ClassVar[bool] = True

    index: str = Field(min_length=1)
    """The index or alias to read."""
    id_field: str | None = Field(default=None, min_length=1)
    """The field in which a passage's id stands; by default it is the document's `_id`."""
    title_field: str | None = Field(default=None, min_length=1)
    """The field in which its title stands, if it has one."""
    text_field: str = Field(default="text", min_length=1)
    """The field in which its text stands."""
    where: dict[str, Any] | None = Field(default=None, min_length=1)
    """Read only what this query of Elasticsearch's own language matches.

    `{term: {language: en}}`.
    """
    queries: LocalPath
    """A `queries.jsonl`: objects with `_id` and `text`."""
    qrels: dict[QrelsOf, LocalPath] = Field(min_length=1)
    """The judgments, a file of tab-separated `query-id`, `corpus-id` and `score` for each split:
    `{train: train.tsv, test: test.tsv}`. Queries under `all` are divided as the recipe says."""
    min_positive_grade: float | None = Field(default=None, gt=0)
    """Least score of a positive; by default every score above 0 is one.

    The rest are judged negatives.
    """
    page: Annotated[int, NotIdentity, Field(ge=1, le=10_000)] = 1000
    """Documents in one request."""

    def files(self) -> Mapping[str, Path]:
        """The files that are read."""
        return {
            "queries": self.queries,
            **{f"qrels.{split}": path for split, path in self.qrels.items()},
        }

    def fingerprint(self) -> Any:
        """The state of the index."""
        return index_fingerprint(self.cluster(patient=False), self.index)

    def build(self, context: Context) -> LocatedSource:
        """Make the source."""
        counts: dict[str, int] = {}
        return LocatedSource(partial(self._located, context.progress, counts), counts)

    def _located(
        self, progress: Progress, counts: dict[str, int]
    ) -> Iterator[tuple[RecordLocation, Record]]:
        reader = BeirReader(
            corpus=partial(self._rows, progress),
            queries=partial(json_rows, self.queries),
            qrels={
                split: partial(delimited_rows, path, "\t", quoted=False)
                for split, path in self.qrels.items()
            },
            name=f"index '{self.index}'",
            min_positive_grade=self.min_positive_grade,
            counts=counts,
        )
        return reader.located(progress)

    def _rows(self, progress: Progress) -> Iterator[Row]:
        from recipekit.sources.elasticsearch_pages import Pages

        cluster = self.cluster(progress.warn)
        cluster.check_version()
        names = {
            "id_field": self.id_field,
            "title_field": self.title_field,
            "text_field": self.text_field,
        }
        check_fields(cluster, self.index, searched={}, read=names)
        fields = {"_id": self.id_field, "title": self.title_field, "text": self.text_field}
        return Pages(cluster, self.index, fields, self.where, self.page, self.concurrency).rows()
