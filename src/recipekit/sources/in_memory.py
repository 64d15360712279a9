"""Tables in memory as files of a recipe: data frames, Arrow tables and `datasets.Dataset`s.

A recipe given as a Python dict can hold a table wherever it names a file:

```python
{"use": "pairs", "file": frame, "query": "question", "positive": "answer"}
```

The table is written once, to an Arrow file whose name is the hash of its content. The recipe that
runs names this file, so equal tables share their artifacts, and the run can be repeated without the
program that made the table.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipekit.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["is_table", "store_table", "with_stored_tables"]

ROWS_PER_BATCH = 1 << 16
"""Fixed, so that the file does not depend on how the table is divided in memory."""


def with_stored_tables(recipe: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return a recipe in which every table in memory is replaced by the path of its file.

    Args:
        recipe: The recipe as nested dicts and lists. It is not changed.
        folder: Where tables are stored, such as `.recipekit/tables`.

    Raises:
        DataError: A table cannot be written as Arrow; the message names its key path.
    """

    def stored(value: Any, path: tuple[str, ...]) -> Any:
        if isinstance(value, Mapping) and not is_table(value):
            return {key: stored(item, (*path, str(key))) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [stored(item, (*path, str(number))) for number, item in enumerate(value)]
        if not is_table(value):
            return value
        try:
            return str(store_table(value, folder))
        except DataError as error:
            raise error.with_message(f"{'.'.join(path)}: {error.message}") from error

    return {key: stored(value, (str(key),)) for key, value in recipe.items()}


def is_table(value: object) -> bool:
    """Return whether a value is a table of pandas, polars, pyarrow, `datasets` or similar."""
    return (
        hasattr(value, "__arrow_c_stream__")
        or _comes_from(value, "datasets", "Dataset", "DatasetDict", "IterableDataset")
        or _comes_from(value, "pandas", "DataFrame", "Series")
        or _comes_from(value, "polars", "DataFrame", "LazyFrame", "Series")
    )


def store_table(table: object, folder: Path) -> Path:
    """Write a table to `folder/<hash of its content>.arrow`, if it is not there, and return it.

    An unnamed index of a pandas data frame is left out; named ones become columns.

    Raises:
        DataError: The value is not one table, or Arrow cannot represent a column.
    """
    import pyarrow as pa

    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f"{os.getpid()}.partial"
    try:
        batches = _batches(table)
        first = next(batches)
        with pa.OSFile(str(partial), "wb") as sink, pa.ipc.new_file(sink, first.schema) as writer:
            writer.write(first)
            for batch in batches:
                writer.write(batch)
        with partial.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()[:32]
        return partial.replace(folder / f"{digest}.arrow")
    except (pa.ArrowException, TypeError, ValueError) as error:
        lines = str(error).splitlines()
        reason = lines[0] if lines else type(error).__name__
        raise DataError(
            f"the {_type_name(table)} cannot be written as Arrow: {reason}", code="RK304"
        ) from error
    finally:
        partial.unlink(missing_ok=True)


def _comes_from(value: object, package: str, *names: str) -> bool:
    return any(
        base.__module__.split(".")[0] == package and base.__name__ in names
        for base in type(value).__mro__
    )


def _type_name(value: object) -> str:
    return f"{type(value).__module__.split('.')[0]}.{type(value).__name__}"


def _batches(value: Any) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a table in batches of a fixed size, at least one."""
    import pyarrow as pa

    if _comes_from(value, "datasets", "DatasetDict", "IterableDatasetDict"):
        raise DataError(
            f"the {_type_name(value)} has several splits ({', '.join(value)}): name one source for "
            "each, as in `data['train']`",
            code="RK304",
        )
    if _comes_from(value, "datasets", "IterableDataset"):
        raise DataError(
            "a datasets.IterableDataset cannot be read twice: use a datasets.Dataset, or the "
            "source `hub` with `streaming: true`",
            code="RK304",
        )
    if _comes_from(value, "datasets", "Dataset"):
        rows = value.with_format("arrow")
        parts = rows.iter(batch_size=ROWS_PER_BATCH) if len(rows) else iter([value.data.table])
    else:
        table = _arrow_table(value)
        starts = range(0, max(table.num_rows, 1), ROWS_PER_BATCH)
        parts = (table.slice(start, ROWS_PER_BATCH) for start in starts)
    for part in parts:
        plain = pa.table(part).replace_schema_metadata(None)
        schema = pa.schema(
            [pa.field(field.name, _plain_type(field.type)) for field in plain.schema]
        )
        columns = [column.combine_chunks() for column in plain.cast(schema).columns]
        yield pa.record_batch(columns, schema=schema)


def _arrow_table(value: Any) -> pa.Table:
    import pyarrow as pa

    if _comes_from(value, "pandas", "Series") or _comes_from(value, "polars", "Series"):
        raise DataError(f"a {_type_name(value)} is one column: make it a data frame", code="RK304")
    if _comes_from(value, "pandas", "DataFrame"):
        named = any(name is not None for name in value.index.names)
        frame = value.reset_index() if named else value
        return pa.Table.from_pandas(frame, preserve_index=False)
    if _comes_from(value, "polars", "LazyFrame"):
        value = value.collect()
    return pa.table(value)


def _plain_type(type: pa.DataType) -> pa.DataType:
    """Return one type for all kinds of text, so that equal tables of two libraries are equal."""
    import pyarrow as pa

    if pa.types.is_dictionary(type):
        return _plain_type(type.value_type)
    is_text = pa.types.is_string(type) or pa.types.is_string_view(type)
    return pa.large_string() if is_text else type
