"""Where a record came from, so that an error can name the line."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from recipekit.records import Label, Passage, Query

__all__ = ["LocatedSource", "Record", "RecordLocation", "Row"]

Record = Passage | Query | Label


class RecordLocation(NamedTuple):
    """A place in some data.

    `file:line` where lines can be counted, else `file: row N`; both are 1-based, 0 is unknown.
    """

    name: str
    line: int = 0
    row: int = 0

    def __str__(self) -> str:
        if self.line:
            return f"{self.name}:{self.line}"
        return f"{self.name}: row {self.row}" if self.row else self.name


Row = tuple[RecordLocation, Mapping[str, Any]]
"""A row of a file or table by column name, and where it stands."""


@dataclass(frozen=True)
class LocatedSource:
    """A `Source` that can say where each of its records stands.

    `located` starts a new pass over the data at every call. `counts` is filled as a pass goes on;
    what it says is shown with the source's other counts.
    """

    located: Callable[[], Iterator[tuple[RecordLocation, Record]]]
    counts: dict[str, int] = field(default_factory=dict)

    def load(self) -> Iterator[Record]:
        """The records alone."""
        return (record for _, record in self.located())
