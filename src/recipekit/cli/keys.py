"""`recipekit keys`: a recipe's sections and their keys."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recipekit.cli.key_text import doc_of, key_lines

if TYPE_CHECKING:
    from pydantic import BaseModel

__all__ = ["keys"]


def keys(
    path: Annotated[
        str | None,
        typer.Argument(
            help="A section, such as train, or a key in one: train.batch_size, judge.control_pairs."
        ),
    ] = None,
) -> None:
    """Show the keys of a recipe, of a section, or one key: types, defaults and meaning."""
    from recipekit.stages.recipe import recipe_model

    lines = _found(path.split(".")) if path else _described(recipe_model(), "recipe")
    typer.echo("\n".join(lines))


def _found(parts: list[str]) -> Iterator[str]:
    """Describe a path of keys, which can contain names of the author: `train.phases.NAME.loss`."""
    from recipekit.errors import ComponentError
    from recipekit.recipe.schema import section_schema
    from recipekit.recipe.slots import is_map, model_in, slot_kind
    from recipekit.stages.recipe import recipe_model
    from recipekit.suggestions import did_you_mean

    if not all(parts):
        raise ComponentError(
            f"{'.'.join(parts)}: write keys with a dot between them, as in train.phases",
            code="RK209",
        )
    model: type[BaseModel] = recipe_model()
    title, named = "", False
    for number, part in enumerate(parts):
        if named and part not in model.model_fields:
            named = False
            continue
        title = f"{title}.{part}".removeprefix(".")
        if part not in model.model_fields:
            hint = (
                did_you_mean(part, model.model_fields)
                or f" There are: {', '.join(model.model_fields)}."
            )
            raise ComponentError(f"{title}: no key of a recipe.{hint}", code="RK209")
        field = model.model_fields[part]
        inner, kind = model_in(field.annotation), slot_kind(field)
        if inner is None or kind:
            if number + 1 < len(parts):
                where = (
                    f"the keys of its {kind} are shown by `recipekit components {kind} NAME`"
                    if kind
                    else "there are no keys below it"
                )
                raise ComponentError(f"{title}: {where}", code="RK209")
            return _one(title, section_schema(model), part, kind)
        model, named = inner, is_map(field.annotation)
        title += ".NAME" if named else ""
    return _described(model, title)


def _described(model: type[BaseModel], title: str) -> Iterator[str]:
    from recipekit.recipe.schema import section_schema

    yield title
    yield ""
    yield doc_of(model)
    yield ""
    yield from key_lines(section_schema(model))


def _one(title: str, schema: dict[str, Any], key: str, kind: str | None) -> Iterator[str]:
    """Describe one key, and how to list the components that it can hold."""
    yield title
    yield ""
    yield from key_lines({**schema, "properties": {key: schema["properties"][key]}})
    if kind:
        yield f"    `recipekit components {kind}` lists the choices;"
        yield f"    `recipekit components {kind} NAME` shows the keys of one."
