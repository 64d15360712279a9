"""Loading a recipe: file and overrides in, a `Recipe` with every component validated out, or every
problem at once.

It goes in two phases. The recipe is validated with its components as `{use, ...}`; each component
that it names is validated alone, by its own class. So a plugin that no recipe names costs nothing,
and its mistakes are nobody else's.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from recipekit.recipe.binding import Binder, find_booleans
from recipekit.recipe.checks import check
from recipekit.recipe.overrides import apply_overrides
from recipekit.recipe.placeholders import check_placeholders
from recipekit.recipe.positions import Document, KeyPath, dotted, refuse
from recipekit.recipe.read import read_file, read_text
from recipekit.recipe.sections import Recipe, RecipeOrigin
from recipekit.recipe.shipped import locate
from recipekit.recipe.slots import misshapen, models, slots, union_members
from recipekit.recipe.validation_messages import explain, shown

__all__ = ["load_recipe", "where"]


def load_recipe(
    source: str | Path, overrides: Sequence[str] = (), *, allow_local_code: bool = False
) -> Recipe:
    """Load and validate a recipe.

    Nothing of it is built, no data is read, and no network is asked.

    Args:
        source: A recipe file, or the name of a shipped recipe.
        overrides: `PATH=VALUE` each, as `--set` takes them: `train.batch_size=32`. Values are
            written as in a recipe; a relative path starts at the current folder, while those in the
            file start at the file's folder.
        allow_local_code: Let `use` name a class in a local file, which will be imported.

    Raises:
        RecipeError: Everything that is wrong with it, in the order of the file.
    """
    path = locate(source)
    document = read_file(path, str(source) if path == Path(source).expanduser() else str(path))
    apply_overrides(document, overrides)
    folder = path.absolute().parent
    recipe = _validate(document, folder, allow_local_code)
    if recipe is None or document.findings:
        raise refuse(document.findings)
    recipe._origin = RecipeOrigin(
        path.absolute(), folder, document.text, tuple(overrides), allow_local_code
    )
    return recipe


def where(recipe: Recipe, path: KeyPath) -> str:
    """Where a part of a loaded recipe stands, and its key path.

    `recipe.yaml:6:5: collect.sources.own`.
    """
    origin = recipe.origin
    name = (
        os.path.relpath(origin.path) if origin.path.is_relative_to(Path.cwd()) else str(origin.path)
    )
    document = read_text(origin.text, name)
    apply_overrides(document, origin.overrides)
    return f"{document.place(path).text}: {dotted(path)}"


def _validate(document: Document, folder: Path, allow_local_code: bool) -> Recipe | None:
    if not isinstance(document.value, dict):
        document.find((), f"a recipe is a map of keys, found {shown(document.value)}", "RK105")
        return None
    unclear = set(misshapen(Recipe, document.value))
    binder = Binder(document, folder, allow_local_code)
    components = {path for path, _, _ in slots(Recipe, document.value)}
    check_placeholders(document, document.value, skip=components | unclear)
    binder.bind_written(Recipe, document.value)
    find_booleans(document, (), Recipe, document.value)
    _absolute_paths(document)
    recipe: Recipe | None = None
    try:
        recipe = Recipe.model_validate(document.value, context={"folder": folder})
    except ValidationError as error:
        explain(error, document, Recipe)
    else:
        binder.attach(recipe)
    check(document, binder.bound, unclear)
    return recipe


def _absolute_paths(document: Document) -> None:
    """Make the local paths of sections that come from `--set` absolute.

    They start at the current folder.
    """
    for path, model, section in models(Recipe, document.value):
        for name, field in model.model_fields.items():
            written = section.get(name) if isinstance(section, dict) else None
            if (
                isinstance(written, str)
                and Path in union_members(field.annotation)
                and document.place((*path, name)).is_override
            ):
                section[name] = os.path.abspath(Path(written).expanduser())
