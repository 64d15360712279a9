"""Runs a recipe again with other seeds of training, to measure the spread of its figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from recipekit.errors import RunError
from recipekit.pipeline.execute import run as execute
from recipekit.pipeline.launch import Launch
from recipekit.report.run_folder import RunFolder
from recipekit.stages import evaluating_stage, training_stage
from recipekit.stages.recipe import load_recipe

__all__ = ["repeat_with_seeds"]


def repeat_with_seeds(
    run: RunFolder,
    seeds: int,
    *,
    launch: Launch,
    allowed: Mapping[str, bool],
    show_line: Callable[[str], None],
) -> list[list[dict[str, Any]]]:
    """Train and evaluate a run's recipe again with other seeds, and return the rows of metrics.

    Collected data, candidates and judgments come from the cache: only training differs.

    Args:
        run: The run.
        seeds: How many further seeds.
        launch: How processes are started.
        allowed: `allow_local_code` and `trust_remote_code`, for loading the recipe.
        show_line: Receives lines for the user.

    Raises:
        RunError: The recipe does not train.
    """
    trains = training_stage().name
    if not run.section(trains):
        raise RunError(
            f"{run.path}: --seeds has nothing to repeat, since this recipe has no {trains} section "
            "and gives the same figures again",
            code="RK617",
        )
    first = int(run.section(trains).get("seed") or run.recipe["seed"])
    found = []
    for seed in range(first + 1, first + seeds + 1):
        show_line(f"seed {seed}: training and evaluating again")
        file = run.path / "recipe.resolved.yaml"
        recipe = load_recipe(file, [f"{trains}.seed={seed}"], **allowed)
        repeated = execute(
            recipe,
            cache=run.cache,
            runs=run.cache / "seeds",
            until=evaluating_stage().name,
            launch=launch,
            output="quiet",
        )
        found.append(repeated.metric_rows)
    return found
