"""Validates the components that a recipe names, each alone and by its own class.

A component is validated after those in its own slots. So a plugin that no recipe names costs
nothing, and an error names the full path: `train.phases.a.loss.inner.temperature`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from recipekit.component import KINDS, Component, Entry, Slot
from recipekit.errors import ComponentError
from recipekit.recipe.environment import has_placeholder
from recipekit.recipe.hints import library_loss
from recipekit.recipe.named_components import copy_named_component, names_component
from recipekit.recipe.placeholders import expand_fields, refuse_placeholder
from recipekit.recipe.positions import Document, KeyPath, SourceLocation, at, dotted, refuse
from recipekit.recipe.secrets import written_secrets
from recipekit.recipe.slots import field_at, items_of, misshapen, models, slots, union_members
from recipekit.recipe.validation_messages import explain, shown
from recipekit.registry import find, load, resolve
from recipekit.suggestions import did_you_mean

__all__ = ["Binder", "Bound", "find_booleans", "validate_component"]


@dataclass(frozen=True)
class Bound:
    """What was found for a slot: its entry point, its class and its spec, as far as each exists."""

    fields: dict[str, Any]
    """The keys of the slot as written, `use` among them."""
    entry: Entry | None = None
    type: type[Component[Any]] | None = None
    spec: Component[Any] | None = None


@dataclass
class Binder:
    """Validates the components of a recipe; errors join the document's findings."""

    document: Document
    folder: Path
    """Where relative paths start: the recipe's folder."""
    allow_local_code: bool
    """Whether `use` can name a class in a local file."""
    bound: dict[KeyPath, Bound] = field(default_factory=dict)
    """Every component, by path."""

    def bind_written(self, model: type[BaseModel], value: Any, path: KeyPath = ()) -> None:
        """Validate the components in the slots of a model, as they were written.

        Args:
            model: `Recipe`, or a component's class.
            value: Its keys as written, possibly malformed.
            path: The path of `value`.
        """
        unnamed = {
            map_path
            for map_path in misshapen(model, value, path)
            if isinstance(found := at(value, map_path[len(path) :]), dict) and "use" in found
        }
        for slot_path, kind, fields in slots(model, value, path):
            # In a map without names, the keys of a component are where the names belong.
            if isinstance(fields, dict) and slot_path[:-1] not in unnamed:
                self._bind(slot_path, kind, fields)

    def attach(self, model: BaseModel, path: KeyPath = ()) -> None:
        """Bind the slots of a validated model, also those that are there by default."""
        for slot_path, kind, slot in slots(type(model), model, path):
            if not isinstance(slot, Slot):
                continue
            if slot_path not in self.bound:
                self._bind(slot_path, kind, {"use": slot.use, **slot.fields})
            found = self.bound[slot_path]
            if found.entry is not None and found.spec is not None:
                name = dotted(slot_path[len(path) :])
                slot.bind(found.entry, found.spec, name, dotted(slot_path))

    def _bind(self, path: KeyPath, kind: str, fields: dict[str, Any]) -> None:
        """Resolve, load and validate one component, and those inside it.

        In `fields`, the name of another component is replaced by its keys, and local paths from
        `--set` are made absolute.
        """
        self.bound[path] = Bound(fields)
        use = self._use(path, fields)
        if use is None:
            return
        entry = None
        try:
            entry = resolve(kind, use, folder=self.folder, allow_local_code=self.allow_local_code)
            component = load(entry)
        except ComponentError as error:
            other = None
            if error.code == "RK201":
                other = _other_kind(kind, use) or library_loss(kind, use)
            self.document.find((*path, "use"), other or error.message, error.code)
            self.bound[path] = Bound(fields, entry)
            return
        self.bound[path] = Bound(fields, entry, component, self.spec(path, component, fields))

    def _use(self, path: KeyPath, fields: dict[str, Any]) -> str | None:
        """Which component it is; None if that is wrong."""
        use = fields.get("use")
        if not isinstance(use, str):
            return None  # reported when the model that has the slot is validated
        if has_placeholder(use):
            refuse_placeholder(self.document, (*path, "use"))
            return None
        if names_component(self.document, use):
            is_known = copy_named_component(self.document, path, fields)
            return str(fields["use"]) if is_known else None
        if ".py:" in use and self.document.place((*path, "use")).is_override:
            use = fields["use"] = os.path.abspath(Path(use).expanduser())
        return use

    def spec(
        self, path: KeyPath, component: type[Component[Any]], fields: dict[str, Any]
    ) -> Component[Any] | None:
        """Validate one component, and those inside it; None if anything in its own keys is wrong.

        Args:
            path: The path of the component.
            component: Its class.
            fields: Its keys as written.
        """
        self.bind_written(component, fields, path)
        spec = self._validate(path, component, fields)
        if spec is not None:
            self.attach(spec, path)
        return spec

    def _validate(
        self, path: KeyPath, component: type[Component[Any]], fields: dict[str, Any]
    ) -> Component[Any] | None:
        written = {key: value for key, value in fields.items() if key != "use"}
        self._find_secrets(path, component, written)
        find_booleans(self.document, path, component, written)
        expanded = expand_fields(self.document, path, component, written)
        try:
            spec = component.model_validate(expanded, context={"folder": self.folder})
            if self.document.is_overridden(path):
                here = component.model_validate(expanded, context={"folder": Path.cwd()})
                self._absolute(
                    path, fields, spec.model_dump(mode="json"), here.model_dump(mode="json")
                )
                written = {key: fields[key] for key in written}
                expanded = expand_fields(self.document, path, component, written)
                spec = component.model_validate(expanded, context={"folder": self.folder})
        except ValidationError as error:
            explain(error, self.document, component, path, extra=("use",))
            return None
        except Exception as error:  # a plugin's validator can raise anything: name the plugin
            reason = f"{type(error).__name__}: {error}"
            message = f"{component.__name__} failed to validate: {reason}"
            self.document.find(path, message, "RK207", at_key=True)
            return None
        return spec

    def _find_secrets(
        self, path: KeyPath, component: type[Component[Any]], written: dict[str, Any]
    ) -> None:
        for model_path, model, value in models(component, written, path):
            for key, item in value.items():
                if info := field_at(model, (key,)):
                    for below, message in written_secrets(info, item):
                        self.document.find((*model_path, key, *below), message, "RK110")

    def _absolute(self, path: KeyPath, holder: Any, by_folder: Any, by_cwd: Any) -> None:
        """Make the local paths from `--set` absolute: they start at the current folder.

        A local path is recognized by its value, which differs when the same spec is validated from
        another folder.
        """
        for key, value in holder.items() if isinstance(holder, dict) else enumerate(holder):
            if not isinstance(by_folder, dict | list) or type(by_folder) is not type(by_cwd):
                return
            there, here = at(by_folder, (key,)), at(by_cwd, (key,))
            if isinstance(value, dict | list):
                self._absolute((*path, key), value, there, here)
            elif (
                isinstance(value, str)
                and there != here
                and self.document.place((*path, key)).is_override
            ):
                holder[key] = os.path.join(os.getcwd(), value) if has_placeholder(value) else here


def validate_component(
    component: type[Component[Any]], fields: dict[str, Any], folder: Path
) -> Component[Any]:
    """Validate one component that is not in a recipe.

    Args:
        component: Its class.
        fields: Its keys, as a recipe has them; `use` of the components inside it can name local
            files.
        folder: Where relative paths start.

    Raises:
        RecipeError: Everything that is wrong with it.
    """
    document = Document(component.__name__, value=fields)
    document.values[()] = SourceLocation((0, 0, 0), component.__name__)
    spec = Binder(document, folder, allow_local_code=True).spec((), component, fields)
    if spec is None or document.findings:
        raise refuse(document.findings)
    return spec


def _other_kind(kind: str, use: str) -> str | None:
    """The message for the name of a component of another kind; None if there is no such kind."""
    for other in KINDS:
        if other != kind and any(entry.name == use for entry in find(other)):
            hint = did_you_mean(use, [entry.name for entry in find(kind)])
            return (
                f"unknown {kind} '{use}': it is the name of a component of another kind "
                f"({other}).{hint}"
            ).removesuffix(".")
    return None


def find_booleans(document: Document, path: KeyPath, annotation: Any, written: Any) -> None:
    """Note every `true` and `false` where a number belongs, which pydantic takes for 1 and 0."""
    members = list(union_members(annotation))
    if isinstance(written, bool):
        if {int, float}.intersection(members) and bool not in members:
            document.find(path, f"expected a number, found {shown(written)}", "RK105")
    elif isinstance(written, dict):
        for member in members:
            fields = {}
            if isinstance(member, type) and issubclass(member, BaseModel) and member is not Slot:
                fields = member.model_fields
            for key, value in written.items():
                inner = fields[key].annotation if key in fields else items_of(member)
                find_booleans(document, (*path, key), inner, value)
    elif isinstance(written, list):
        for member in members:
            for index, value in enumerate(written):
                find_booleans(document, (*path, index), items_of(member), value)
