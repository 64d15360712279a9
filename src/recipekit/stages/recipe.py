"""Recipes of the whole pipeline: `Recipe` with one field per stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import create_model

from recipekit import stages
from recipekit.recipe.load import load
from recipekit.recipe.sections import Recipe
from recipekit.stages.checks import check
from recipekit.stages.stage import Stage

__all__ = ["load_recipe", "recipe_model"]


def recipe_model() -> type[Recipe]:
    """Return `Recipe` with the section of every stage in `PIPELINE`; the first is required."""
    return _model(tuple(stages.PIPELINE))


@cache
def _model(pipeline: tuple[Stage, ...]) -> type[Recipe]:
    first, *others = pipeline
    sections: dict[str, Any] = {first.name: (first.section, ...)}
    sections |= {stage.name: (stage.section | None, None) for stage in others}
    return create_model("Recipe", __base__=Recipe, __doc__=Recipe.__doc__, **sections)


def load_recipe(
    source: str | Path | Mapping[str, Any],
    overrides: Sequence[str] = (),
    *,
    allow_local_code: bool = False,
    trust_remote_code: bool = False,
) -> Recipe:
    """Load and validate a recipe.

    No component is built, no data is read, and no server is contacted.

    Args:
        source: A recipe file, the name of a shipped recipe, or the recipe as a dict, whose relative
            paths start at the current folder.
        overrides: `PATH=VALUE` each, as `--set` takes them: `train.batch_size=32`. Values are
            written as in a recipe. Their relative paths start at the current folder; those in the
            file start at the file's folder.
        allow_local_code: Let `use` name a class in a local file, which will be imported.
        trust_remote_code: Let models that bring Python code run it.

    Raises:
        RecipeError: Everything that is wrong with the recipe, in the order of the file.
    """
    return load(
        recipe_model(),
        source,
        overrides,
        check=check,
        allow_local_code=allow_local_code,
        trust_remote_code=trust_remote_code,
    )
