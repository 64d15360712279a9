"""The JSON Schema of recipes, with which editors complete, explain and check keys."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Collection, Iterator
from typing import Any, Final

from pydantic import BaseModel
from pydantic.errors import PydanticInvalidForJsonSchema, PydanticUserError

from recipekit.component import KINDS, Component, Slot, field_docs, is_identity
from recipekit.errors import ComponentError
from recipekit.recipe.named_components import NAME_OF_COMPONENT
from recipekit.recipe.schema_unions import simplified_unions
from recipekit.recipe.sections import Recipe
from recipekit.recipe.slots import models_of
from recipekit.registry import find, load

__all__ = ["component_schema", "recipe_schema", "section_schema"]

_PLACEHOLDER: Final = {"type": "string", "pattern": r"\$\{env:[A-Za-z_][A-Za-z0-9_]*\}"}
_LOCAL_CODE: Final = {
    "pattern": r"\.py:[A-Za-z_]\w*$",
    "description": "A class in a local file; needs --allow-local-code.",
}
_NAMED: Final = {
    "pattern": NAME_OF_COMPONENT,
    "description": "Another component of the recipe, by its path, with its keys.",
}


def recipe_schema(
    model: type[Recipe], distributions: Collection[str] | None = None
) -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of recipes.

    Args:
        model: The model of the recipe: `Recipe` with its sections.
        distributions: Whose components it knows; by default those of everything installed.
            Components that cannot be imported are left out.
    """
    schema = section_schema(model)
    definitions: dict[str, Any] = schema.pop("$defs")
    for kind in KINDS:
        definitions.update(_kind(kind, distributions))
    whole = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "$defs": definitions,
    }
    return simplified_unions(_with_components(whole))  # type: ignore[no-any-return]


def _with_components(schema: Any) -> Any:
    """A schema in which every slot refers to the components of its kind."""
    if isinstance(schema, list):
        return [_with_components(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if isinstance(kind := schema.get("component"), str):
        about = {key: part for key, part in schema.items() if key not in ("type", "component")}
        return {"$ref": f"#/$defs/{kind}", **about}
    if "patternProperties" in schema:
        schema = {**schema, "additionalProperties": False}
    return {name: _with_components(part) for name, part in schema.items()}


def section_schema(model: type[BaseModel]) -> dict[str, Any]:
    """The JSON Schema of one section's keys.

    A component in it is an object whose kind is in `component`.
    """
    return _documented(model.model_json_schema(), model)


def _documented(schema: dict[str, Any], model: type[BaseModel]) -> dict[str, Any]:
    """Add the documentation of the fields of a model, and of the models inside it."""
    definitions = schema.get("$defs", {})
    for inner in _models_in(model):
        properties = (schema if inner is model else definitions.get(inner.__name__, {})).get(
            "properties", {}
        )
        for name, text in field_docs(inner).items():
            key = inner.model_fields[name].alias or name
            if key in properties:
                properties[key] = {"description": text, **properties[key]}
    return schema


def _models_in(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """A model and those inside it, slots left out."""
    yield model
    for field in model.model_fields.values():
        for inner in models_of(field.annotation):
            if inner is not Slot:
                yield from _models_in(inner)


def _kind(kind: str, distributions: Collection[str] | None) -> dict[str, Any]:
    """Definitions of a kind: the choice by `use`, and each component."""
    entries = [
        entry
        for entry in find(kind)
        if distributions is None or entry.distribution in distributions
    ]
    claims = Counter(entry.name for entry in entries)
    definitions: dict[str, Any] = {}
    summaries: dict[str, str] = {}
    choices: list[dict[str, Any]] = []
    for entry in entries:
        try:
            component = load(entry)
        except ComponentError:
            continue  # `recipekit components` shows the reason
        uses = [entry.use] if claims[entry.name] > 1 else [entry.name, entry.use]
        label = (
            f"{kind}.{entry.name}"
            if claims[entry.name] == 1
            else f"{kind}.{entry.distribution}.{entry.name}"
        )
        definitions.update(_component(component, label, uses))
        summaries |= dict.fromkeys(uses, _summary(component))
        condition = {
            "type": "object",
            "properties": {"use": {"enum": uses}},
            "required": ["use"],
        }
        choices.append({"if": condition, "then": {"$ref": f"#/$defs/{label}"}})
    # Editors show `enumDescriptions`. The type comes first in the error of a misspelt name.
    names = {
        "type": "string",
        "enum": list(summaries),
        "enumDescriptions": list(summaries.values()),
    }
    use = {"description": f"Which {kind} this is.", "anyOf": [names, _LOCAL_CODE, _NAMED]}
    chosen = {
        "type": "object",
        "description": inspect.cleandoc(KINDS[kind].__doc__ or ""),
        "properties": {"use": use},
        "required": ["use"],
    }
    return {kind: {**chosen, **({"allOf": choices} if choices else {})}, **definitions}


def _summary(component: type[Component[Any]]) -> str:
    doc = inspect.cleandoc(component.__doc__ or component.__name__)
    return doc.split("\n\n")[0].replace("\n", " ")


def _component(component: type[Component[Any]], label: str, uses: list[str]) -> dict[str, Any]:
    """Definitions of one component: its own, and those of the models inside it."""
    schema = component_schema(component, f"#/$defs/{label}.{{model}}")
    inner = {f"{label}.{name}": definition for name, definition in schema.pop("$defs", {}).items()}
    properties = {"use": {"enum": uses}, **schema.get("properties", {})}
    return {
        label: {
            **schema,
            "properties": properties,
            "required": ["use", *schema.get("required", [])],
        },
        **inner,
    }


def component_schema(
    component: type[Component[Any]], ref_template: str = "#/$defs/{model}"
) -> dict[str, Any]:
    """The JSON Schema of one component's keys, without `use`.

    For a component with a type that has no JSON Schema, it allows any keys.
    """
    try:
        schema = component.model_json_schema(ref_template=ref_template)
        _documented(schema, component)
    except (PydanticInvalidForJsonSchema, PydanticUserError):
        return {"type": "object", "description": inspect.cleandoc(component.__doc__ or "")}
    for name, field in component.model_fields.items():
        if not is_identity(field) and (key := field.alias or name) in schema.get("properties", {}):
            schema["properties"][key] = _or_placeholder(schema["properties"][key])
    return schema


def _or_placeholder(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of a field that also accepts `${env:NAME}`."""
    about: dict[str, Any] = {
        name: schema[name] for name in ("title", "description", "default") if name in schema
    }
    kinds = {name: part for name, part in schema.items() if name not in about}
    if kinds == {"type": "string"}:
        return schema
    options = kinds["anyOf"] if set(kinds) == {"anyOf"} else [kinds]
    if all(option.get("type") in (None, "object", "array", "null") for option in options):
        return schema  # the texts inside it can be placeholders, not all of it
    return {**about, "anyOf": [*options, _PLACEHOLDER]}
