"""The functions that Python programs call: `load_recipe`, `plan` and `run`.

They accept a recipe as a file, as the name of a shipped recipe, as a dict, or loaded. A dict can
hold tables (data frames, Arrow tables, `datasets.Dataset`) wherever a recipe names a file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from recipekit.errors import RunError
from recipekit.pipeline import execute
from recipekit.pipeline import plan as planning
from recipekit.pipeline.launch import Launch
from recipekit.pipeline.project import find_project
from recipekit.pipeline.run_result import Run
from recipekit.recipe.sections import Recipe
from recipekit.sources.in_memory import with_stored_tables
from recipekit.stages import recipe as recipes

__all__ = ["AnyRecipe", "load_recipe", "loaded_recipe", "plan", "run"]

AnyRecipe = str | Path | Mapping[str, Any] | Recipe
"""A recipe file, the name of a shipped recipe, a dict, or a loaded recipe."""


def load_recipe(
    source: str | Path | Mapping[str, Any],
    overrides: Sequence[str] = (),
    *,
    allow_local_code: bool = False,
    trust_remote_code: bool = False,
    cache: Path | str | None = None,
) -> Recipe:
    """Load and validate a recipe.

    No component is built, no data is read, and no server is contacted.

    Args:
        source: A recipe file, the name of a shipped recipe, or the recipe as a dict. Relative paths
            start at the file's folder, and those of a dict at the current folder.
        overrides: A list of `PATH=VALUE`, as `--set` takes them: `["train.batch_size=32"]`. Values
            are written as in a recipe. Their relative paths start at the current folder.
        allow_local_code: Let `use` name a class in a local file, which will be imported.
        trust_remote_code: Let models that bring Python code run it.
        cache: The cache that keeps the tables of a dict; by default, that of the project of the
            current folder.

    Raises:
        RecipeError: Everything that is wrong with the recipe, in the order of the file.
        DataError: A table in a dict cannot be stored.
    """
    if isinstance(source, Mapping):
        source = with_stored_tables(source, find_project(cache=cache).cache / "tables")
    return recipes.load_recipe(
        source,
        overrides,
        allow_local_code=allow_local_code,
        trust_remote_code=trust_remote_code,
    )


def plan(
    recipe: AnyRecipe,
    overrides: Sequence[str] = (),
    *,
    cache: Path | str | None = None,
    start: str | None = None,
    allow_local_code: bool = False,
) -> planning.Plan:
    """Plan a run of a recipe, and write nothing.

    Args:
        recipe: A recipe file, the name of a shipped recipe, a dict, or a loaded recipe.
        overrides: See `load_recipe`.
        cache: The cache's folder; by default, that of the recipe's project.
        start: The stage from which on stages will run again, cached or not.
        allow_local_code: See `load_recipe`.

    Raises:
        RecipeError: The recipe is wrong.
        DataError: A local file that the recipe names is missing.
    """
    with ExitStack() as stack:
        if isinstance(recipe, Mapping):
            folder = stack.enter_context(TemporaryDirectory(prefix="recipekit-plan-"))
            recipe = with_stored_tables(recipe, Path(folder))
        loaded = loaded_recipe(recipe, overrides, cache, allow_local_code=allow_local_code)
        return planning.plan(loaded, cache=cache, start=start)


def run(
    recipe: AnyRecipe,
    overrides: Sequence[str] = (),
    *,
    cache: Path | str | None = None,
    runs: Path | str | None = None,
    start: str | None = None,
    until: str | None = None,
    export_to: Path | str | None = None,
    allow_local_code: bool = False,
    trust_remote_code: bool = False,
    launch: Launch | None = None,
    tracker: str | None = None,
    show_line: Callable[[str], None] = lambda text: None,
) -> Run:
    """Run a recipe.

    Args:
        recipe: A recipe file, the name of a shipped recipe, a dict, or a loaded recipe.
        overrides: See `load_recipe`.
        cache: The cache's folder, whose artifacts are reused; by default, that of the recipe's
            project.
        runs: Where the folder of this run is made; by default, in the recipe's project.
        start: Run this stage and those after it again, even where they are cached.
        until: Stop after this stage.
        export_to: A folder for a copy of what the exporters write, with plain files and no links.
            It is new or empty, or has the exports of an earlier run, which are replaced.
        allow_local_code: See `load_recipe`.
        trust_remote_code: See `load_recipe`.
        launch: How processes are started; one process on the best device by default.
        tracker: An experiment tracker that shows losses and dev values while the run trains, such
            as `tensorboard`, which writes into the run's folder, or `wandb`.
        show_line: Receives lines for the user.

    Raises:
        RecipeError: The recipe is wrong.
        RunError: A stage failed or was killed, or the recipe does not have `start` or `until`.
        RecipekitError: An error that a stage reported.
    """
    finished = execute.run(
        loaded_recipe(
            recipe,
            overrides,
            cache,
            allow_local_code=allow_local_code,
            trust_remote_code=trust_remote_code,
        ),
        cache=cache,
        runs=runs,
        start=start,
        until=until,
        export_to=export_to,
        launch=launch,
        tracker=tracker,
        on_event=lambda event: show_line(event.line) if event.line else None,
    )
    # The program may change its folder.
    return replace(finished, path=finished.path.absolute())


def loaded_recipe(
    recipe: AnyRecipe,
    overrides: Sequence[str],
    cache: Path | str | None,
    **allowed: bool,
) -> Recipe:
    """Return any recipe as a loaded one; see `load_recipe` for the arguments.

    Raises:
        RunError: It is loaded already, so nothing of it can be changed.
    """
    if not isinstance(recipe, Recipe):
        return load_recipe(recipe, overrides, cache=cache, **allowed)
    if overrides or any(allowed.values()):
        names = ", ".join(["overrides", *allowed])
        raise RunError(
            f"this recipe is loaded already: pass {names} to load_recipe",
            code="RK605",
        )
    return recipe
