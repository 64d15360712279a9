"""What an interrupted judge stage keeps."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from recipekit.judging.verdict_log import VerdictLog
from recipekit.report.numbers import plural

__all__ = ["unfinished"]


def unfinished(folder: Path) -> Iterator[str]:
    """Yield the number of verdicts of each judge in a partial artifact."""
    for path in sorted((folder / "scratch" / "verdicts").glob("*")):
        log = VerdictLog(path)
        count = sum(len(batch) for batch in log.batches())
        if count:
            ending = " (complete)" if log.complete else ""
            yield f"{plural(count, 'verdict')} of judge {path.name}{ending}"
