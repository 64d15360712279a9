"""The location of a record in its data, so that an error can name the line."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from recipekit.records import Label, Passage, Query

__all__ = ["LocatedRecords", "LocatedSource", "Record", "RecordLocation", "Row"]

Record = Passage | Query | Label


class RecordLocation(NamedTuple):
    """A location in a file or table.

    As text it is `name:line` if the line is known, otherwise `name: row N`. Both numbers start at
    1; 0 means unknown.
    """

    name: str
    line: int = 0
    row: int = 0

    def __str__(self) -> str:
        if self.line:
            return f"{self.name}:{self.line}"
        return f"{self.name}: row {self.row}" if self.row else self.name


Row = tuple[RecordLocation, Mapping[str, Any]]
"""The location of a row, and its values by column name."""

LocatedRecords = Iterator[tuple[RecordLocation, Record]]


@dataclass(frozen=True)
class LocatedSource:
    """A `Source` that knows the location of each record.

    Every call of `located` starts a new pass over the data. `counts` is updated during a pass and
    reported with the other counts of the source.
    """

    located: Callable[[], LocatedRecords]
    counts: dict[str, int] = field(default_factory=dict)

    def load(self) -> Iterator[Record]:
        """Return the records without their locations."""
        return (record for _, record in self.located())
