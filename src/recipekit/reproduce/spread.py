"""Further runs of a recipe, which measure the spread of its figures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from recipekit.errors import RunError, StoreError
from recipekit.pipeline.execute import run as execute
from recipekit.pipeline.launch import Launch
from recipekit.pipeline.named_files import named_files
from recipekit.recipe.sections import Recipe
from recipekit.report.run_folder import RunFolder
from recipekit.reproduce.drift import Drift, drift, in_words
from recipekit.reproduce.run_lock import recorded_lock
from recipekit.stages import PIPELINE, evaluating_stage, training_stage
from recipekit.stages.recipe import load_recipe

__all__ = ["check_further_runs", "repeat_with_seeds"]

COMPARED: Final = ("files", "revisions", "data", "settings")
"""The parts of a lock in which further runs are equal to the first."""


def check_further_runs(run: RunFolder, recipe: Recipe, others: Sequence[RunFolder]) -> None:
    """Check that further runs can tell how much a run's figures spread.

    They measure the same recipe on the same data, and differ in `train.seed`, device or precision.

    Args:
        run: A finished run.
        recipe: Its recipe.
        others: Finished runs.

    Raises:
        StoreError: One is a run of another recipe, has other settings or data, or computed nothing
            again.
    """
    first = [run]
    for other in others:
        if other.name != run.name:
            raise StoreError(
                f"{other.path}: is a run of another recipe, '{other.name}'; --spread takes runs of "
                f"'{run.name}'",
                code="RK543",
            )
        for earlier in first:
            _check_computed_again(earlier, other)
        found = list(_differences(run, recipe, other))
        if found:
            lines = "".join(f"\n  {line}" for line in in_words(found))
            raise StoreError(
                f"{other.path}: does not repeat {run.path}; --spread takes runs that differ in "
                f"train.seed, device or precision only{lines}",
                code="RK543",
            )
        first.append(other)


def _check_computed_again(earlier: RunFolder, other: RunFolder) -> None:
    """Check that two runs trained, or without training evaluated, for themselves."""
    trains, evaluates = training_stage().name, evaluating_stage().name
    stage = trains if other.finished(trains) else evaluates
    if other.manifests.get(stage) == earlier.manifests.get(stage):
        is_same = other.path.resolve() == earlier.path.resolve()
        reason = "it is the same run" if is_same else f"{stage} was not computed again"
        raise StoreError(
            f"{other.path}: has the same figures as {earlier.path}, since {reason}; --spread "
            "takes runs with another train.seed, device or precision",
            code="RK543",
        )


def _differences(run: RunFolder, recipe: Recipe, other: RunFolder) -> Iterator[Drift]:
    """Yield the differences that make the figures of two runs those of different things."""
    names = [stage.name for stage in PIPELINE]
    measured = names[: names.index(evaluating_stage().name) + 1]
    seed = f"{training_stage().name}.seed"
    first, second = (recorded_lock(each, measured) for each in (run, other))
    for each in drift(first, second, named_files(recipe)):
        path = each.text.partition(":")[0]
        may_differ = path == seed or path.rpartition(".")[2] == "precision"
        if each.part in COMPARED and not may_differ:
            yield each


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
