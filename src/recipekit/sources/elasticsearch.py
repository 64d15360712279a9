"""A corpus in an Elasticsearch index, with queries and judgments from files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field

from recipekit.component import Context, LocalPath, NotIdentity, Progress, SourceSpec
from recipekit.data_files.delimited import delimited_rows
from recipekit.data_files.json_lines import json_rows
from recipekit.data_files.locations import RecordLocation, Row
from recipekit.engines.elasticsearch.access import ElasticsearchAccess
from recipekit.errors import DataError
from recipekit.sources.beir import BeirReader, QrelsOf
from recipekit.sources.locations import LocatedSource, Record

__all__ = ["ElasticsearchSourceSpec"]


class ElasticsearchSourceSpec(ElasticsearchAccess, SourceSpec):
    """Passages from an Elasticsearch index (server 8 or 9), queries and judgments from BEIR files.

    The index is read at one point in time, in parallel slices, and never written to. The order of
    its documents stays the same as long as nothing is written to the index.
    """

    live: ClassVar[bool] = True

    index: str = Field(min_length=1)
    """The index or alias to read."""
    id_field: str | None = Field(default=None, min_length=1)
    """The field with a passage's id; by default the document's `_id`."""
    title_field: str | None = Field(default=None, min_length=1)
    """The field with its title, if it has one."""
    text_field: str = Field(default="text", min_length=1)
    """The field with its text."""
    filter: dict[str, Any] | None = Field(default=None, min_length=1)
    """A query in Elasticsearch's query language: only matching documents are read.

    Example: `{term: {language: en}}`.
    """
    queries: LocalPath
    """A `queries.jsonl`: objects with `_id` and `text`."""
    qrels: dict[QrelsOf, LocalPath] = Field(min_length=1)
    """The judgments, a file of tab-separated `query-id`, `corpus-id` and `score` for each split:
    `{train: train.tsv, test: test.tsv}`. Queries under `all` are split as the recipe says."""
    min_positive_grade: float | None = Field(default=None, gt=0)
    """The lowest score of a positive; by default every score above 0 is one.

    The rest are judged negatives.
    """
    page_size: Annotated[int, NotIdentity, Field(ge=1, le=10_000)] = 1000
    """Documents per request."""

    def files(self) -> Mapping[str, Path]:
        """The files that are read."""
        qrels = {f"qrels.{split}": path for split, path in self.qrels.items()}
        return {"queries": self.queries, **qrels}

    def fingerprint(self) -> Any:
        """The state of the index."""
        from recipekit.engines.elasticsearch.existing import fingerprint

        with closing(self.connect_briefly()) as connection:
            return fingerprint(connection, self.index)

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
                split: partial(delimited_rows, path, "\t", quoting="none")
                for split, path in self.qrels.items()
            },
            name=f"index '{self.index}'",
            min_positive_grade=self.min_positive_grade,
            counts=counts,
        )
        return reader.located(progress)

    def _rows(self, progress: Progress) -> Iterator[Row]:
        from recipekit.engines.elasticsearch.client import check_version
        from recipekit.engines.elasticsearch.existing import check_fields
        from recipekit.engines.elasticsearch.scan import scan

        keys = {name: getattr(self, name) for name in ("id_field", "title_field", "text_field")}
        named = {"_id": self.id_field, "title": self.title_field, "text": self.text_field}
        columns = {column: field for column, field in named.items() if field is not None}
        with closing(self.connect(progress.warn)) as connection:
            check_version(connection)
            check_fields(connection, self.index, searched={}, read=keys)
            for hit in scan(
                connection,
                self.index,
                fields=sorted(set(columns.values())),
                filter=self.filter,
                page_size=self.page_size,
                slices=self.concurrency,
            ):
                location = RecordLocation(f"{connection.server}, {hit['_index']}/{hit['_id']}")
                row: dict[str, Any] = {"_id": hit["_id"], "title": ""}
                for column, field in columns.items():
                    row[column] = _single(hit.get("fields", {}).get(field, []), field, location)
                yield location, row


def _single(values: list[Any], field: str, location: RecordLocation) -> Any:
    """A field's only value, None if it has none."""
    if len(values) > 1:
        raise DataError(
            f"{location}: '{field}' has {len(values)} values instead of one", code="RK304"
        )
    return values[0] if values else None
