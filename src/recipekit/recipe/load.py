"""Loads a recipe: a validated `Recipe` with all of its components, or every mistake at once.

Validation has two steps. The sections are validated with components as `{use, ...}`, and each
component alone by its own class (`recipekit.recipe.binding`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from recipekit.errors import RecipeError, RecipekitError
from recipekit.recipe.binding import Binder, find_booleans
from recipekit.recipe.draft import Draft
from recipekit.recipe.from_dict import NAME, read_dict
from recipekit.recipe.named_components import note_copies
from recipekit.recipe.overrides import apply_overrides
from recipekit.recipe.placeholders import check_placeholders
from recipekit.recipe.positions import (
    Document,
    Finding,
    KeyPath,
    SourceLocation,
    dotted,
    refuse,
)
from recipekit.recipe.read import read_file, read_text
from recipekit.recipe.sections import Recipe, RecipeOrigin
from recipekit.recipe.shipped import is_shipped, locate
from recipekit.recipe.slots import misshapen, models, slots, union_members
from recipekit.recipe.validation_messages import explain, shown
from recipekit.report.paths import path_from_here

__all__ = ["load", "mistakes_at", "where"]


def load(
    model: type[Recipe],
    source: str | Path | Mapping[str, Any],
    overrides: Sequence[str] = (),
    *,
    check: Callable[[Draft], None],
    allow_local_code: bool = False,
    trust_remote_code: bool = False,
) -> Recipe:
    """Load and validate a recipe.

    Args:
        model: The model of the recipe: `Recipe` with its sections.
        source: A recipe file, the name of a shipped recipe, or the recipe as a dict, whose relative
            paths start at the current folder.
        overrides: `PATH=VALUE` each, as `--set` takes them.
        check: Reports what does not fit together across sections.
        allow_local_code: Let `use` name a class in a local file, which will be imported.
        trust_remote_code: Let models that bring Python code run it.

    Raises:
        RecipeError: Everything that is wrong with the recipe, in the order of the file.
    """
    _check_list(overrides)
    path: Path | None = None
    if isinstance(source, Mapping):
        document, folder = read_dict(source), Path.cwd()
    elif isinstance(source, str | Path):
        path = locate(source)
        document = read_file(path, str(source) if path == Path(source).expanduser() else str(path))
        folder = path.absolute().parent
    else:
        raise _refused(
            f"expected a recipe file, the name of a shipped recipe, or a dict, found a value of "
            f"type {type(source).__name__}"
        )
    apply_overrides(document, overrides)
    recipe = _validate(model, document, folder, check, allow_local_code)
    if recipe is None or document.findings:
        raise refuse(document.reported_once())
    recipe._origin = RecipeOrigin(
        path=path.absolute() if path is not None else None,
        folder=folder,
        project_start=Path.cwd() if path is not None and is_shipped(source, path) else folder,
        text=document.text,
        overrides=tuple(overrides),
        allow_local_code=allow_local_code,
        trust_remote_code=trust_remote_code,
    )
    return recipe


def _check_list(overrides: Sequence[str]) -> None:
    """Check that overrides are a list: a text would be read letter by letter."""
    if isinstance(overrides, str):
        raise _refused(f"overrides: expected a list, found a text; write [{overrides!r}]")
    wrong = [override for override in overrides if not isinstance(override, str)]
    if wrong:
        raise _refused(f"overrides: expected texts such as 'seed=7', found {wrong[0]!r}")


def _refused(message: str) -> RecipeError:
    return refuse([Finding(SourceLocation((0, 0, 0), NAME), (), message, "RK105")])


def where(recipe: Recipe, path: KeyPath) -> str:
    """Return the source location and path of a part of a recipe.

    For example: `recipe.yaml:6:5: collect.sources.own`.
    """
    document = _document(recipe)
    if document is None:
        return f"{NAME}: {dotted(path)}"
    return f"{document.place(path).text}: {dotted(path)}"


def mistakes_at(recipe: Recipe, mistakes: Iterable[tuple[KeyPath, RecipekitError]]) -> RecipeError:
    """Return the error with mistakes of a loaded recipe, each with its source location."""
    document = _document(recipe) or Document(NAME)
    if recipe.origin.path is None:
        document.values[()] = SourceLocation((0, 0, 0), NAME)
    for path, error in mistakes:
        note_copies(document, path)
        document.find(path, error.message, error.code)
    return refuse(document.reported_once())


def _document(recipe: Recipe) -> Document | None:
    """Return the document that a recipe was loaded from; None for one that is not in a file."""
    origin = recipe.origin
    if origin.path is None:
        return None
    document = read_text(origin.text, str(path_from_here(origin.path)))
    apply_overrides(document, origin.overrides)
    return document


def _validate(
    model: type[Recipe],
    document: Document,
    folder: Path,
    check: Callable[[Draft], None],
    allow_local_code: bool,
) -> Recipe | None:
    if not isinstance(document.value, dict):
        document.find((), f"a recipe is a map of keys, found {shown(document.value)}", "RK105")
        return None
    unclear = set(misshapen(model, document.value))
    binder = Binder(document, folder, allow_local_code)
    components = {path for path, _, _ in slots(model, document.value)}
    check_placeholders(document, document.value, skip=components | unclear)
    binder.bind_written(model, document.value)
    find_booleans(document, (), model, document.value)
    _absolute_paths(model, document)
    recipe: Recipe | None = None
    try:
        recipe = model.model_validate(document.value, context={"folder": folder})
    except ValidationError as error:
        explain(error, document, model)
    else:
        binder.attach(recipe)
    check(Draft(document, model, binder.bound, unclear))
    return recipe


def _absolute_paths(recipe: type[Recipe], document: Document) -> None:
    """Make the local paths of sections that come from `--set` absolute.

    They start at the current folder.
    """
    for path, model, section in models(recipe, document.value):
        for name, field in model.model_fields.items():
            written = section.get(name) if isinstance(section, dict) else None
            if (
                isinstance(written, str)
                and Path in union_members(field.annotation)
                and document.place((*path, name)).is_override
            ):
                section[name] = os.path.abspath(Path(written).expanduser())
