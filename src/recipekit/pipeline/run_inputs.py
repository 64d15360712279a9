"""Finished artifacts of a recipe, for commands that try a stage or measure without running it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from recipekit import stages
from recipekit.artifacts.store import Artifact, Store
from recipekit.errors import RunError
from recipekit.pipeline.execute import run
from recipekit.pipeline.plan import plan
from recipekit.pipeline.preflight import check_servers
from recipekit.pipeline.project import project_of
from recipekit.recipe.sections import Recipe
from recipekit.stages.stage import Stage

__all__ = ["collected", "run_inputs"]


def run_inputs(
    recipe: Recipe,
    stage: Stage,
    *,
    cache: Path | None,
    runs: Path | None,
    command: str,
    show_line: Callable[[str], None],
    check: bool,
) -> tuple[Store, dict[str, Artifact]]:
    """Run the stages that a stage reads unless that is done, and return all finished artifacts.

    Args:
        recipe: The recipe.
        stage: The stage to try.
        cache: The folder of artifacts; by default, that of the recipe's project.
        runs: Where the run's folder is made; by default, in the recipe's project.
        command: The command that resumes a failed run.
        show_line: Receives lines for people.
        check: Whether the servers of the stage itself are checked first.

    Raises:
        RunError: The recipe lacks a section that the stage needs, or a stage failed.
    """
    names = [name for name, _ in recipe.stages()]
    for missing in (need for need in stage.needs if need not in names):
        raise RunError(
            f"there is nothing to {stage.name}: this recipe has no {missing} section",
            code="RK620",
        )
    project = project_of(recipe, cache=cache, runs=runs)
    store = Store(project.cache)
    inputs = stages.inputs_of(stage, names)
    found = _finished(recipe, store)
    if not found.keys() >= set(inputs):
        check_servers(recipe, [stage.name] if check else [])
        run(
            recipe,
            cache=project.cache,
            runs=project.runs,
            until=inputs[-1],
            command=command,
            on_event=lambda event: show_line(event.line) if event.line else None,
        )
        found = _finished(recipe, store)
    return store, found


def collected(
    recipe: Recipe, store: Store, *, command: str | None, show_line: Callable[[str], None]
) -> dict[str, Artifact]:
    """Collect the data set of a recipe unless that is done, and return all finished artifacts.

    The run that collects leaves no folder: the recipe's latest run stays what it was.

    Args:
        recipe: The recipe.
        store: The cache.
        command: The command that resumes a failed run; None where there is none.
        show_line: Receives lines for people.

    Raises:
        RunError: A stage failed.
    """
    present = [name for name, _ in recipe.stages()]
    needed = [name for name in stages.dataset_stage_names() if name in present]
    found = _finished(recipe, store)
    if not found.keys() >= set(needed):
        with TemporaryDirectory(prefix="recipekit-collect-") as runs:
            run(
                recipe,
                cache=store.root,
                runs=runs,
                until=needed[-1],
                command=command,
                on_event=lambda event: show_line(event.line) if event.line else None,
            )
        found = _finished(recipe, store)
    return found


def _finished(recipe: Recipe, store: Store) -> dict[str, Artifact]:
    """Return the cached artifacts of a recipe, by stage."""
    keys = {planned.stage: planned.key for planned in plan(recipe, cache=store.root)}
    found = {stage: store.find(stage, key) for stage, key in keys.items() if key}
    return {stage: artifact for stage, artifact in found.items() if artifact is not None}
