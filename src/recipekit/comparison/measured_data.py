"""What a comparison measures: the evaluators of a recipe, or data that is named."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recipekit.artifacts.key import FileHashes
from recipekit.artifacts.store import Artifact, Store
from recipekit.comparison.resolve import NamedRun
from recipekit.component import EvaluatorSpec, Progress, Ranks, Slot, SourceSpec
from recipekit.dataset import Dataset
from recipekit.errors import RunError
from recipekit.pipeline.data_hashes import data_hashes
from recipekit.pipeline.run_inputs import collected
from recipekit.pipeline.search_run import run_artifacts
from recipekit.recipe.sections import Recipe
from recipekit.stages import dataset_stage_names, evaluating_stage
from recipekit.stages.evaluate.section import EvaluateSection
from recipekit.stages.inputs import StageInputs

__all__ = ["MeasuredData", "Workspace", "cache_of", "of_recipe", "of_run"]


@dataclass(frozen=True)
class Workspace:
    """Where a comparison keeps its results, and how it reports progress."""

    store: Store
    hashes: FileHashes
    progress: Progress
    ranks: Ranks
    scratch: Path
    """A folder that is removed afterwards."""
    trust_remote_code: bool = False

    def inputs(
        self, name: str, seed: int, artifacts: Mapping[str, Artifact] | None = None
    ) -> StageInputs:
        """Return the inputs of an evaluation."""
        return StageInputs(
            recipe_name=name,
            seed=seed,
            artifacts=artifacts or {},
            encoders={},
            trained=None,
            store=self.store,
            hashes=self.hashes,
            progress=self.progress,
            ranks=self.ranks,
            trust_remote_code=self.trust_remote_code,
        )


@dataclass(frozen=True)
class MeasuredData:
    """A data set, and the evaluators that measure it."""

    text: str
    """What it is, for people: `evaluators of recipe tiny`."""
    inputs: StageInputs
    """Inputs with the data set, and without any encoder."""
    evaluators: Mapping[str, Slot[EvaluatorSpec]]
    sources: Mapping[str, Slot[SourceSpec]]
    """Further data sets that evaluators name."""
    seed: int
    notes: Sequence[str] = ()
    """What people should know about the choice of what is measured."""

    @property
    def dataset(self) -> Dataset:
        """The data set."""
        dataset = self.inputs.dataset
        assert dataset is not None, "it was collected"
        return dataset

    def hashes(self) -> dict[str, Any]:
        """Return rows and sha256 of its queries, passages and labels."""
        return data_hashes(self.dataset)


def cache_of(runs: Mapping[str, NamedRun]) -> Path | None:
    """Return the cache that has the data of the first run; None without runs."""
    for run in runs.values():
        return next(iter(dict(run_artifacts(run.path)).values())).path.parents[2]
    return None


def of_run(run: NamedRun, workspace: Workspace) -> MeasuredData:
    """Return the data of a run, with the evaluators of its recipe.

    Raises:
        RunError: The recipe evaluates nothing, or the data is not in the cache any more.
    """
    recipe = run.recipe
    inputs = workspace.inputs(recipe.name, recipe.seed, _data_of(dict(run_artifacts(run.path))))
    return _of(recipe, inputs, f"the evaluators of {run.path}")


def of_recipe(
    recipe: Recipe, workspace: Workspace, *, command: str | None, show_line: Callable[[str], None]
) -> MeasuredData:
    """Return the data of a recipe, collected if it is not in the cache, with its evaluators.

    Raises:
        RunError: The recipe evaluates nothing, or its data cannot be collected.
    """
    _check_evaluates(recipe)
    artifacts = collected(recipe, workspace.store, command=command, show_line=show_line)
    inputs = workspace.inputs(recipe.name, recipe.seed, _data_of(artifacts))
    return _of(recipe, inputs, f"the evaluators of recipe {recipe.name}")


def _of(recipe: Recipe, inputs: StageInputs, text: str) -> MeasuredData:
    section = _check_evaluates(recipe)
    return MeasuredData(text, inputs, section.evaluators, section.sources, recipe.seed)


def _check_evaluates(recipe: Recipe) -> EvaluateSection:
    section = recipe.section(EvaluateSection)
    if section is None:
        raise RunError(
            f"recipe '{recipe.name}' has no {evaluating_stage().name} section, so there is "
            "nothing to compare by: name another recipe with --recipe, or data with --on",
            code="RK674",
        )
    return section


def _data_of(artifacts: Mapping[str, Artifact]) -> dict[str, Artifact]:
    return {name: artifacts[name] for name in dataset_stage_names() if name in artifacts}
