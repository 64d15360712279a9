"""Whether every exporter succeeded, checked for cached exports too."""

from __future__ import annotations

from pathlib import Path

from recipekit.artifacts.store import Artifact
from recipekit.errors import RunError
from recipekit.stages.export.export import failures
from recipekit.stages.export.section import ExportSection

__all__ = ["accept"]


def accept(section: ExportSection, artifact: Artifact, run: Path) -> None:
    """Report the exporters that failed.

    Raises:
        RunError: At least one failed. The folders of the others are in the run.
    """
    summary = artifact.manifest["summary"]
    failed = failures(summary)
    if failed:
        written = ", ".join(name for name, part in summary.items() if "failed" not in part)
        raise RunError(
            f"{failed}. The others ({written}) are in {run}/stages/export. To export again, add "
            "`--from export`",
            code="RK644",
        )
