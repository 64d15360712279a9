"""Tables from the counts that a stage returns as its summary."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from recipekit.report.blocks import Line, Table
from recipekit.report.numbers import figure

__all__ = ["counts_table", "rows_table"]

Counts = Mapping[str, Any]


def counts_table(counts: Counts, labels: Mapping[str, str], *, title: Line = "") -> Table | None:
    """The labelled figures of nested counts as a table of two columns; None if there are none.

    Args:
        counts: Counts, nested to any depth.
        labels: A label for the dotted path of each figure to show, in the order of the rows. A
            figure that is missing has no row. A label that ends with `?` has none if it is 0.
        title: The table's title.
    """
    rows: list[list[Line]] = []
    for path, label in labels.items():
        value = _at(counts, path)
        optional = label.endswith("?")
        if value is not None and not (optional and not value):
            rows.append([label.removesuffix("?"), figure(value)])
    return Table(["", ""], rows, title=title) if rows else None


def rows_table(
    rows: Mapping[str, Counts],
    *,
    name: Line = "",
    labels: Mapping[str, str] | None = None,
    title: Line = "",
    left: int = 1,
) -> Table | None:
    """One row for each named group of counts, one column for each count; None without rows.

    Args:
        rows: Counts by the name of their row. Deeper counts get a column each.
        name: The header of the first column.
        labels: Headers by key; other keys become headers with spaces for underscores.
        title: The table's title.
        left: Columns aligned left.
    """
    if not rows:
        return None
    cells = {row: dict(_flat(counts)) for row, counts in rows.items()}
    columns = list(dict.fromkeys(column for row in cells.values() for column in row))
    known = labels or {}
    header = [name, *(known.get(column, column.replace("_", " ")) for column in columns)]
    body = [[row, *(values.get(column, "") for column in columns)] for row, values in cells.items()]
    return Table(header, body, title=title, left=left)


def _at(counts: Counts, path: str) -> Any:
    """The value at a dotted path, or None."""
    value: Any = counts
    for key in path.split("."):
        if not isinstance(value, Mapping) or key not in value:
            return None
        value = value[key]
    return value


def _flat(counts: Counts, prefix: str = "") -> Iterator[tuple[str, str]]:
    """The leaves of nested counts; deeper ones have the keys above them in front."""
    for key, value in counts.items():
        path = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _flat(value, f"{path} ")
        elif isinstance(value, list | tuple):
            yield path, ", ".join(map(figure, value)) or "-"
        else:
            yield path, figure(value)
