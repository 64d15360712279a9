"""A small data set, for tests that need one."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pyarrow as pa

from recipekit.dataset import Dataset
from recipekit.records import SPLITS
from recipekit.tables import LABELS, PASSAGES, QUERIES, write_table

__all__ = ["small_dataset"]

WORDS: Final = (
    "river mountain valley ocean forest desert engine piston valve turbine gear wheel violin piano "
    "drum flute opera choir enzyme protein gene cell virus tissue planet comet orbit star galaxy "
    "moon bread cheese butter honey pepper salt"
).split()


def small_dataset(folder: Path) -> Dataset:
    """Write a collected data set of 36 passages and 24 queries, and open it.

    Each passage has four words, and each query is the first two words of the passage that is its
    only positive. 12 queries are in train, 6 in dev and 6 in test.

    Args:
        folder: Where the tables are written; it is created.
    """
    passages = [
        " ".join(WORDS[(row + 7 * step) % len(WORDS)] for step in range(4)) for row in range(36)
    ]
    queries = [" ".join(text.split()[:2]) for text in passages[:24]]
    splits = [SPLITS.index("train")] * 12 + [SPLITS.index("dev")] * 6 + [SPLITS.index("test")] * 6
    rows = list(range(24))
    tables = {
        "passages": (PASSAGES, [_ids("p", 36), [""] * 36, passages, ["test"] * 36]),
        "queries": (QUERIES, [_ids("q", 24), queries, splits, ["test"] * 24]),
        "labels": (LABELS, [rows, rows, [1.0] * 24]),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, (schema, columns) in tables.items():
        write_table(folder / f"{name}.arrow", schema, [pa.table(columns, schema=schema)])
    return Dataset(folder, "small-dataset")


def _ids(prefix: str, count: int) -> list[str]:
    return [f"{prefix}{row}" for row in range(count)]
