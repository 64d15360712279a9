"""The second phase of validation: each component that a recipe names, alone, by its own class."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from recipekit.component import KINDS, Component, is_identity
from recipekit.errors import ComponentError
from recipekit.recipe.environment import expand, has_placeholder, malformed, names
from recipekit.recipe.positions import Document, KeyPath, at
from recipekit.recipe.secrets import written_secrets
from recipekit.recipe.sections import Slot
from recipekit.recipe.slots import items_of, model_in, union_members
from recipekit.recipe.validation_messages import explain, shown
from recipekit.registry import Entry, find, load, resolve

__all__ = ["Bound", "bind", "check_placeholders", "mixed_up"]


@dataclass(frozen=True)
class Bound:
    """What a slot turned out to be: its entry point, its class, and its spec, as far as each could
    be had.
    """

    entry: Entry | None = None
    type: type[Component] | None = None
    spec: Component | None = None


def bind(
    document: Document,
    path: KeyPath,
    kind: str,
    fields: dict[str, Any],
    folder: Path,
    allow_local_code: bool,
) -> Bound:
    """Resolve, load and validate one component; what is wrong joins the document's findings.

    Args:
        document: The recipe.
        path: Where the component stands in it.
        kind: What must stand there.
        fields: Its keys, `use` among them. Local paths that came by `--set` are made absolute in
            place.
        folder: The recipe's folder.
        allow_local_code: Whether `use` may name a local file.
    """
    use = fields.get("use")
    if not isinstance(use, str):
        return Bound()  # the first phase says so
    if ".py:" in use and document.place((*path, "use")).is_override:
        use = fields["use"] = os.path.abspath(Path(use).expanduser())
    entry = component = None
    try:
        entry = resolve(kind, use, folder=folder, allow_local_code=allow_local_code)
        component = load(entry)
    except ComponentError as error:
        document.find(
            (*path, "use"),
            (_elsewhere(kind, use) if error.code == "RK201" else None) or error.message,
            error.code,
        )
        return Bound(entry)
    return Bound(entry, component, _validate(document, path, component, fields, folder))


def _elsewhere(kind: str, use: str) -> str | None:
    """Of what other kind a name is, if any."""
    others = [
        other
        for other in KINDS
        if other != kind and any(entry.name == use for entry in find(other))
    ]
    return (
        f"unknown {kind} '{use}': it is the name of a component of another kind ({others[0]})"
        if others
        else None
    )


def _validate(
    document: Document,
    path: KeyPath,
    component: type[Component],
    fields: dict[str, Any],
    folder: Path,
) -> Component | None:
    written = {key: value for key, value in fields.items() if key != "use"}
    _no_secrets(document, path, component, written)
    expanded = {
        key: _expanded(document, (*path, key), value, _open(component, key))
        for key, value in written.items()
    }
    mixed_up(document, path, component, written)
    try:
        spec = component.model_validate(expanded, context={"folder": folder})
        if any(
            document.place(known).is_override
            for known in document.values
            if known[: len(path)] == path
        ):
            elsewhere = component.model_validate(expanded, context={"folder": Path.cwd()})
            _from_here(
                document,
                path,
                fields,
                spec.model_dump(mode="json"),
                elsewhere.model_dump(mode="json"),
            )
            expanded = {
                key: _expanded(document, (*path, key), fields[key], _open(component, key))
                for key in written
            }
            spec = component.model_validate(expanded, context={"folder": folder})
    except ValidationError as error:
        explain(error, document, component, path, extra=("use",))
        return None
    except (
        Exception
    ) as error:  # a plugin's validator may raise anything; whose fault it is must be plain
        document.find(
            path,
            f"{component.__name__} failed to validate: {type(error).__name__}: {error}",
            "RK207",
            at_key=True,
        )
        return None
    return spec


def _no_secrets(
    document: Document, path: KeyPath, component: type[Component], written: dict[str, Any]
) -> None:
    """Find credentials that are written out."""
    for key, value in written.items():
        for place, told in (
            written_secrets(component.model_fields[key], value)
            if key in component.model_fields
            else ()
        ):
            document.find((*path, key, *place), told, "RK110")


def _from_here(document: Document, path: KeyPath, holder: Any, by_folder: Any, by_cwd: Any) -> None:
    """Make the local paths that came by `--set` absolute: they start where the command is given,
    not at the recipe.

    A local path is known by this: it comes out differently when the same spec is validated from
    another folder.
    """
    for key, value in holder.items() if isinstance(holder, dict) else enumerate(holder):
        if not isinstance(by_folder, dict | list) or type(by_folder) is not type(by_cwd):
            return
        there, here = at(by_folder, (key,)), at(by_cwd, (key,))
        if isinstance(value, dict | list):
            _from_here(document, (*path, key), value, there, here)
        elif isinstance(value, str) and there != here and document.place((*path, key)).is_override:
            holder[key] = os.path.join(os.getcwd(), value) if has_placeholder(value) else here


def mixed_up(document: Document, path: KeyPath, annotation: Any, written: Any) -> None:
    """Find `true` and `false` where a number belongs.

    Python takes them for 1 and 0, people do not.
    """
    members = list(union_members(annotation))
    if isinstance(written, bool):
        if {int, float}.intersection(members) and bool not in members:
            document.find(path, f"expected a number, found {shown(written)}", "RK105")
    elif isinstance(written, dict):
        for member in members:
            fields = (
                member.model_fields
                if isinstance(member, type) and issubclass(member, BaseModel) and member is not Slot
                else {}
            )
            for key, value in written.items():
                inner = fields[key].annotation if key in fields else items_of(member)
                mixed_up(document, (*path, key), inner, value)
    elif isinstance(written, list):
        for member in members:
            for index, value in enumerate(written):
                mixed_up(document, (*path, index), items_of(member), value)


# ${env:NAME}
# ---------------------------------------------------------------------------------------------------------


def _open(model: type[BaseModel] | None, name: str) -> bool | type[BaseModel]:
    """Whether placeholders may stand in a field, or the nested model whose fields say so."""
    field = model.model_fields.get(name) if model else None
    if field is None:
        return True  # an unknown key is an error of its own
    return not is_identity(field) or model_in(field.annotation) or False


def _expanded(
    document: Document, path: KeyPath, value: Any, allowed: bool | type[BaseModel]
) -> Any:
    """A field's value with its placeholders replaced, where they may stand."""
    if isinstance(value, dict):
        inner = allowed if isinstance(allowed, bool) else None
        return {
            key: _expanded(
                document, (*path, key), item, inner if inner is not None else _inner(allowed, key)
            )
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [
            _expanded(document, (*path, index), item, allowed) for index, item in enumerate(value)
        ]
    if not has_placeholder(value):
        return value
    if allowed is not True:
        document.find(
            path,
            "${env:NAME} may not stand here: this decides the result, and belongs in the recipe",
            "RK108",
        )
    elif wrong := malformed(value):
        document.find(path, f"'{wrong}' is no placeholder: write ${{env:NAME}}", "RK108")
    elif missing := [name for name in names(value) if name not in os.environ]:
        document.find(path, f"the environment variable {missing[0]} is not set", "RK108")
    else:
        return expand(value)
    return value


def _inner(allowed: bool | type[BaseModel], key: str) -> bool | type[BaseModel]:
    # A map of models has a name of the user's own before the model's fields.
    return (
        _open(allowed, key)
        if not isinstance(allowed, bool) and key in allowed.model_fields
        else allowed
    )


def check_placeholders(
    document: Document,
    value: Any,
    path: KeyPath = (),
    *,
    components: set[KeyPath],
    unclear: set[KeyPath],
) -> None:
    """Find placeholders outside components, and in a component's `use`: they may stand in neither.

    Nothing is said of what is `unclear`.
    """
    if path in unclear:
        return
    if path in components:
        value = {"use": value.get("use")} if isinstance(value, dict) else value
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, item in items:
        check_placeholders(document, item, (*path, key), components=components, unclear=unclear)
    if isinstance(value, str) and has_placeholder(value):
        document.find(
            path, "${env:NAME} may stand in a component's urls, paths and credentials only", "RK108"
        )
