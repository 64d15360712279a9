"""Records with their locations, so that an error can name the line of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from recipekit.data_files.locations import RecordLocation
from recipekit.records import Label, Passage, Query

__all__ = ["LocatedRecords", "LocatedSource", "Record"]

Record = Passage | Query | Label

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
