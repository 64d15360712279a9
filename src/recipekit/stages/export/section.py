"""The `export` section of a recipe."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from recipekit.component import ExporterSpec, Name, Slot
from recipekit.recipe.sections import Section

__all__ = ["ExportSection"]


class ExportSection(Section):
    """Write the model and the data in formats that other tools read."""

    exporters: Annotated[dict[Name, Slot[ExporterSpec]], Field(min_length=1)]
    """What to write, by a name of your own, which also names the folder."""
