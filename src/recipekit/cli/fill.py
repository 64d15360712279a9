"""`recipekit fill`: a recipe with every default written out."""

from __future__ import annotations

import typer

from recipekit.cli.options import DEFAULT_RECIPE, LocalCode, Overrides, RecipeArgument

__all__ = ["fill"]


def fill(
    recipe: RecipeArgument = DEFAULT_RECIPE,
    overrides: Overrides = None,
    allow_local_code: LocalCode = False,
) -> None:
    """Print a recipe with all defaults and absolute local paths; ${env:NAME} is kept."""
    from recipekit.recipe.fill import filled
    from recipekit.stages.recipe import load_recipe

    typer.echo(
        filled(load_recipe(recipe, overrides or (), allow_local_code=allow_local_code)), nl=False
    )
