"""The export stage: the model and the data in formats of other tools, one folder per exporter."""

from __future__ import annotations

import json
import re
import shutil
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from recipekit import stages
from recipekit.artifacts.manifest import versions
from recipekit.errors import NO_SPACE, RecipekitError, RunError
from recipekit.recipe.environment import redact
from recipekit.recipe.positions import at
from recipekit.report.blocks import Block, Figure, figures_of
from recipekit.report.efficiency import EFFICIENCY
from recipekit.report.run_folder import RunFolder
from recipekit.stages.export.section import ExportSection
from recipekit.stages.inputs import StageInputs

__all__ = ["export", "failures"]


def export(inputs: StageInputs, section: ExportSection, out: Path) -> dict[str, Any]:
    """Let every exporter write into `out/<name>`, on the main rank, and return their summaries.

    The failure of one exporter does not stop the others: its folder is removed, and its summary is
    `{"failed": message}`, which `accept` raises after the run has the other folders.

    Raises:
        RunError: An exporter is called `scratch`, which is the folder of unfinished work, or no
            exporter succeeded.
    """
    if "scratch" in section.exporters:
        raise RunError(
            "export.exporters.scratch: this name is reserved, since each exporter's name is a "
            "folder; choose another one",
            code="RK625",
        )
    summary: dict[str, Any] = {}
    if inputs.ranks.is_main:
        card = _card(inputs)
        for name, slot in section.exporters.items():
            folder = out / name
            folder.mkdir(parents=True, exist_ok=True)
            try:
                exporter = slot.spec.build(inputs.context(out / "scratch" / name))
                summary[name] = dict(exporter.export(inputs.files, card, folder))
            except Exception as error:
                if isinstance(error, OSError) and error.errno in NO_SPACE:
                    raise
                shutil.rmtree(folder, ignore_errors=True)
                summary[name] = {"failed": _failure(inputs, name, error)}
                if len(section.exporters) == 1:
                    raise
                inputs.progress.warn(f"{name} failed: {summary[name]['failed']}")
        if all("failed" in part for part in summary.values()):
            raise RunError(failures(summary), code="RK644")
    inputs.ranks.barrier()
    return summary


def failures(summary: Mapping[str, Mapping[str, Any]]) -> str:
    """Return one line with the message of each exporter that failed; empty if none did."""
    return "; ".join(
        f"{name}: {part['failed']}" for name, part in summary.items() if "failed" in part
    )


def _failure(inputs: StageInputs, name: str, error: Exception) -> str:
    """Return one line for an error. A bug's traceback goes to a file in the run's folder."""
    if isinstance(error, RecipekitError):
        return error.message
    lines = f"{type(error).__name__}: {error}".strip().splitlines()
    if inputs.run is None:
        return lines[0]
    file = inputs.run / f"export.{name}.traceback.txt"
    file.write_text(redact("".join(traceback.format_exception(error))), encoding="utf-8")
    return f"{redact(lines[0])} (traceback: {file})"


def _card(inputs: StageInputs) -> dict[str, Any]:
    """Return the content of model and data cards.

    `name`, `description` and `recipe` (its text), `base_model` (the trained encoder as the recipe
    names it, or None), `passage_vectors` (where the vectors are that it embeds queries for, or
    None), `metrics` (the rows of `metrics.json`), `efficiency` (what systems cost, by evaluator and
    system), `counts` (of earlier stages, by label), `figures` and `blocks` (of the report),
    `judging` (the summary of the judge stage), `versions`, and `command`, which repeats the run.
    """
    metrics = inputs.files.get("metrics")
    judging = inputs.artifacts.get("judge")
    command = inputs.command or f"recipekit run {inputs.recipe_name}.yaml"
    return {
        "name": inputs.recipe_name,
        "description": inputs.description,
        "recipe": _without_folders(inputs.recipe_text, inputs.recipe_folder),
        "base_model": inputs.encoders[inputs.trained].spec.base_model if inputs.trained else None,
        "passage_vectors": _passage_vectors(inputs),
        "metrics": json.loads(metrics.read_text()) if metrics else [],
        "efficiency": _efficiency(inputs),
        "counts": dict(_counts(inputs)),
        **_described(inputs),
        "judging": judging.manifest.get("summary", {}) if judging else {},
        "versions": versions(),
        "command": _without_folders(command, inputs.recipe_folder),
    }


def _efficiency(inputs: StageInputs) -> dict[str, Any]:
    """Return what the systems of each evaluator cost, where that was measured."""
    rankings = inputs.files.get("rankings")
    files = sorted(rankings.glob(f"*/{EFFICIENCY}")) if rankings else []
    return {file.parent.name: json.loads(file.read_text()) for file in files}


def _described(inputs: StageInputs) -> dict[str, dict[str, list[Any]]]:
    """Return `figures` of the report and further `blocks`: those of the `data`, and of the `model`.

    The model's are those of the stage that trains and of later ones.
    """
    figures: dict[str, list[Figure]] = {"data": [], "model": []}
    blocks: dict[str, list[Block]] = {"data": [], "model": []}
    described: dict[str, dict[str, list[Any]]] = {"figures": figures, "blocks": blocks}
    if inputs.run is None:
        return described
    run = RunFolder(inputs.run, [stage.name for stage in stages.PIPELINE])
    about = "data"
    for stage in stages.PIPELINE:
        about = "model" if stage.trains else about
        if stage.describe and stage.name in inputs.artifacts:
            report = stage.describe(run)
            figures[about] += figures_of([*report.results, *report.details])
            blocks[about] += report.on_cards
    return described


def _counts(inputs: StageInputs) -> Iterator[tuple[str, Any]]:
    """Yield the counts of earlier stages that describe the model, with their labels."""
    for stage in stages.PIPELINE:
        if stage.name in inputs.artifacts:
            summary = inputs.artifacts[stage.name].manifest.get("summary", {})
            for path, label in stage.counts.items():
                if (count := at(summary, path.split("."))) is not None:
                    yield label, count


def _passage_vectors(inputs: StageInputs) -> str | None:
    stored = inputs.encoders[inputs.trained].spec.stored_passages() if inputs.trained else None
    return stored.spec.described() if stored else None


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
