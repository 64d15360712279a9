"""Exporters of models and data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Protocol

from recipekit.component.spec import Component

__all__ = ["Exporter", "ExporterSpec"]


class Exporter(Protocol):
    """Writes a model or data in a form that other tools read."""

    def export(
        self, files: Mapping[str, Path], card: Mapping[str, Any], folder: Path
    ) -> Mapping[str, Any]:
        """Write the export.

        Args:
            files: What finished stages wrote, by name, such as `judgments` (a table) and `encoder`
                (the folder of the trained encoder). What no stage wrote is missing.
            card: Content for a model or data card; every key is optional. `name` and
                `description` of the recipe, `recipe` (its text), `command` (repeats the run),
                `base_model` (the trained encoder as the recipe names it), `passage_vectors`
                (where the vectors are that it embeds queries for), `metrics` (the rows of
                `metrics.json`), `efficiency` (what systems cost, by evaluator and system),
                `counts` (of earlier stages, by label), `judging` (the summary of the judge
                stage), `versions`.
            folder: The folder to write into; it exists and is empty.

        Returns:
            What was written, as counts for the report.
        """


class ExporterSpec(Component[Exporter]):
    """Writes the model or the data in a form that other tools read."""

    kind: ClassVar[str] = "exporter"
