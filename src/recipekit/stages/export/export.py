"""The export stage: the model and the data in formats of other tools, one folder per exporter."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from recipekit.artifacts.manifest import versions
from recipekit.errors import RunError
from recipekit.stages.export.section import ExportSection
from recipekit.stages.inputs import StageInputs

__all__ = ["export"]


def export(inputs: StageInputs, section: ExportSection, out: Path) -> dict[str, Any]:
    """Let every exporter write into `out/<name>`, on the main rank, and return their summaries.

    Raises:
        RunError: An exporter is called `scratch`, which is the folder of unfinished work.
    """
    if "scratch" in section.exporters:
        raise RunError(
            "export.exporters.scratch: this name is reserved, since each exporter's name is a "
            "folder; choose another one",
            code="RK625",
        )
    summary: dict[str, Any] = {}
    if inputs.ranks.is_main:
        finished = {name: artifact.path for name, artifact in inputs.artifacts.items()}
        card = _card(inputs)
        for name, slot in section.exporters.items():
            folder = out / name
            folder.mkdir(parents=True, exist_ok=True)
            exporter = slot.spec.build(inputs.context(out / "scratch" / name))
            summary[name] = dict(exporter.export(finished, card, folder))
    inputs.ranks.barrier()
    return summary


def _card(inputs: StageInputs) -> dict[str, Any]:
    """Return the content of model and data cards.

    `name`, `description` and `recipe` (its text), `base_model` (the trained encoder as the recipe
    names it, or None), `metrics` (the rows of `metrics.json`), `counts` (each stage's summary),
    `versions`, and `command`, which repeats the run.
    """
    metrics = (
        inputs.artifacts["evaluate"].path / "metrics.json"
        if "evaluate" in inputs.artifacts
        else None
    )
    command = inputs.command or f"recipekit run {inputs.recipe_name}.yaml"
    return {
        "name": inputs.recipe_name,
        "description": inputs.description,
        "recipe": _without_folders(inputs.recipe_text, inputs.recipe_folder),
        "base_model": inputs.encoders[inputs.trained].spec.base_model if inputs.trained else None,
        "metrics": json.loads(metrics.read_text()) if metrics and metrics.is_file() else [],
        "counts": {
            name: artifact.manifest.get("summary", {})
            for name, artifact in inputs.artifacts.items()
        },
        "versions": versions(),
        "command": _without_folders(command, inputs.recipe_folder),
    }


def _without_folders(text: str, recipe_folder: Path | None) -> str:
    """Replace the folders of this machine in a text, since cards are shared.

    The recipe's folder becomes `.`, from whichever folder the recipe is run.
    """
    for folder, written in ((recipe_folder, "."), (Path.cwd(), "."), (Path.home(), "~")):
        if folder is not None and folder != Path(folder.anchor):
            text = re.sub(
                rf"(?<![\w.~/-]){re.escape(str(folder))}(?=/|$|[\s'\",}}\]])",
                written,
                text,
                flags=re.MULTILINE,
            )
    return text
