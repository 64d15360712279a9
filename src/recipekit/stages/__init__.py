"""The pipeline: its stages, in order.

`PIPELINE` is the only list of stages. It defines the sections of a recipe, the plan and its
estimates, the order of the report, and what `--from` and `--until` accept. Every recipe has the
section of the first stage. To add a stage, write a folder `stages/<name>/` with a declaration in
`stage.py`, and add it here.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from recipekit.stages.collect.stage import COLLECT
from recipekit.stages.evaluate.stage import EVALUATE
from recipekit.stages.export.stage import EXPORT
from recipekit.stages.judge.stage import JUDGE
from recipekit.stages.mine.stage import MINE
from recipekit.stages.stage import Stage
from recipekit.stages.train.stage import TRAIN

if TYPE_CHECKING:
    from recipekit.artifacts.store import Artifact
    from recipekit.recipe.sections import Recipe

__all__ = [
    "PIPELINE",
    "Stage",
    "dataset_stage_names",
    "dataset_stages",
    "evaluating_stage",
    "files_of",
    "inputs_of",
    "stage_named",
    "trained_encoder",
    "training_artifact",
    "training_stage",
    "writer_of",
]

PIPELINE: Final[tuple[Stage, ...]] = (COLLECT, MINE, JUDGE, TRAIN, EVALUATE, EXPORT)


def stage_named(name: str) -> Stage:
    """Return the stage of a name.

    Raises:
        KeyError: There is no such stage.
    """
    for stage in PIPELINE:
        if stage.name == name:
            return stage
    raise KeyError(name)


def inputs_of(stage: Stage, present: Collection[str]) -> list[str]:
    """Return the stages whose artifacts a stage depends on, in order.

    Args:
        stage: The stage.
        present: The stages that the recipe has.
    """
    earlier = PIPELINE[: PIPELINE.index(stage)]
    return [
        other.name
        for other in earlier
        if other.name in present and (other.extends_dataset or other.name in stage.reads)
    ]


def writer_of(file: str) -> Stage:
    """Return the stage that writes a file, by the name in its declaration.

    Raises:
        KeyError: No stage does.
    """
    for stage in PIPELINE:
        if file in stage.writes:
            return stage
    raise KeyError(file)


def dataset_stages() -> list[Stage]:
    """Return the stages that extend the data set, in order."""
    return [stage for stage in PIPELINE if stage.extends_dataset]


def dataset_stage_names() -> list[str]:
    """Return the names of the stages that extend the data set, in order."""
    return [stage.name for stage in dataset_stages()]


def training_stage() -> Stage:
    """Return the stage that trains the encoder."""
    return next(stage for stage in PIPELINE if stage.trains)


def evaluating_stage() -> Stage:
    """Return the stage that measures systems with evaluators."""
    return writer_of("metrics")


def trained_encoder(recipe: Recipe) -> str | None:
    """Return the encoder that a recipe trains; None if it trains none."""
    section = getattr(recipe, training_stage().name, None)
    return None if section is None else str(section.encoder)


def training_artifact(artifacts: Mapping[str, Artifact]) -> Artifact | None:
    """Return the artifact that has trained weights; None before training.

    Args:
        artifacts: Finished artifacts, by stage.
    """
    return artifacts.get(training_stage().name)


def files_of(artifacts: Mapping[str, Artifact]) -> dict[str, Path]:
    """Return the files that finished stages wrote for others, by their names.

    Args:
        artifacts: Finished artifacts, by stage.
    """
    return {
        name: artifacts[stage.name].path / path
        for stage in PIPELINE
        if stage.name in artifacts
        for name, path in stage.writes.items()
        if (artifacts[stage.name].path / path).exists()
    }
