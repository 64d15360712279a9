"""`Dataset`: queries, passages and labels, whichever stages they come from."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recipekit.arrays import Rows
from recipekit.records import SPLITS, Side
from recipekit.tables import TextTable, read_table

__all__ = ["Dataset"]


class Dataset:
    """A view over one or more stage artifacts.

    The first artifact holds the passages. Every artifact may hold `queries.arrow` and
    `labels.arrow`: their queries are joined in order, and the query column of each labels table
    counts from the artifact's own first query. Each record names its source in `source`.
    """

    def __init__(self, path: Path, key: str, more: Sequence[Path] = ()) -> None:
        """Open a data set; its tables are mapped when they are first used.

        Args:
            path: Folder with `queries.arrow`, `passages.arrow` and `labels.arrow`.
            key: Identifies the content: queries, passages and labels together.
            more: Folders with further `queries.arrow` and `labels.arrow`.
        """
        self.path = path
        self.key = key
        self.folders = (path, *more)

    def files(self, side: Side) -> list[Path]:
        """Return the files of one side's texts, ids and sources.

        What is derived from them alone (an index, embeddings) is keyed by their content.
        """
        if side == "passage":
            return [self.path / "passages.arrow"]
        return [folder / "queries.arrow" for folder in self.folders]

    @cached_property
    def queries(self) -> TextTable:
        """Queries by row."""
        return TextTable(pa.concat_tables(map(read_table, self.files("query"))))

    @cached_property
    def passages(self) -> TextTable:
        """Passages by row."""
        return TextTable(read_table(self.path / "passages.arrow"))

    def table(self, side: Side) -> TextTable:
        """Return the texts of one side, by row."""
        return self.queries if side == "query" else self.passages

    @cached_property
    def labels(self) -> pa.Table:
        """Source labels, as `LABELS`."""
        tables = []
        first = 0
        for folder, file in zip(self.folders, self.files("query"), strict=True):
            labels = read_table(folder / "labels.arrow")
            if first:
                query = pc.add(labels["query"], pa.scalar(first, pa.int32()))
                labels = labels.set_column(0, labels.schema.field("query"), query)
            tables.append(labels)
            first += read_table(file).num_rows
        return pa.concat_tables(tables)

    @cached_property
    def positives(self) -> pa.Table:
        """The source positives, as `LABELS`."""
        return self.labels.filter(pc.greater(self.labels["grade"], 0))

    def rows(self, split: str) -> Rows:
        """Return the rows of a split's queries, ascending.

        Raises:
            KeyError: There is no such split.
        """
        if split not in SPLITS:
            raise KeyError(split)
        codes = self.queries.table["split"].to_numpy()
        return np.flatnonzero(codes == SPLITS.index(split)).astype(np.int64)
