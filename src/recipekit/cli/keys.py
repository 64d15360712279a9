"""`recipekit keys`: a recipe's sections and their keys."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recipekit.cli.completion import complete_section
from recipekit.cli.json_output import AsJson, print_json
from recipekit.cli.key_text import doc_of, key_lines

if TYPE_CHECKING:
    from pydantic import BaseModel

__all__ = ["keys"]


def keys(
    path: Annotated[
        str | None,
        typer.Argument(
            metavar="KEY",
            help="A section, such as train, or a key in one: train.batch_size.",
            autocompletion=complete_section,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show the keys of a recipe, of a section, or one key: types, defaults and meaning."""
    from recipekit.stages.recipe import recipe_model

    found = _found(path.split(".")) if path else _Found(recipe_model(), "recipe")
    if as_json:
        print_json(found.values())
    else:
        typer.echo("\n".join(found.lines()))


@dataclass(frozen=True)
class _Found:
    """A section, or one key of it, with the kind of components that the key holds."""

    model: type[BaseModel]
    title: str
    key: str | None = None
    kind: str | None = None

    def schema(self) -> dict[str, Any]:
        """The JSON Schema of the section, without its other keys if there is one key."""
        from recipekit.recipe.schema import section_schema

        schema = section_schema(self.model)
        if self.key is None:
            return schema
        required = [name for name in schema.get("required", ()) if name == self.key]
        return {
            **schema,
            "properties": {self.key: schema["properties"][self.key]},
            "required": required,
        }

    def values(self) -> dict[str, Any]:
        """What is found as JSON: its path, meaning, kind of component, and schema."""
        schema = self.schema()
        description = doc_of(self.model)
        if self.key is not None:
            description = schema["properties"][self.key].get("description", "")
        return {
            "path": self.title,
            "description": description,
            "component": self.kind,
            "schema": schema,
        }

    def lines(self) -> Iterator[str]:
        """What is found in words."""
        yield self.title
        yield ""
        if self.key is None:
            yield doc_of(self.model)
            yield ""
        yield from key_lines(self.schema())
        if self.kind:
            yield f"    `recipekit components {self.kind}` lists the choices;"
            yield f"    `recipekit components {self.kind} NAME` shows the keys of one."


def _found(parts: list[str]) -> _Found:
    """Find a path of keys, which can contain names of the author: `train.phases.NAME.loss`."""
    from recipekit.errors import ComponentError
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
            raise ComponentError(f"{title}: not a key of a recipe.{hint}", code="RK209")
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
            return _Found(model, title, part, kind)
        model, named = inner, is_map(field.annotation)
        title += ".NAME" if named else ""
    return _Found(model, title)
