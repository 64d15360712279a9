"""Sources of passages, queries and labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar, Protocol

from recipekit.component.fields import NotIdentity
from recipekit.component.spec import Component

if TYPE_CHECKING:
    from recipekit.records import Label, Passage, Query

__all__ = ["Source", "SourceSpec"]


class Source(Protocol):
    """Reads passages, queries and labels. Subclass it for the defaults of the optional members."""

    def load(self) -> Iterator[Passage | Query | Label]:
        """Stream passages, queries and labels, in any order.

        Raises:
            DataError: The input is wrong; the message names file and line.
        """

    def located(self) -> Iterator[tuple[object, Passage | Query | Label]]:
        """Stream the records of `load()` as (location, record); optional.

        `str(location)` is something like `file:line`, which errors about the record then name.
        """
        return iter(())

    @property
    def counts(self) -> Mapping[str, int]:
        """Numbers for the stage's summary, once the source is read; optional."""
        return {}


class SourceSpec(Component[Source]):
    """A source of passages, queries and labels."""

    kind: ClassVar[str] = "source"

    license: Annotated[str | None, NotIdentity] = None
    """The licence of the data, as an SPDX id or the Hub's name, such as `cc-by-sa-4.0`.
    `recipekit share` includes local files only if their licence allows it."""
