"""The file of an evaluator that has every item's values: queries, pairs, triplets or sentences."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recipekit.tables import write_table

__all__ = ["PER_QUERY", "PER_QUERY_FILE", "equal_names", "write_per_query"]

PER_QUERY_FILE: Final = "per_query.arrow"

PER_QUERY = pa.schema(
    [
        ("query", pa.int32()),
        ("system", pa.dictionary(pa.int16(), pa.string())),
        ("metric", pa.dictionary(pa.int16(), pa.string())),
        ("value", pa.float64()),
    ]
)
"""Each item's value of each metric by each system, which allows paired tests between runs.

`query` is a query's row in the data set, or the number of an item in the file of an evaluator that
has texts of its own.
"""


def write_per_query(
    folder: Path,
    queries: npt.NDArray[np.integer],
    metrics: Sequence[str],
    values: Mapping[str, npt.NDArray[np.float64]],
) -> None:
    """Write the values of every item into a folder.

    Args:
        folder: The evaluator's folder.
        queries: The numbers of the n items, (n,).
        metrics: The M metrics.
        values: Their values of each item by system, (n, M).
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_table(folder / PER_QUERY_FILE, PER_QUERY, _batches(queries, metrics, values))


def _batches(
    queries: npt.NDArray[np.integer],
    metrics: Sequence[str],
    values: Mapping[str, npt.NDArray[np.float64]],
) -> Iterator[pa.RecordBatch]:
    query, names = pa.array(queries.astype(np.int32)), list(values)
    for s, own in enumerate(values.values()):
        for m in range(len(metrics)):
            system, metric = equal_names(names, s), equal_names(metrics, m)
            columns = [query, system(len(query)), metric(len(query)), pa.array(own[:, m])]
            yield pa.RecordBatch.from_arrays(columns, schema=PER_QUERY)


def equal_names(names: Sequence[str], number: int) -> Callable[[int], pa.Array]:
    """Return what makes a column of n times the same name.

    Its dictionary has all names, since an Arrow file has only one dictionary for a column.
    """
    return lambda n: pa.DictionaryArray.from_arrays(
        pa.array(np.full(n, number, dtype=np.int16)), pa.array(names)
    )
