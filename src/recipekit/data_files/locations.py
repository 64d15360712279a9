"""The location of a row in its file, so that an error can name the line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

__all__ = ["RecordLocation", "Row"]


class RecordLocation(NamedTuple):
    """A location in a file or table.

    As text it is `name:line` or `name:line:column` as far as they are known, otherwise `name: row
    N`. All numbers start at 1; 0 means unknown.
    """

    name: str
    line: int = 0
    row: int = 0
    column: int = 0

    def __str__(self) -> str:
        if self.line and self.column:
            return f"{self.name}:{self.line}:{self.column}"
        if self.line:
            return f"{self.name}:{self.line}"
        return f"{self.name}: row {self.row}" if self.row else self.name


Row = tuple[RecordLocation, Mapping[str, Any]]
"""The location of a row, and its values by column name."""
