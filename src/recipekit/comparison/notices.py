"""Progress that shows a notice once, although a model that is loaded again repeats it."""

from __future__ import annotations

from pathlib import Path

from recipekit.pipeline.progress import ConsoleProgress
from recipekit.pipeline.run_events import Output

__all__ = ["NoticesOnce"]


class NoticesOnce(ConsoleProgress):
    """The progress of a comparison."""

    def __init__(self, log: Path, *, output: Output = "text") -> None:
        super().__init__(log, "compare", output=output)
        self._shown: set[str] = set()

    def info(self, message: str) -> None:
        """Show a message and log it, unless it was shown."""
        if self._is_new(message):
            super().info(message)

    def warn(self, message: str) -> None:
        """Show a warning and log it, unless it was shown."""
        if self._is_new(message):
            super().warn(message)

    def _is_new(self, message: str) -> bool:
        is_new = message not in self._shown
        self._shown.add(message)
        return is_new
