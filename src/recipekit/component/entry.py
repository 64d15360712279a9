"""`Entry`, a component that is installed but not yet imported."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["Entry"]


@dataclass(frozen=True)
class Entry:
    """A component by its entry point, not yet imported."""

    kind: str
    name: str
    distribution: str
    distribution_version: str
    target: str
    """`module:Class`, or for local code the file and class as the recipe names them."""
    file: Path | None = None
    """The file of a component from local code."""

    @property
    def use(self) -> str:
        """The value of `use:` that names exactly this component."""
        return self.target if self.file else f"{self.distribution}/{self.name}"
